"""Writes `../../tests/fixtures/transnetv2.io.safetensors`: what the package computes with generated weights
on a generated window, for tests in other languages. The README states the rule that both follow.

    python fixtures.py          # only when the rule changes
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

import transnet  # makes ../raft_graphs importable
from weightless import external_shapes
from reference import Reference, generated_frames, generated_weight, generated_weights
import transnet

FIXTURE = Path(__file__).resolve().parents[2] / "tests/fixtures/transnetv2.io.safetensors"


def made(network) -> dict[str, np.ndarray]:
    return dict(zip(transnet.OUTPUTS, network(generated_frames(100))))


def main():
    reference = Reference(generated_weights(external_shapes(transnet.build())))
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    save_file(made(reference), FIXTURE)
    name = "SDDCNN.1.DDCNN.0.Conv3D_2.layers.0.weight"
    values = generated_weight(name, (64, 64, 1, 3, 3)).ravel()
    print(name, *(f"{values[i].view(np.uint32):08x}" for i in (0, 1, -1)))
    frames = generated_frames(100)
    print("frames", *frames[0, 0, 0, ::6].ravel()[:6], *frames[0, 99, 26, 47], "sum", frames.sum())


if __name__ == "__main__":
    main()
