"""Writes `raft_small.onnx` and `raft_large.onnx`: RAFT without its weights.

For: loading the published torchvision files, or our own, by name into ONNX Runtime. The graphs are
dynamic in batch, height, width and number of updates. Beside each graph goes a list of its weights'
names and shapes (`.weights.json`): ONNX Runtime refuses a name that the graph lacks, and says only
"model_path must not be empty" when one is missing, so a program should compare before it loads.

    python export.py [--out ../../graphs]
"""

import argparse
import json
from pathlib import Path

import onnx

import raft

GRAPHS = Path(__file__).resolve().parents[2] / "graphs"


def files(name: str) -> dict[str, bytes]:
    """The files of one network: name to content."""
    model = raft.build(raft.PRESETS[name])
    lines = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in external_shapes(model).items()]
    return {
        # As bytes: `onnx.save` would look for the weights.
        f"{name}.onnx": model.SerializeToString(deterministic=True),
        f"{name}.weights.json": ("{\n" + ",\n".join(lines) + "\n}\n").encode(),
    }


def external_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the initialisers without data, in the order of use."""
    external = onnx.TensorProto.EXTERNAL
    return {t.name: tuple(t.dims) for t in model.graph.initializer if t.data_location == external}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=GRAPHS)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name in raft.PRESETS:
        for file, data in files(name).items():
            (out / file).write_bytes(data)
            print(out / file, len(data), "bytes")


if __name__ == "__main__":
    main()
