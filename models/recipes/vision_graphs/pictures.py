"""Writes hashes of what transformers' processors make of pictures, for `../../tests/fixtures/preprocess.json`.

The pictures are those of the generator of `../raft_graphs` (README, "The generator"), so nothing but a hash
of each result is stored: preparing a picture is exact.

Pillow must be older than 13, which resizes columns first where it finds that cheaper (upright pictures,
mostly) and then differs by up to two levels. Published scores and heads are older than that.

    python pictures.py [--out ../../tests/fixtures/preprocess.json]
"""

import argparse
import json
import logging
from pathlib import Path

import numpy as np
import PIL
import transformers
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

import vit  # makes ../raft_graphs importable
from weightless import FIXTURES

import generated  # of ../raft_graphs, which `export` has made importable

logging.getLogger("transformers").setLevel(logging.ERROR)

# Width and height: wide, upright, odd, enlarged, tiny, of CLIP's own size, hardly reduced.
SIZES = ((1280, 720), (405, 719), (853, 479), (160, 90), (37, 23), (224, 224), (225, 600))
PROCESSORS = {
    "clip": CLIPImageProcessorPil(),
    # As the preprocessor_config.json of the tower for 384 pixels says.
    "siglip": SiglipImageProcessorPil(size={"height": 384, "width": 384}),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURES / "preprocess.json")
    out = parser.parse_args().out
    assert int(PIL.__version__.split(".")[0]) < 13, "Pillow 13 resizes differently"
    rows = []
    for width, height in SIZES:
        levels = np.rint((generated.image(1, height, width)[0] + 1) * 127.5).astype(np.uint8)
        picture, row = Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0))), {}
        for name, processor in PROCESSORS.items():
            values = processor(images=picture, return_tensors="np")["pixel_values"][0]
            row[name] = f"{generated.fnv1a(np.ascontiguousarray(values, '<f4').tobytes()):016x}"
        rows.append(json.dumps({"width": width, "height": height} | row))
    versions = f"transformers {transformers.__version__} (PIL backend), Pillow {PIL.__version__}, numpy {np.__version__}"
    about = {
        "made_by": versions,
        "picture": "image 1 of recipes/raft_graphs",
        "hash": "FNV-1a, 64 bits, of the little-endian bytes of the float32 values",
    }
    head = "".join(f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in about.items())
    lines = ",\n    ".join(rows)
    out.write_text(f'{{\n{head}  "cases": [\n    {lines}\n  ]\n}}\n')
    print(out.read_text())


if __name__ == "__main__":
    main()
