"""torchvision's RAFT, and sessions on our graphs, with the same weights.

For: `check.py`, `timings.py` and `fixtures.py`. The only files that need torch are the ones that
import this one.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import torch
from torchvision.models import optical_flow
from torchvision.models.optical_flow import raft as torchvision_raft

import generated
from weightless import external_shapes


def published_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """torchvision's tensors, without the counters of batch norm, which nothing reads."""
    state = getattr(optical_flow, name)(weights=None).state_dict()
    return {k: tuple(v.shape) for k, v in state.items() if not k.endswith("num_batches_tracked")}


def weights_of(name: str) -> dict[str, np.ndarray]:
    return generated.weights(published_shapes(name))


class Reference:
    """torchvision's network. A call gives the flow of the last update and, as our graphs do, the flow
    before upsampling in pixels of the input."""

    def __init__(self, name: str, weights: dict[str, np.ndarray]):
        self.model = getattr(optical_flow, name)(weights=None).eval()
        tensors = {k: torch.from_numpy(v) for k, v in weights.items()}
        missing = self.model.load_state_dict(tensors, strict=False)
        assert not missing.unexpected_keys, missing
        assert all(k.endswith("num_batches_tracked") for k in missing.missing_keys), missing

    @torch.inference_mode()
    def __call__(self, image1: np.ndarray, image2: np.ndarray, updates: int) -> tuple[np.ndarray, np.ndarray]:
        # torchvision returns upsampled flows only; what it upsamples is seen on the way.
        seen, upsample = [], torchvision_raft.upsample_flow

        def watch(flow, up_mask=None, factor=8):
            seen.append(flow)
            return upsample(flow, up_mask, factor)

        torchvision_raft.upsample_flow = watch
        try:
            flows = self.model(torch.from_numpy(image1), torch.from_numpy(image2), num_flow_updates=updates)
        finally:
            torchvision_raft.upsample_flow = upsample
        return flows[-1].numpy(), 8 * seen[-1].numpy()


class Session:
    """ONNX Runtime's CPU provider on a graph file, its weights given by name."""

    def __init__(self, path, weights: dict[str, np.ndarray], threads: int):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        names = list(external_shapes(onnx.load(path, load_external_data=False)))
        self.values = [onnxruntime.OrtValue.ortvalue_from_numpy(weights[n]) for n in names]
        options.add_external_initializers(names, self.values)
        # Bytes, not the path: no folder to look for external files in, which proves that none is needed.
        self.session = onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        # Not so in the graphs of `raft.build(unroll=...)`.
        self.looped = any(x.name == "updates" for x in self.session.get_inputs())

    def __call__(self, image1: np.ndarray, image2: np.ndarray, updates: int) -> tuple[np.ndarray, np.ndarray]:
        feeds = {"image1": image1, "image2": image2}
        if self.looped:
            feeds["updates"] = np.array(updates, np.int64)
        flow, low = self.session.run(["flow", "flow_low"], feeds)
        return flow, low


def pairs(count: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` different pairs: the generated one, mirrored and with the images swapped."""
    first, second = generated.image(1, height, width), generated.image(2, height, width)
    made = []
    for i in range(count):
        a, b = (second, first) if i % 2 else (first, second)
        axes = tuple(axis for bit, axis in ((2, 2), (4, 3)) if i & bit)
        made.append((np.flip(a, axes), np.flip(b, axes)))
    return tuple(np.ascontiguousarray(np.concatenate(x)) for x in zip(*made))
