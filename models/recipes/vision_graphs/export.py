"""Writes `clip_vit_l14.onnx` and `siglip_so400m_384.onnx`: image towers without their weights.

For: loading the published files by name into ONNX Runtime, without a converted copy. The published files
also hold the text tower and a few other tensors, which the lists of weights do not name. The graphs for
tests have a few thousand weights.

    python export.py [--out ../../graphs] [--tiny ../../tests/fixtures]
"""

import argparse
from pathlib import Path

import vit
from weightless import FIXTURES, GRAPHS, files_of, write  # of ../raft_graphs, which `vit` makes importable


def files(config: vit.Config) -> dict[str, bytes]:
    """The files of one network: name to content."""
    return files_of(config.name, vit.build(config))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=GRAPHS)
    parser.add_argument("--tiny", type=Path, default=FIXTURES)
    args = parser.parse_args()
    for out, configs in ((args.out, vit.PRESETS), (args.tiny, vit.TINY)):
        for config in configs.values():
            write(out, files(config))


if __name__ == "__main__":
    main()
