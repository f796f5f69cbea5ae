"""transformers' image towers, and sessions on our graphs, with the same weights.

For: `check.py`, `timings.py` and `fixtures.py`. Nothing is downloaded: networks are made from their
configuration and filled with random weights. The only files that need torch and transformers are the
ones that import this one.
"""

from __future__ import annotations

import json
import logging
import math
import struct
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import transformers

import vit
from weightless import external_shapes

# Configuring a network without its text tower or its torchvision is no news.
logging.getLogger("transformers").setLevel(logging.ERROR)

# The files for the hub hold both towers, so names are those of the whole network.
PREFIX = "vision_model."


class Reference:
    """transformers' network of these sizes, in float32, with its ordinary implementation of attention."""

    def __init__(self, config: vit.Config):
        sizes = dict(
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.hidden,
            image_size=config.image,
            patch_size=config.patch,
        )
        self.config = config
        with torch.random.fork_rng():
            if config.family == "clip":
                sizes["projection_dim"] = config.embedding
                made = transformers.CLIPVisionConfig(**sizes)
                self.model = transformers.CLIPVisionModelWithProjection(made)
            else:
                self.model = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**sizes))
        self.model.set_attn_implementation("eager")
        self.model.eval()

    def parameters(self) -> dict[str, torch.Tensor]:
        """The network's own tensors under their published names."""
        return {published(name): tensor for name, tensor in self.model.named_parameters()}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.parameters().items()}

    def fill(self, weights: dict[str, np.ndarray]):
        with torch.no_grad():
            for name, tensor in self.parameters().items():
                tensor.copy_(torch.from_numpy(weights[name]))

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return getattr(self.model(torch.from_numpy(pixels)), self.config.output).numpy()


def published(name: str) -> str:
    """transformers 5 leaves `vision_model.` out of the names of a SigLIP tower of its own; the published
    file, and the whole network in any version, has it."""
    return name if name.startswith((PREFIX, "visual_projection")) else PREFIX + name


def whole_network_names(config: vit.Config) -> set[str]:
    """Names of the image side in transformers' whole network of text and image, which is what the
    published files were written from."""
    tower = dict(hidden_size=24, num_hidden_layers=config.layers, num_attention_heads=3, intermediate_size=40)
    kind = "CLIP" if config.family == "clip" else "Siglip"
    made = getattr(transformers, f"{kind}Config")(vision_config=tower, text_config=tower | {"num_hidden_layers": 1})
    names = getattr(transformers, f"{kind}Model")(made).state_dict()
    return {name for name in names if name.startswith((PREFIX, "visual_projection"))}


def random_weights(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Weights that keep activations near 1 and attention neither flat nor decided, with norms and biases
    that are not the ones and zeros a network begins with."""
    generator, made = np.random.default_rng(seed), {}
    for name, shape in shapes.items():
        values = generator.standard_normal(shape, np.float32)
        if len(shape) == 1 and name.endswith(".weight"):
            values = 1 + 0.25 * values
        elif name.endswith("bias"):
            values = 0.1 * values
        elif "embedding" not in name or "patch" in name:
            values /= math.sqrt(math.prod(shape[1:]))
        made[name] = values.astype(np.float32)
    return made


class Session:
    """ONNX Runtime's CPU provider on a model, its weights given by name, set up as curate does it."""

    def __init__(self, model, weights: dict[str, np.ndarray], threads: int, entries: dict[str, str] | None = None):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        for key, value in ({"session.intra_op.allow_spinning": "0"} | (entries or {})).items():
            options.add_session_config_entry(key, value)
        names = list(external_shapes(model))
        self.values = [onnxruntime.OrtValue.ortvalue_from_numpy(weights[n]) for n in names]
        options.add_external_initializers(names, self.values)
        # Bytes, not a path: no folder to look for external files in, which proves that none is needed.
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return self.session.run(None, {"pixel_values": pixels})[0]


class MappedSession(Session):
    """The same on a safetensors file that ONNX Runtime maps, as a program in another language would do it:
    knowing the list of weights, it writes offsets over the numbers in the graph's bytes."""

    def __init__(self, model, path: Path, threads: int, entries: dict[str, str] | None = None):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        data = model.SerializeToString()
        for number, name in enumerate(sorted(external_shapes(model))):
            offset, digits = 8 + length + header[name]["data_offsets"][0], vit.OFFSET_DIGITS
            # A pair of strings of 6 and 20 bytes, as protobuf writes it.
            pair = b"\n\x06offset\x12" + bytes([digits])
            before = pair + f"{number:0{digits}d}".encode()
            assert data.count(before) == 1, name
            data = data.replace(before, pair + f"{offset:0{digits}d}".encode())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        folder = {"session.model_external_initializers_file_folder_path": str(path.parent)}
        for key, value in (folder | (entries or {})).items():
            options.add_session_config_entry(key, value)
        self.session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def pixels(config: vit.Config, count: int, seed: int = 0) -> np.ndarray:
    """Different normalised pictures: a coarse pattern and noise, about as large as real ones."""
    generator = np.random.default_rng(seed)
    side = config.image
    coarse = generator.standard_normal((count, 3, 8, 8), np.float32)
    index = np.arange(side) * 8 // side
    noise = generator.standard_normal((count, 3, side, side), np.float32)
    return (coarse[:, :, index][:, :, :, index] + 0.25 * noise).astype(np.float32)
