"""Proves that the graphs compute what torchvision computes, and times both.

Exits with 1 when a difference is over the limit. Weights and images are generated (`generated.py`), so
nothing is downloaded; with `--reference DIR` also the tensors of a folder that holds
`raft_small.weights.safetensors`, `raft_small.io.safetensors` and `raft_*.keys.json`.

    python check.py [--graphs ../../graphs] [--reference DIR] [--time] [--threads 2]
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors.numpy import load_file

import generated
import raft
import timings
from export import files
from weightless import Checks as Counting, external_shapes, GRAPHS
from fixtures import FIXTURE, SIZES, UPDATES
from reference import Reference, Session, pairs, published_shapes, weights_of

LIMIT_PX = 1e-3
# Batch, height, width, updates. All in one session: one graph serves every shape.
CASES = [
    (1, 128, 160, 1),
    (1, 128, 160, 12),
    (2, 136, 200, 12),
    (3, 128, 160, 12),
    (3, 136, 200, 1),
    (1, 256, 448, 12),
    (2, 256, 448, 1),
    (1, 128, 160, 12),
]


class Checks(Counting):
    def difference(self, text: str, got: np.ndarray, want: np.ndarray) -> None:
        worst = np.abs(got - want).max() if got.shape == want.shape else np.inf
        # Not "worst > limit": NaN must fail.
        self.result(bool(worst <= LIMIT_PX), f"{text}: {worst:.1e} px of {np.abs(want).max():.1f}")


def check_file(checks: Checks, name: str, path: Path, reference: Path | None):
    checks.files(path.parent, files(name))
    data = path.read_bytes()
    model = onnx.load_model_from_string(data)
    names = external_shapes(model)
    text = f"{name}: {len(names)} external initialisers, torchvision's names and shapes"
    checks.result(names == published_shapes(name), text)
    stored = sum(len(t.raw_data) for t in model.graph.initializer if t.name not in names)
    checks.result(len(data) < 300_000, f"{name}: {len(data)} bytes, {stored} of them constants")
    if reference:
        keys = json.loads((reference / f"{name}.keys.json").read_text())
        keys = {k: tuple(v) for k, v in keys.items() if not k.endswith("num_batches_tracked")}
        checks.result(names == keys, f"{name}: the same names and shapes as {name}.keys.json")


def check_parity(checks: Checks, name: str, path: Path, threads: int):
    weights = weights_of(name)
    session, reference = Session(path, weights, threads), Reference(name, weights)
    for batch, height, width, updates in CASES:
        images = pairs(batch, height, width)
        got, want = session(*images, updates), reference(*images, updates)
        text = f"{name} {batch} x {height}x{width}, {updates} updates"
        checks.difference(f"{text}, flow", got[0], want[0])
        checks.difference(f"{text}, flow_low", got[1], want[1])


def check_committed(checks: Checks, path: Path, threads: int):
    """The parity tensors of raft_large, as a test in another language would read them."""
    session, stored = Session(path, weights_of("raft_large"), threads), load_file(FIXTURE)
    for key, size in SIZES.items():
        images = [generated.image(which, *size) for which in (1, 2)]
        for updates in UPDATES:
            flow, low = session(*images, updates)
            for kind, got in ((f"{key}.flow{updates}", flow), (f"{key}.flow_low{updates}", low)):
                checks.difference(f"raft_large, committed {kind}", got, stored[kind])


def check_reference(checks: Checks, folder: Path, path: Path, threads: int):
    session = Session(path, load_file(folder / "raft_small.weights.safetensors"), threads)
    stored = load_file(folder / "raft_small.io.safetensors")
    for key in ("a", "b"):
        for updates in UPDATES:
            flow, _ = session(stored[f"{key}.img1"], stored[f"{key}.img2"], updates)
            checks.difference(f"raft_small, reference {key}.flow{updates}", flow, stored[f"{key}.flow{updates}"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graphs", type=Path, default=GRAPHS)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--time", action="store_true", help="also time torchvision and the graphs")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    checks = Checks()
    for name in raft.PRESETS:
        path = args.graphs / f"{name}.onnx"
        check_file(checks, name, path, args.reference)
        check_parity(checks, name, path, args.threads)
    check_committed(checks, args.graphs / "raft_large.onnx", args.threads)
    if args.reference:
        check_reference(checks, args.reference, args.graphs / "raft_small.onnx", args.threads)
    if args.time:
        for name in raft.PRESETS:
            timings.table(name, args.graphs / f"{name}.onnx", args.threads)
    if checks.failed:
        sys.exit(f"{checks.failed} checks failed")


if __name__ == "__main__":
    main()
