"""RAFT (Teed and Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020,
arXiv 2003.12039) as an ONNX graph: the same numbers as torchvision's `raft_small` and `raft_large`,
under torchvision's weight names.

What is arranged differently from torchvision, with the same result up to rounding:

* The flow is upsampled once, after the last update; torchvision does it after every one.
* The context does not change between updates, so its share of the gates' convolutions is computed
  once (a convolution is linear in its input channels). The weights are cut inside the graph.
* The correlation and its lookup: see `correlation.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper

from correlation import Correlation
from graph import Graph


@dataclass(frozen=True)
class Config:
    """Widths are numbers of channels. The presets are torchvision's."""

    name: str
    bottleneck: bool
    """Residual blocks of 1x1, 3x3, 1x1 with a quarter of the width, or of two 3x3."""
    feature_widths: tuple[int, ...]
    context_widths: tuple[int, ...]
    context_norm: bool
    """Batch norm (with running statistics) in the context encoder; the feature encoder always has
    instance norm without parameters."""
    radius: int
    """The lookup reads (2 radius + 1) squared correlations at each of the four levels."""
    corr_widths: tuple[int, ...]
    flow_widths: tuple[int, int]
    motion_width: int
    hidden: int
    gru_kernels: tuple[tuple[int, int], ...]
    head_width: int
    mask_width: int | None
    """Width of the network that predicts upsampling weights; without it upsampling is bilinear."""


SMALL = Config(
    name="raft_small",
    bottleneck=True,
    feature_widths=(32, 32, 64, 96, 128),
    context_widths=(32, 32, 64, 96, 160),
    context_norm=False,
    radius=3,
    corr_widths=(96,),
    flow_widths=(64, 32),
    motion_width=82,
    hidden=96,
    gru_kernels=((3, 3),),
    head_width=128,
    mask_width=None,
)
LARGE = Config(
    name="raft_large",
    bottleneck=False,
    feature_widths=(64, 64, 96, 128, 256),
    context_widths=(64, 64, 96, 128, 256),
    context_norm=True,
    radius=4,
    corr_widths=(256, 192),
    flow_widths=(128, 64),
    motion_width=128,
    hidden=128,
    gru_kernels=((1, 5), (5, 1)),
    head_width=256,
    mask_width=256,
)
PRESETS = {c.name: c for c in (SMALL, LARGE)}


def conv_of(g: Graph, x: str, weight: str, bias: str | None, kernel: tuple[int, int], stride: int = 1) -> str:
    """A convolution that keeps the size (divided by the stride), as all of RAFT's do."""
    pads = [kernel[0] // 2, kernel[1] // 2] * 2
    inputs = [x, weight] + ([bias] if bias else [])
    return g.op("Conv", *inputs, kernel_shape=list(kernel), strides=[stride, stride], pads=pads)


def conv(g: Graph, x: str, name: str, c_in: int, c_out: int, kernel: tuple[int, int], stride: int = 1) -> str:
    weight = g.local_weight(f"{name}.weight", c_out, c_in, *kernel)
    return conv_of(g, x, weight, g.local_weight(f"{name}.bias", c_out), kernel, stride)


def encoder(g: Graph, x: str, name: str, widths: tuple[int, ...], bottleneck: bool, norm: str | None) -> str:
    """Images to features at an eighth of the size. `norm`: "instance", "batch" or None."""

    def layer(x, name, c_in, c_out, kernel, stride=1, relu=True):
        x = conv(g, x, f"{name}.0", c_in, c_out, (kernel, kernel), stride)
        if norm == "instance":
            x = g.op("InstanceNormalization", x, g.const([1.0] * c_out), g.const([0.0] * c_out), epsilon=1e-5)
        elif norm == "batch":
            names = [f"{name}.1.{n}" for n in ("weight", "bias", "running_mean", "running_var")]
            x = g.op("BatchNormalization", x, *(g.weight(n, c_out) for n in names), epsilon=1e-5)
        return g.relu(x) if relu else x

    def block(x, name, c_in, c_out, stride):
        if bottleneck:
            y = layer(x, f"{name}.convnormrelu1", c_in, c_out // 4, 1)
            y = layer(y, f"{name}.convnormrelu2", c_out // 4, c_out // 4, 3, stride)
            y = layer(y, f"{name}.convnormrelu3", c_out // 4, c_out, 1)
        else:
            y = layer(x, f"{name}.convnormrelu1", c_in, c_out, 3, stride)
            y = layer(y, f"{name}.convnormrelu2", c_out, c_out, 3)
        if stride != 1:
            x = layer(x, f"{name}.downsample", c_in, c_out, 1, stride, relu=False)
        return g.relu(g.add(x, y))

    x = layer(x, f"{name}.convnormrelu", 3, widths[0], 7, 2)
    for i, stride in enumerate((1, 2, 2)):
        x = block(x, f"{name}.layer{i + 1}.0", widths[i], widths[i + 1], stride)
        x = block(x, f"{name}.layer{i + 1}.1", widths[i + 1], widths[i + 1], 1)
    return conv(g, x, f"{name}.conv", widths[3], widths[4], (1, 1))


class Update:
    """The recurrent update. `__init__` computes what does not change between updates, `step` is one."""

    def __init__(self, g: Graph, config: Config, context: str, context_width: int):
        c = self.config = config
        # The motion features' last two channels are the flow itself. ONNX Runtime's fast convolution
        # takes only multiples of four input channels.
        self.padding = -(c.hidden + c.motion_width) % 4
        self.parts = [c.hidden, context_width, c.motion_width]
        self.fixed = []
        for i, kernel in enumerate(c.gru_kernels):
            cut = [g.split(self.gate_weight(g, i, gate), *self.parts, axis=1) for gate in "zrq"]
            biases = [g.weight(f"{self.gate(i, gate)}.bias", c.hidden) for gate in "zrq"]
            weight, bias = g.concat(*(p[1] for p in cut), axis=0), g.concat(*biases, axis=0)
            fixed = conv_of(g, context, weight, bias, kernel)
            self.fixed.append(g.split(fixed, 2 * c.hidden, c.hidden, axis=1))

    @staticmethod
    def gate(i: int, gate: str) -> str:
        return f"update_block.recurrent_block.convgru{i + 1}.conv{gate}"

    def gate_weight(self, g: Graph, i: int, gate: str) -> str:
        shape = (self.config.hidden, sum(self.parts), *self.config.gru_kernels[i])
        return g.weight(f"{self.gate(i, gate)}.weight", *shape)

    def moving_weight(self, g: Graph, i: int, gates: str) -> str:
        """The weights of some gates without the context's, padded; cut where they are used (see `local_weight`)."""
        kernel, rows = self.config.gru_kernels[i], []
        for gate in gates:
            hidden, _, motion = g.split(self.gate_weight(g, i, gate), *self.parts, axis=1)
            zeros = [g.const(np.zeros((self.config.hidden, self.padding, *kernel)))] if self.padding else []
            rows.append(g.concat(hidden, motion, *zeros, axis=1))
        return g.concat(*rows, axis=0) if len(rows) > 1 else rows[0]

    def motion(self, g: Graph, flow: str, corr: str) -> str:
        c, name = self.config, "update_block.motion_encoder"
        if len(c.corr_widths) == 2:
            corr = g.relu(conv(g, corr, f"{name}.convcorr2.0", *c.corr_widths, (3, 3)))
        x = g.relu(conv(g, flow, f"{name}.convflow1.0", 2, c.flow_widths[0], (7, 7)))
        x = g.relu(conv(g, x, f"{name}.convflow2.0", *c.flow_widths, (3, 3)))
        x = g.concat(corr, x, axis=1)
        x = g.relu(conv(g, x, f"{name}.conv.0", c.corr_widths[-1] + c.flow_widths[1], c.motion_width - 2, (3, 3)))
        if self.padding:
            flow = g.op("Pad", flow, g.ints(0, 0, 0, 0, 0, self.padding, 0, 0))
        return g.concat(x, flow, axis=1)

    def step(self, g: Graph, hidden: str, flow: str, corr: str) -> tuple[str, str]:
        """The next hidden state and the change of the flow. `corr` comes out of `Correlation.lookup`."""
        c = self.config
        motion = self.motion(g, flow, corr)
        for i, (kernel, (fixed_zr, fixed_q)) in enumerate(zip(c.gru_kernels, self.fixed)):
            # z and r read the same input: one convolution. q reads the reset state.
            zr = conv_of(g, g.concat(hidden, motion, axis=1), self.moving_weight(g, i, "zr"), None, kernel)
            zr = g.add(zr, fixed_zr)
            z, r = g.split(g.op("Sigmoid", zr), c.hidden, c.hidden, axis=1)
            q = g.concat(g.mul(r, hidden), motion, axis=1)
            q = conv_of(g, q, self.moving_weight(g, i, "q"), None, kernel)
            q = g.op("Tanh", g.add(q, fixed_q))
            # (1 - z) h + z q
            hidden = g.add(hidden, g.mul(z, g.sub(q, hidden)))
        x = g.relu(conv(g, hidden, "update_block.flow_head.conv1", c.hidden, c.head_width, (3, 3)))
        return hidden, conv(g, x, "update_block.flow_head.conv2", c.head_width, 2, (3, 3))


def upsample(g: Graph, config: Config, hidden: str, flow: str, scaled: str) -> str:
    """`scaled`, [N, 2, h, w], at eight times the size. `hidden` is only read where a mask is predicted."""
    if config.mask_width is None:
        return g.op(
            "Resize",
            scaled,
            "",
            g.const([1, 1, 8, 8]),
            mode="linear",
            coordinate_transformation_mode="align_corners",
            name="flow",
        )
    # Each of the 8x8 pixels of a cell is a convex combination of the flow of its 3x3 cells (paper,
    # section 3.3). 0.25 is part of the published network.
    x = g.relu(conv(g, hidden, "mask_predictor.convrelu.0", config.hidden, config.mask_width, (3, 3)))
    x = g.mul(conv(g, x, "mask_predictor.conv", config.mask_width, 576, (1, 1)), g.const(0.25))
    n, h, w = g.dims(flow, 0, 2, 3)
    mask = g.op("Softmax", g.reshape(x, n, 1, 9, 64, h, w), axis=2)
    # The nine neighbours as channels: a convolution with one-hot kernels, zero outside.
    kernels = [[[[float(3 * i + j == k) for j in range(3)] for i in range(3)]] for _ in range(2) for k in range(9)]
    cells = g.op("Conv", scaled, g.const(kernels), kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=2)
    x = g.mul(mask, g.reshape(cells, n, 2, 9, 1, h, w))
    x = g.op("ReduceSum", x, g.ints(2), keepdims=0)
    x = g.op("Transpose", g.reshape(x, n, 2, 8, 8, h, w), perm=[0, 1, 4, 2, 5, 3])
    big_h, big_w = g.mul(h, g.ints(8)), g.mul(w, g.ints(8))
    shape = g.concat(n, g.ints(2), big_h, big_w, axis=0)
    return g.op("Reshape", x, shape, name="flow")


def build(config: Config, unroll: int | None = None):
    """The model. `unroll` writes that many updates out instead of a loop (no input `updates` then)."""
    c = config
    g = Graph()
    features = encoder(
        g, g.concat("image1", "image2", axis=0), "feature_encoder", c.feature_widths, c.bottleneck, "instance"
    )
    context_width = c.context_widths[-1] - c.hidden
    context = encoder(
        g, "image1", "context_encoder", c.context_widths, c.bottleneck, "batch" if c.context_norm else None
    )
    hidden, context = g.split(context, c.hidden, context_width, axis=1)
    hidden, context = g.op("Tanh", hidden), g.relu(context)
    correlation = Correlation(g, features, c.feature_widths[-1], c.radius, c.corr_widths[0])
    update = Update(g, c, context, context_width)
    n, h, w = g.dims(context, 0, 2, 3)
    flow = g.op("Expand", g.const(0.0), g.concat(n, g.ints(2), h, w, axis=0))

    def step(g, hidden, flow):
        hidden, delta = update.step(g, hidden, flow, correlation.lookup(g, flow))
        return hidden, g.add(flow, delta)

    value = helper.make_tensor_value_info
    if unroll is None:
        body = Graph(parent=g, prefix="update/")
        # Names of a body must differ from all outer names.
        next_hidden, next_flow = step(body, "update/hidden_in", "update/flow_in")
        going_on = body.op("Identity", "update/going_on_in")
        state = [("hidden", c.hidden), ("flow", 2)]
        ins = [value("update/i", TensorProto.INT64, []), value("update/going_on_in", TensorProto.BOOL, [])]
        ins += [value(f"update/{k}_in", TensorProto.FLOAT, ["N", d, "h", "w"]) for k, d in state]
        outs = [value(going_on, TensorProto.BOOL, [])]
        outs += [
            value(k, TensorProto.FLOAT, ["N", d, "h", "w"])
            for k, (_, d) in zip((next_hidden, next_flow), state)
        ]
        hidden, flow = g.op("Loop", "updates", "", hidden, flow, outputs=2, name="loop", body=body.body(ins, outs))
    else:
        for _ in range(unroll):
            hidden, flow = step(g, hidden, flow)
    scaled = g.op("Mul", flow, g.const(8.0), name="flow_low")
    upsample(g, c, hidden, flow, scaled)
    inputs = [value(k, TensorProto.FLOAT, ["N", 3, "H", "W"]) for k in ("image1", "image2")]
    if unroll is None:
        inputs.append(value("updates", TensorProto.INT64, []))
    outputs = [
        value("flow", TensorProto.FLOAT, ["N", 2, "H", "W"]),
        value("flow_low", TensorProto.FLOAT, ["N", 2, "h", "w"]),
    ]
    return g.model(c.name, inputs, outputs, DOC.format(name=c.name))


DOC = """{name}: optical flow from image1 to image2, as torchvision computes it.
image1, image2: [N, 3, H, W], RGB in [-1, 1]; H and W multiples of 8, at least 128.
updates: number of recurrent updates, at least 1 (12 is usual).
flow: [N, 2, H, W], x and y in pixels. flow_low: [N, 2, H/8, W/8], before upsampling, also in pixels of the input.
The initialisers of location "weights" hold no data: give them by name (torchvision's state dict)."""
