"""The image towers of CLIP (Radford et al., "Learning Transferable Visual Models From Natural Language
Supervision", ICML 2021, arXiv 2103.00020) and SigLIP (Zhai et al., "Sigmoid Loss for Language Image
Pre-Training", ICCV 2023, arXiv 2303.15343) as ONNX graphs: the numbers of transformers'
`CLIPVisionModelWithProjection` and `SiglipVisionModel`, under the weight names of the published files.

Both are vision transformers (Dosovitskiy et al., arXiv 2010.11929) with the norms before the blocks. They
differ in the token that stands for the image (CLIP has one, SigLIP asks all tokens by attention), in the
activation, in the norms at both ends, and in a bias of the patches.

What is arranged differently from transformers, with the same result up to rounding:

* All tokens of a batch are rows of one matrix, [N T, D], so that every linear layer is a `Gemm` that reads
  PyTorch's [out, in] weights where they lie. Only attention sees images.
* CLIP's last layer is computed for the class token alone, which is all that is read of it.
* SigLIP's question to the tokens is the same for every image; it is computed when the graph is loaded.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

from onnx import TensorProto, helper

sys.path.append(str(Path(__file__).resolve().parents[1] / "raft_graphs"))

from graph import Graph  # noqa: E402


@dataclass(frozen=True)
class Config:
    """The sizes of a tower, as `config.json` beside the published weights has them."""

    name: str
    family: str
    """"clip" or "siglip"."""
    image: int
    """Pixels of a side of the picture. What is left over after whole patches is not read."""
    patch: int
    width: int
    layers: int
    heads: int
    hidden: int
    """Width of the hidden layer of the two-layer networks."""
    embedding: int
    """Width of the result."""

    @property
    def patches(self) -> int:
        return (self.image // self.patch) ** 2

    @property
    def tokens(self) -> int:
        return self.patches + (self.family == "clip")

    @property
    def output(self) -> str:
        return "image_embeds" if self.family == "clip" else "pooler_output"


CLIP = Config("clip_vit_l14", "clip", 224, 14, 1024, 24, 16, 4096, 768)
SIGLIP = Config("siglip_so400m_384", "siglip", 384, 14, 1152, 27, 16, 4304, 1152)
# For tests. Pixels are left over in both, and no two widths are equal unless they must be.
CLIP_TINY = Config("clip_tiny", "clip", 30, 7, 24, 2, 3, 40, 20)
SIGLIP_TINY = Config("siglip_tiny", "siglip", 30, 7, 24, 2, 3, 40, 24)
PRESETS = {c.name: c for c in (CLIP, SIGLIP)}
TINY = {c.name: c for c in (CLIP_TINY, SIGLIP_TINY)}


class Tower:
    """The parts of a tower. Rows are tokens, image after image."""

    def __init__(self, config: Config):
        self.g, self.c = Graph(), config

    def linear(self, x: str, name: str, c_in: int, c_out: int, bias: bool = True, result: str | None = None) -> str:
        inputs = [x, self.g.weight(f"{name}.weight", c_out, c_in)]
        inputs += [self.g.weight(f"{name}.bias", c_out)] if bias else []
        return self.g.op("Gemm", *inputs, transB=1, name=result)

    def norm(self, x: str, name: str) -> str:
        parts = [self.g.weight(f"{name}.{part}", self.c.width) for part in ("weight", "bias")]
        epsilon = 1e-5 if self.c.family == "clip" else 1e-6
        return self.g.op("LayerNormalization", x, *parts, axis=-1, epsilon=epsilon)

    def activation(self, x: str) -> str:
        """Written so that ONNX Runtime sees a QuickGelu or FastGelu and runs one kernel."""
        g = self.g
        if self.c.family == "clip":
            return g.mul(x, g.op("Sigmoid", g.mul(x, g.const(1.702))))
        # The approximation of GELU by tanh (Hendrycks and Gimpel, arXiv 1606.08415).
        cube = g.mul(g.op("Pow", x, g.const(3.0)), g.const(0.044715))
        inner = g.op("Tanh", g.mul(g.add(x, cube), g.const(math.sqrt(2 / math.pi))))
        return g.mul(g.mul(x, g.const(0.5)), g.add(inner, g.const(1.0)))

    def mlp(self, x: str, name: str) -> str:
        x = self.activation(self.linear(x, f"{name}.fc1", self.c.width, self.c.hidden))
        return self.linear(x, f"{name}.fc2", self.c.hidden, self.c.width)

    def attention(self, q: str, k: str, v: str, asking: int) -> str:
        """`asking` rows of each image in `q`, all of its tokens in `k` and `v`; `q` may be of one image
        that stands for all."""
        g, c = self.g, self.c
        depth = c.width // c.heads

        def heads(x: str, rows: int, *axes: int) -> str:
            return g.op("Transpose", g.reshape(x, -1, rows, c.heads, depth), perm=list(axes))

        q = g.mul(heads(q, asking, 0, 2, 1, 3), g.const(depth**-0.5))
        scores = g.op("MatMul", q, heads(k, c.tokens, 0, 2, 3, 1))
        x = g.op("MatMul", g.op("Softmax", scores, axis=-1), heads(v, c.tokens, 0, 2, 1, 3))
        return g.reshape(g.op("Transpose", x, perm=[0, 2, 1, 3]), -1, c.width)

    def layer(self, x: str, name: str, first_only: bool) -> str:
        """`first_only`: the result has the first token of each image only."""
        c, g = self.c, self.g
        normed = self.norm(x, f"{name}.layer_norm1")
        names = {part: f"{name}.self_attn.{part}_proj" for part in "qkv"}
        k, v = (self.linear(normed, names[part], c.width, c.width) for part in "kv")
        if first_only:
            x, normed = self.first(x), self.first(normed)
        q = self.linear(normed, names["q"], c.width, c.width)
        y = self.attention(q, k, v, 1 if first_only else c.tokens)
        x = g.add(x, self.linear(y, f"{name}.self_attn.out_proj", c.width, c.width))
        return g.add(x, self.mlp(self.norm(x, f"{name}.layer_norm2"), f"{name}.mlp"))

    def first(self, x: str) -> str:
        images = self.g.reshape(x, -1, self.c.tokens, self.c.width)
        return self.g.op("Gather", images, self.g.const(0, "int64"), axis=1)

    def patches(self) -> str:
        """The picture cut into patches, each mapped to a row: [N, P, D]."""
        c, g, name = self.c, self.g, "vision_model.embeddings.patch_embedding"
        inputs = ["pixel_values", g.weight(f"{name}.weight", c.width, 3, c.patch, c.patch)]
        inputs += [g.weight(f"{name}.bias", c.width)] if c.family == "siglip" else []
        x = g.op("Conv", *inputs, kernel_shape=[c.patch] * 2, strides=[c.patch] * 2)
        return g.op("Transpose", g.reshape(x, -1, c.width, c.patches), perm=[0, 2, 1])

    def clip(self) -> str:
        c, g = self.c, self.g
        # A row of zeros becomes the class token when everything that is the same for all images is added.
        x = g.op("Pad", self.patches(), g.ints(0, 1, 0, 0, 0, 0))
        token = g.reshape(g.weight("vision_model.embeddings.class_embedding", c.width), 1, c.width)
        token = g.op("Pad", token, g.ints(0, 0, c.patches, 0))
        position = g.weight("vision_model.embeddings.position_embedding.weight", c.tokens, c.width)
        x = g.reshape(g.add(x, g.add(position, token)), -1, c.width)
        # "layrnorm" is how the published name is spelled.
        x = self.norm(x, "vision_model.pre_layrnorm")
        for i in range(c.layers):
            x = self.layer(x, f"vision_model.encoder.layers.{i}", first_only=i == c.layers - 1)
        x = self.norm(x, "vision_model.post_layernorm")
        return self.linear(x, "visual_projection", c.width, c.embedding, bias=False, result=c.output)

    def siglip(self) -> str:
        c, g = self.c, self.g
        position = g.weight("vision_model.embeddings.position_embedding.weight", c.tokens, c.width)
        x = g.reshape(g.add(self.patches(), position), -1, c.width)
        for i in range(c.layers):
            x = self.layer(x, f"vision_model.encoder.layers.{i}", first_only=False)
        return self.pool(self.norm(x, "vision_model.post_layernorm"), "vision_model.head")

    def pool(self, x: str, name: str) -> str:
        """One row for each image: a learned question to all tokens (torch's `MultiheadAttention`, which
        keeps its three matrices in one tensor), then a block as in a layer."""
        c, g = self.c, self.g
        weights = g.weight(f"{name}.attention.in_proj_weight", 3 * c.width, c.width)
        biases = g.weight(f"{name}.attention.in_proj_bias", 3 * c.width)
        weights, biases = (g.split(t, *[c.width] * 3, axis=0) for t in (weights, biases))
        probe = g.reshape(g.weight(f"{name}.probe", 1, 1, c.width), 1, c.width)
        q, k, v = (g.op("Gemm", t, w, b, transB=1) for t, w, b in zip((probe, x, x), weights, biases))
        x = self.attention(q, k, v, 1)
        x = self.linear(x, f"{name}.attention.out_proj", c.width, c.width)
        y = self.mlp(self.norm(x, f"{name}.layernorm"), f"{name}.mlp")
        return g.op("Add", x, y, name=c.output)


def build(config: Config):
    """The model."""
    tower = Tower(config)
    tower.clip() if config.family == "clip" else tower.siglip()
    value = helper.make_tensor_value_info
    inputs = [value("pixel_values", TensorProto.FLOAT, ["N", 3, config.image, config.image])]
    outputs = [value(config.output, TensorProto.FLOAT, ["N", config.embedding])]
    return placed(tower.g.model(config.name, inputs, outputs, DOC.format(c=config)))


# A program that has the published file on disk may point the graph at it instead of giving each weight:
# ONNX Runtime then maps the file and copies nothing. So each offset has room for any, and says which
# weight it stands for: its number in the order of names. README, "Memory".
LOCATION, OFFSET_DIGITS = "model.safetensors", 20


def placed(model):
    external = [t for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    for number, tensor in enumerate(sorted(external, key=lambda t: t.name)):
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = LOCATION
            elif entry.key == "offset":
                entry.value = f"{number:0{OFFSET_DIGITS}d}"
    return model


DOC = """{c.name}: the image tower of {c.family}, as transformers computes it.
pixel_values: [N, 3, {c.image}, {c.image}], normalised as the published preprocessor does.
{c.output}: [N, {c.embedding}], not normalised.
The initialisers of location "model.safetensors" hold no data: give them by name (the published state dict),
or write where they lie in that file over their offsets, which are numbers in the order of names."""
