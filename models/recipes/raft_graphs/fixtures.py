"""Writes the parity tensors of raft_large: torchvision's flows for generated weights and images.

Only the results are stored; a test builds weights and images itself (README, "The generator"). Run
again only if the generator changes: other machines round differently in the last digits.

    python fixtures.py [--out ../../tests/fixtures/raft_large.io.safetensors]
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torchvision
from safetensors.numpy import save_file

import generated
from reference import Reference, weights_of

FIXTURE = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "raft_large.io.safetensors"
# The second has odd sizes at every level of the pyramid.
SIZES = {"a": (128, 160), "b": (136, 200)}
UPDATES = (1, 12)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURE)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    reference = Reference("raft_large", weights_of("raft_large"))
    tensors = {}
    for key, (height, width) in SIZES.items():
        images = [generated.image(which, height, width) for which in (1, 2)]
        for updates in UPDATES:
            flow, low = reference(*images, updates)
            # A flow that is tiny, flat or wild would hide mistakes.
            assert np.isfinite(flow).all() and 0.3 < np.abs(flow).mean() < 10 and flow.std() > 0.3, flow.std()
            size = f"mean |flow| {np.abs(flow).mean():.2f} px, most {np.abs(flow).max():.2f}"
            print(f"{key} {height}x{width}, {updates} updates: {size}")
            tensors[f"{key}.flow{updates}"] = flow
            tensors[f"{key}.flow_low{updates}"] = low
    made = {"made_by": f"torchvision {torchvision.__version__}, torch {torch.__version__}, one CPU thread, float32"}
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, out, metadata=made)
    print(out, out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
