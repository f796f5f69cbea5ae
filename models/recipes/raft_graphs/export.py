"""Writes `raft_small.onnx` and `raft_large.onnx`: RAFT without its weights.

For: loading the published torchvision files, or our own, by name into ONNX Runtime. The graphs are
dynamic in batch, height, width and number of updates.

    python export.py [--out ../../graphs]
"""

import argparse
from pathlib import Path

import raft
from weightless import GRAPHS, files_of, write


def files(name: str) -> dict[str, bytes]:
    """The files of one network: name to content."""
    return files_of(name, raft.build(raft.PRESETS[name]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=GRAPHS)
    out = parser.parse_args().out
    for name in raft.PRESETS:
        write(out, files(name))


if __name__ == "__main__":
    main()
