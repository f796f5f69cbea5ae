"""Writes the parity tensors of the towers for tests: transformers' embeddings of generated pictures.

Only the results are stored; a test builds weights and pictures itself, by the generator of
`../raft_graphs` (README, "The generator"). Run again only if the generator changes.

    python fixtures.py [--out ../../tests/fixtures]
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

import vit
from weightless import FIXTURES
from reference import Reference

import generated  # of ../raft_graphs, which `vit` has made importable

BATCH = 3


def generated_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The rule gives matrices entries below 0.125, too small for a network as narrow as these to see
    anything: those of two dimensions are four times that, which is exact."""
    return {name: value * (4 if value.ndim == 2 else 1) for name, value in generated.weights(shapes).items()}


def generated_pixels(config: vit.Config, count: int) -> np.ndarray:
    """Pictures: the tensor `pixel_values/0`, `pixel_values/1`, ... of the rule for three dimensions,
    times 16, so in [-2, 2)."""
    shape = (3, config.image, config.image)
    return np.stack([generated.weight(f"pixel_values/{i}", shape) * np.float32(16) for i in range(count)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURES)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for config in vit.TINY.values():
        reference = Reference(config)
        reference.fill(generated_weights(reference.shapes()))
        embeddings = reference(generated_pixels(config, BATCH))
        # Embeddings that are all alike, or wild, would hide mistakes.
        assert np.isfinite(embeddings).all() and embeddings.std(axis=0).min() > 0.01, embeddings
        print(config.name, "spread", embeddings.std(axis=0).mean(), "largest", np.abs(embeddings).max())
        made = f"transformers {transformers.__version__}, torch {torch.__version__}, one CPU thread, float32"
        path = out / f"{config.name}.io.safetensors"
        save_file({config.output: np.ascontiguousarray(embeddings)}, path, metadata={"made_by": made})
        print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
