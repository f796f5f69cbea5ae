"""All-pairs correlation and its lookup (RAFT paper, section 3.2), arranged for one gather an update.

Every pixel of the first image has one row of numbers: its correlation with all pixels of the second
image at four resolutions, level after level, each level with a border of one zero. The window around a
sub-pixel centre is then (2 r + 2) squared whole positions, clamped into the border, gathered from the
row, and blended with weights that are the same all over the window.

torchvision correlates first and pools the volume; here the features of the second image are pooled,
which is the same by linearity and far less to pool. It also reads the window by grid sampling, four
times per update and with every position's weights computed anew.
"""

from __future__ import annotations

import numpy as np

from graph import Graph

LEVELS = 4


class Correlation:
    def __init__(self, g: Graph, features: str, width: int, radius: int, out_width: int):
        """`features`: [2 N, width, h, w], first images first."""
        self.radius, self.out_width = radius, out_width
        n2, self.h, self.w = g.dims(features, 0, 2, 3)
        first, second = g.op("Split", features, outputs=2, axis=0)
        # The scale of the dot products is put on the smaller operand.
        first = g.mul(g.reshape(first, 0, width, -1), g.const(1 / np.sqrt(width)))
        first = g.op("Transpose", first, perm=[0, 2, 1])
        levels, strides, bases, limits = [], [], [], []
        base = g.ints(0)
        for level in range(LEVELS):
            if level:
                second = g.op("AveragePool", second, kernel_shape=[2, 2], strides=[2, 2])
            h, w = g.dims(second, 2, 3)
            levels.append(g.reshape(g.op("Pad", second, g.ints(0, 0, 1, 1, 0, 0, 1, 1)), 0, width, -1))
            stride = g.add(w, g.ints(2))
            strides.append(stride)
            # The index of position (0, 0), which the border puts one row and one column in.
            bases.append(g.add(g.add(base, stride), g.ints(1)))
            limits.append(g.concat(w, h, axis=0))
            base = g.add(base, g.mul(stride, g.add(h, g.ints(2))))
        volume = g.op("MatMul", first, g.concat(*levels, axis=2))
        self.rows = g.op("Reshape", volume, g.concat(g.ints(-1), base, axis=0))

        f32 = lambda x: g.op("Cast", x, to=1)
        # All for values of shape [pixels, x or y, level, place in window].
        limits = g.op("Unsqueeze", g.concat(*(g.op("Unsqueeze", x, g.ints(1)) for x in limits), axis=1), g.ints(2))
        self.limits = f32(limits)  # [2, 4, 1]
        ones = g.ints(*[1] * LEVELS)
        steps = g.concat(ones, g.concat(*strides, axis=0), axis=0)
        self.steps = f32(g.reshape(steps, 2, LEVELS, 1))
        self.bases = f32(g.reshape(g.concat(*bases, axis=0), LEVELS, 1))
        side = 2 * radius + 2
        self.offsets = g.const(np.arange(side) - radius)
        self.scales = g.const([[0.5**level] for level in range(LEVELS)])
        ys = g.op("Range", *(g.op("Squeeze", x) for x in (g.ints(0), self.h, g.ints(1))))
        xs = g.op("Range", *(g.op("Squeeze", x) for x in (g.ints(0), self.w, g.ints(1))))
        grid_shape = g.concat(self.h, self.w, axis=0)
        grid = [
            g.op("Expand", g.reshape(xs, 1, -1), grid_shape),
            g.op("Expand", g.reshape(ys, -1, 1), grid_shape),
        ]
        self.grid = f32(g.concat(*(g.op("Unsqueeze", x, g.ints(0)) for x in grid), axis=0))  # [2, h, w]
        side1 = 2 * radius + 1
        weight = g.weight("update_block.motion_encoder.convcorr1.0.weight", out_width, LEVELS * side1**2, 1, 1)
        # As a matrix product on pixel-major rows: the lookup's layout, and the fewer channels are transposed.
        self.weight = g.op("Transpose", g.reshape(weight, out_width, LEVELS * side1**2), perm=[1, 0])
        self.bias = g.weight("update_block.motion_encoder.convcorr1.0.bias", out_width)

    def read(self, g: Graph, index: str) -> str:
        """Some positions of every pixel's row: [pixels, places] to the same shape."""
        return g.op("GatherElements", self.rows, index, axis=1)

    def lookup(self, g: Graph, flow: str) -> str:
        """The motion encoder's first correlation features, [N, out_width, h, w]."""
        side = 2 * self.radius + 2
        centre = g.op("Transpose", g.add(flow, self.grid), perm=[0, 2, 3, 1])
        centre = g.mul(g.reshape(centre, -1, 2, 1, 1), self.scales)  # [P, 2, 4, 1]
        whole = g.op("Floor", centre)
        fx, fy = g.split(g.sub(centre, whole), 1, 1, axis=1)
        # -1 and the size are the border.
        place = g.op("Min", g.op("Max", g.add(whole, self.offsets), g.const(-1.0)), self.limits)
        x, y = g.split(g.mul(place, self.steps), 1, 1, axis=1)  # [P, 1, 4, side]
        y = g.add(y, self.bases)
        to_int = lambda v: g.op("Cast", v, to=6)
        index = g.add(
            g.reshape(to_int(x), -1, LEVELS, side, 1),
            g.reshape(to_int(y), -1, LEVELS, 1, side),
        )
        window = self.read(g, g.reshape(index, -1, LEVELS * side * side))
        # Channels are ordered level, x, y: the published weights expect x before y.
        window = g.reshape(window, -1, LEVELS, side, side)
        fx, fy = g.reshape(fx, -1, LEVELS, 1, 1), g.reshape(fy, -1, LEVELS, 1, 1)
        for fraction, axis in ((fx, 2), (fy, 3)):
            a, b = g.slice(window, 0, side - 1, axis), g.slice(window, 1, side, axis)
            window = g.add(a, g.mul(fraction, g.sub(b, a)))
        return self.project(g, g.reshape(window, -1, LEVELS * (side - 1) ** 2))

    def project(self, g: Graph, rows: str) -> str:
        """The first layer of the motion encoder on [pixels, correlations]."""
        rows = g.relu(g.add(g.op("MatMul", rows, self.weight), self.bias))
        image = g.reshape(rows, -1, self.h, self.w, self.out_width)
        return g.op("Transpose", image, perm=[0, 3, 1, 2])
