"""Packs OpenCV's BRISQUE model into the file that `stages/src/quality/brisque.rs` carries.

    brisque_model.py brisque_model_live.yml brisque_range_live.yml brisque_live.bin

Both inputs are those of opencv_contrib, modules/quality/samples (Apache-2.0). The numbers are kept
as OpenCV reads them: support vectors and ranges in 32-bit floats, the rest in 64-bit ones. Needs
nothing but Python.

Little-endian, without padding: the number of support vectors and of features (2 x u32), gamma and
rho (2 x f64), least and greatest value of each feature (2 x 36 x f32), the weight of each vector
(f64 each), the vectors (36 x f32 each).
"""

import re
import struct
import sys

FEATURES = 36


def numbers(text):
    return [float(number) for number in re.findall(r"-?\d[\d.]*(?:e[+-]?\d+)?", text)]


def field(name, text):
    return float(re.search(rf"^\s*{name}:\s*(\S+)\s*$", text, re.MULTILINE).group(1))


def main():
    model_path, range_path, packed_path = sys.argv[1:]
    model, ranges = open(model_path).read(), open(range_path).read()
    vectors = numbers(model.split("support_vectors:")[1].split("decision_functions:")[0])
    weights = numbers(model.split("alpha: [")[1].split("]")[0])
    limits = numbers(ranges.split("data: [")[1].split("]")[0])
    if len(vectors) != FEATURES * len(weights) or len(limits) != 2 * FEATURES:
        sys.exit("these are not the two files of OpenCV's model")
    with open(packed_path, "wb") as packed:
        packed.write(struct.pack("<2I", len(weights), FEATURES))
        packed.write(struct.pack("<2d", field("gamma", model), field("rho", model)))
        packed.write(struct.pack(f"<{len(limits)}f", *limits))
        packed.write(struct.pack(f"<{len(weights)}d", *weights))
        packed.write(struct.pack(f"<{len(vectors)}f", *vectors))


if __name__ == "__main__":
    main()
