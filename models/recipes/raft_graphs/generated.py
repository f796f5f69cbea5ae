"""Weights and images computed from names and indices, so that parity tests need no large files.

For: a test in any language can build the same tensors bit for bit and compare with the flows that
torchvision computed from them. The README defines the generator in words; this file is the definition
in code. Whole-number arithmetic, then single operations of IEEE 754 that every language rounds alike.
Run as a program it prints the README's values to test an implementation with.

Decided against: a seed for torch's or numpy's generator, which only they can follow. Decided against
sines for the images: their last bit differs between mathematics libraries.
"""

from __future__ import annotations

import math

import numpy as np

# How far the content moves from image 1 to image 2: right and up, in pixels.
MOVE_X, MOVE_Y = 5, -2
CELL = 16
# Gains of the last layers, so that twelve updates move by pixels, not by half the image, and so that the
# upsampling weights differ clearly from each other. Powers of two: exact.
GAINS = {"update_block.flow_head.conv2.": 0.25, "mask_predictor.conv.": 4.0}


def fnv1a(data: str | bytes) -> int:
    """FNV-1a, 64 bits; of a text, of its UTF-8 bytes."""
    value = 0xCBF29CE484222325
    for byte in data.encode() if isinstance(data, str) else data:
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return value


def splitmix64(seed: int, index: np.ndarray) -> np.ndarray:
    """The outputs number `index` (from 0) of the generator splitmix64 whose state starts at `seed`."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + (index.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor of this name: float32, elements in row-major order."""
    bits = splitmix64(fnv1a(name), np.arange(math.prod(shape)))
    # 24 bits make a float32 in [0, 1) exactly, and one in [-1, 1).
    unit = (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
    signed = unit * np.float32(2) - np.float32(1)
    if len(shape) == 4:
        fan_in = shape[1] * shape[2] * shape[3]
        values = signed * np.float32(math.sqrt(3.0 / fan_in))
    elif len(shape) == 1 and name.endswith((".running_var", ".weight")):
        values = unit + np.float32(0.5)
    else:
        values = signed * np.float32(0.125)
    gain = next((gain for prefix, gain in GAINS.items() if name.startswith(prefix)), 1.0)
    return (values * np.float32(gain)).reshape(shape)


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    return {name: weight(name, tuple(shape)) for name, shape in shapes.items()}


def image(which: int, height: int, width: int) -> np.ndarray:
    """Image 1 or 2, [1, 3, height, width], float32 in [-1, 1]: a smooth texture and noise, in 256 steps."""
    c, y, x = np.meshgrid(np.arange(3), np.arange(height), np.arange(width), indexing="ij")
    # 64 keeps coordinates positive.
    u = x + 64 - (MOVE_X if which == 2 else 0)
    v = y + 64 - (MOVE_Y if which == 2 else 0)
    i, j, fu, fv = u // CELL, v // CELL, u % CELL, v % CELL
    seed = fnv1a("texture")

    def knot(j, i):
        return (splitmix64(seed, (c * 4096 + j) * 4096 + i) >> np.uint64(56)).astype(np.int64)

    top = (CELL - fu) * knot(j, i) + fu * knot(j, i + 1)
    bottom = (CELL - fu) * knot(j + 1, i) + fu * knot(j + 1, i + 1)
    smooth = ((CELL - fv) * top + fv * bottom) >> 8
    bits = splitmix64(fnv1a(f"noise{which}"), (c * height + y) * width + x)
    noise = (bits >> np.uint64(59)).astype(np.int64) - 16
    levels = np.clip(smooth + noise, 0, 255).astype(np.float32)
    return (levels / np.float32(127.5) - np.float32(1))[None]


def main():
    bits = lambda x: f"{x.view(np.uint32):08x}"
    print("hash(0, 0), hash(0, 1):", *(f"{int(x):016x}" for x in splitmix64(0, np.arange(2))))
    print(f"fnv1a: {fnv1a('feature_encoder.conv.weight'):016x}")
    for name, shape in (
        ("feature_encoder.convnormrelu.0.weight", (64, 3, 7, 7)),
        ("context_encoder.convnormrelu.1.running_var", (64,)),
        ("context_encoder.convnormrelu.1.running_mean", (64,)),
        ("mask_predictor.conv.bias", (576,)),
        ("update_block.flow_head.conv2.weight", (2, 256, 3, 3)),
    ):
        values = weight(name, shape).ravel()
        print(f"{name}:", *(bits(values[i]) for i in (0, 1, -1)))
    for which in (1, 2):
        levels = np.rint((image(which, 128, 160) + 1) * 127.5).astype(int)
        print(f"image {which}:", *levels[0, 0, 0, :6], "sum", levels.sum())


if __name__ == "__main__":
    main()
