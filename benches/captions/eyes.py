"""Gives a text model eyes that see nothing: a vision tower of random weights, as llama.cpp reads it.

    python eyes.py LANGUAGE_MODEL.gguf EYES.gguf

The tower is a two-layer ViT with LLaVA's projector, made to fit the language model's width. llama.cpp
decodes pictures, encodes them and puts them before the model as it does for a trained tower, so the
protocol is real; what the model says about a picture is not.
"""

import sys

import numpy as np
from gguf import GGUFReader, GGUFWriter

SIDE, PATCH, WIDTH, HEADS, BLOCKS = 64, 16, 64, 4, 2


def main(language_model: str, path: str) -> None:
    fields = GGUFReader(language_model).fields
    arch = fields["general.architecture"].contents()
    out = int(fields[f"{arch}.embedding_length"].contents())
    random = np.random.default_rng(0)
    writer = GGUFWriter(path, "clip")
    writer.add_string("general.name", "random eyes")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", True)
    for key, value in {
        "image_size": SIDE,
        "patch_size": PATCH,
        "embedding_length": WIDTH,
        "feed_forward_length": 4 * WIDTH,
        "projection_dim": out,
        "block_count": BLOCKS,
        "attention.head_count": HEADS,
    }.items():
        writer.add_uint32(f"clip.vision.{key}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])

    def weight(name: str, *shape: int, scale: float = 0.05) -> None:
        writer.add_tensor(name, (scale * random.standard_normal(shape)).astype(np.float32))

    def norm(name: str, width: int) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(width, np.float32))

    def linear(name: str, rows: int, columns: int) -> None:
        weight(f"{name}.weight", rows, columns)
        writer.add_tensor(f"{name}.bias", np.zeros(rows, np.float32))

    weight("v.class_embd", WIDTH)
    weight("v.patch_embd.weight", WIDTH, 3, PATCH, PATCH)
    weight("v.position_embd.weight", (SIDE // PATCH) ** 2 + 1, WIDTH)
    norm("v.pre_ln", WIDTH)
    for block in range(BLOCKS):
        at = f"v.blk.{block}"
        norm(f"{at}.ln1", WIDTH)
        norm(f"{at}.ln2", WIDTH)
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            linear(f"{at}.{part}", WIDTH, WIDTH)
        linear(f"{at}.ffn_up", 4 * WIDTH, WIDTH)
        linear(f"{at}.ffn_down", WIDTH, 4 * WIDTH)
    linear("mm.0", out, WIDTH)
    linear("mm.2", out, out)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
