"""Writes `transnetv2.onnx`, TransNet V2 without its weights, and the list of their names and shapes.
Why weights are left out, and what to know before giving them: the README of `../raft_graphs`.

    python export.py [--out ../../graphs]
"""

import argparse
from pathlib import Path

import transnet
from weightless import GRAPHS, files_of, write  # of ../raft_graphs, which `transnet` makes importable


def files() -> dict[str, bytes]:
    """Name to content."""
    return files_of(transnet.NAME, transnet.build())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=GRAPHS)
    write(parser.parse_args().out, files())


if __name__ == "__main__":
    main()
