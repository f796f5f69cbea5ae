"""Writes `transnetv2.onnx`, TransNet V2 without its weights, and `transnetv2.weights.json`, the list of
their names and shapes. Why weights are left out, and what to know before giving them: the README of
`../raft_graphs`.

    python export.py [--out ../../graphs]
"""

import argparse
import json
from pathlib import Path

import onnx

import transnet

GRAPHS = Path(__file__).resolve().parents[2] / "graphs"


def files() -> dict[str, bytes]:
    """Name to content."""
    model = transnet.build()
    lines = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in external_shapes(model).items()]
    return {
        f"{transnet.NAME}.onnx": model.SerializeToString(deterministic=True),
        f"{transnet.NAME}.weights.json": ("{\n" + ",\n".join(lines) + "\n}\n").encode(),
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
    for file, data in files().items():
        (out / file).write_bytes(data)
        print(out / file, len(data), "bytes")


if __name__ == "__main__":
    main()
