"""Writes `clip_vit_l14.onnx` and `siglip_so400m_384.onnx`: image towers without their weights.

For: loading the published files by name into ONNX Runtime, without a converted copy. Beside each graph
goes a list of its weights' names and shapes (`.weights.json`). The published files also hold the text
tower and a few other tensors, which the list does not name. The graphs for tests have a few thousand
weights.

    python export.py [--out ../../graphs] [--tiny ../../tests/fixtures]
"""

import argparse
import json
from pathlib import Path

import onnx

import vit

MODELS = Path(__file__).resolve().parents[2]
GRAPHS, FIXTURES = MODELS / "graphs", MODELS / "tests" / "fixtures"


def files(config: vit.Config) -> dict[str, bytes]:
    """The files of one network: name to content."""
    model = vit.build(config)
    lines = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in external_shapes(model).items()]
    return {
        # As bytes: `onnx.save` would look for the weights.
        f"{config.name}.onnx": model.SerializeToString(deterministic=True),
        f"{config.name}.weights.json": ("{\n" + ",\n".join(lines) + "\n}\n").encode(),
    }


def external_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the initialisers without data, in the order of use."""
    external = onnx.TensorProto.EXTERNAL
    return {t.name: tuple(t.dims) for t in model.graph.initializer if t.data_location == external}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=GRAPHS)
    parser.add_argument("--tiny", type=Path, default=FIXTURES)
    args = parser.parse_args()
    for out, configs in ((args.out, vit.PRESETS), (args.tiny, vit.TINY)):
        out.mkdir(parents=True, exist_ok=True)
        for config in configs.values():
            for file, data in files(config).items():
                (out / file).write_bytes(data)
                print(out / file, len(data), "bytes")


if __name__ == "__main__":
    main()
