"""Files of a graph without weights, and counting what a check finds: for the recipes of all networks.

Beside each graph goes a list of its weights' names and shapes (`.weights.json`): ONNX Runtime refuses a name
that the graph lacks, and says only "model_path must not be empty" when one is missing, so a program should
compare before it loads.
"""

import json
from pathlib import Path

import onnx

MODELS = Path(__file__).resolve().parents[2]
GRAPHS, FIXTURES = MODELS / "graphs", MODELS / "tests" / "fixtures"


def external_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the initialisers without data, in the order of use."""
    external = onnx.TensorProto.EXTERNAL
    return {t.name: tuple(t.dims) for t in model.graph.initializer if t.data_location == external}


def files_of(name: str, model: onnx.ModelProto) -> dict[str, bytes]:
    """The graph's files: name to content."""
    lines = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in external_shapes(model).items()]
    return {
        # As bytes: `onnx.save` would look for the weights.
        f"{name}.onnx": model.SerializeToString(deterministic=True),
        f"{name}.weights.json": ("{\n" + ",\n".join(lines) + "\n}\n").encode(),
    }


def write(out: Path, files: dict[str, bytes]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        (out / file).write_bytes(data)
        print(out / file, len(data), "bytes")


class Checks:
    """Prints what was checked, and counts what failed."""

    def __init__(self):
        self.failed = 0

    def result(self, passed: bool, text: str):
        self.failed += not passed
        print("ok    " if passed else "FAILED", text, flush=True)

    def files(self, folder: Path, files: dict[str, bytes]):
        """Whether the files in a folder are those that export.py would write."""
        for file, built in files.items():
            self.result((folder / file).read_bytes() == built, f"{file}: as export.py writes it")
