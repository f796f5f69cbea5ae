"""Proves that the graphs compute what transformers computes.

Exits with 1 when a difference is over the limit. Weights and pictures are random or generated, so nothing
is downloaded. Each tower is compared at the sizes for tests, at its real widths with two layers, and with
`--full` with all of its layers (3 GB of memory for CLIP, 4 GB for SigLIP).

    python check.py [--graphs ../../graphs] [--fixtures ../../tests/fixtures] [--full] [--threads 2]
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors.numpy import load_file, save_file

import vit
from export import files
from weightless import Checks as Counting, external_shapes, FIXTURES, GRAPHS
from fixtures import BATCH, generated_pixels, generated_weights
from reference import MappedSession, Reference, Session, pixels, random_weights, whole_network_names

# Of the largest value.
LIMIT = 1e-4
BATCHES = (1, 3, 2)


class Checks(Counting):
    def difference(self, text: str, got: np.ndarray, want: np.ndarray) -> None:
        worst = np.abs(got - want).max() / np.abs(want).max() if got.shape == want.shape else np.inf
        # Pictures that all look alike to the network would hide mistakes.
        spread = want.std(axis=0).mean() / want.std() if len(want) > 1 else 1.0
        # Not "worst > limit": NaN must fail.
        passed = bool(worst <= LIMIT) and spread > 0.05
        self.result(passed, f"{text}: {worst:.1e} of {np.abs(want).max():.2f}, spread {spread:.2f}")


def check_file(checks: Checks, config: vit.Config, folder: Path):
    checks.files(folder, files(config))
    model = onnx.load_model_from_string((folder / f"{config.name}.onnx").read_bytes())
    shapes = external_shapes(model)
    text = f"{config.name}: {len(shapes)} external initialisers, names of the whole network"
    checks.result(set(shapes) == whole_network_names(config), text)
    values = sum(int(np.prod(shape)) for shape in shapes.values())
    stored = sum(len(t.raw_data) for t in model.graph.initializer if t.name not in shapes)
    checks.result(stored < 1000, f"{config.name}: {values} weights, {stored} bytes of constants")


def check_parity(checks: Checks, config: vit.Config, threads: int):
    reference, model = Reference(config), vit.build(config)
    shapes = external_shapes(model)
    text = f"{config.name}, {config.layers} layers: transformers' names and shapes"
    checks.result(shapes == reference.shapes(), text)
    weights = random_weights(shapes, seed=1)
    reference.fill(weights)
    session = Session(model, weights, threads)
    # All in one session: one graph serves every batch.
    for batch in BATCHES:
        images = pixels(config, batch, seed=batch)
        text = f"{config.name}, {config.layers} layers, batch {batch}"
        checks.difference(text, session(images), reference(images))


def check_committed(checks: Checks, config: vit.Config, folder: Path, threads: int):
    """The parity tensors of the sizes for tests, as a test in another language would read them."""
    model = vit.build(config)
    session = Session(model, generated_weights(external_shapes(model)), threads)
    stored = load_file(folder / f"{config.name}.io.safetensors")[config.output]
    checks.difference(f"{config.name}, committed", session(generated_pixels(config, BATCH)), stored)


def check_mapped(checks: Checks, config: vit.Config, threads: int):
    """The weights mapped out of a file that has others too and another order."""
    model = vit.build(config)
    weights = random_weights(external_shapes(model), seed=1)
    others = {"text_model.first": np.ones(3, np.float32), "vision_model.embeddings.position_ids": np.arange(5)}
    images = pixels(config, 2)
    want = Session(model, weights, threads)(images)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / vit.LOCATION
        save_file(others | weights, path)
        for entries in ({}, {"session.disable_prepacking": "1"}):
            got = MappedSession(model, path, threads, entries)(images)
            checks.difference(f"{config.name}, mapped, {entries}", got, want)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graphs", type=Path, default=GRAPHS)
    parser.add_argument("--fixtures", type=Path, default=FIXTURES)
    parser.add_argument("--full", action="store_true", help="also with all layers")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    checks = Checks()
    for config in vit.TINY.values():
        check_file(checks, config, args.fixtures)
        check_parity(checks, config, args.threads)
        check_committed(checks, config, args.fixtures, args.threads)
        check_mapped(checks, config, args.threads)
    for config in vit.PRESETS.values():
        check_file(checks, config, args.graphs)
        check_parity(checks, replace(config, layers=2), args.threads)
        if args.full:
            check_parity(checks, config, args.threads)
    if checks.failed:
        sys.exit(f"{checks.failed} checks failed")


if __name__ == "__main__":
    main()
