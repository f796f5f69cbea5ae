"""Other forms of the correlation lookup, only to measure them against `correlation.Correlation`.

For: the table in the README, so that the choice can be checked again on another machine or with
another ONNX Runtime. Nothing here goes into the graphs. Every form gives the same numbers, which
`timings.py --lookups` checks.
"""

from __future__ import annotations

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

import generated
from correlation import LEVELS, Correlation
from weightless import external_shapes
from graph import Graph
from raft import Config


class FlatGather(Correlation):
    """Gather with one index into the whole volume instead of GatherElements on rows."""

    def __init__(self, g: Graph, *args):
        super().__init__(g, *args)
        pixels, length = g.dims(self.rows, 0, 1)
        scalar = lambda x: g.op("Squeeze", x)
        starts = g.mul(g.op("Range", scalar(g.ints(0)), scalar(pixels), scalar(g.ints(1))), length)
        self.starts = g.reshape(starts, -1, 1)
        self.flat = g.reshape(self.rows, -1)

    def read(self, g: Graph, index: str) -> str:
        return g.op("Gather", self.flat, g.add(g.op("Cast", index, to=7), self.starts), axis=0)


class Volumes(Correlation):
    """The volume as one image per pixel and level, pooled as torchvision does. (The parent's rows are
    then unused; ONNX Runtime drops them.)"""

    def __init__(self, g: Graph, features: str, width: int, radius: int, out_width: int):
        super().__init__(g, features, width, radius, out_width)
        first, second = g.op("Split", features, outputs=2, axis=0)
        first = g.mul(g.reshape(first, 0, width, -1), g.const(1 / np.sqrt(width)))
        volume = g.op("MatMul", g.op("Transpose", first, perm=[0, 2, 1]), g.reshape(second, 0, width, -1))
        self.volumes = [g.reshape(volume, -1, 1, self.h, self.w)]
        for _ in range(LEVELS - 1):
            self.volumes.append(g.op("AveragePool", self.volumes[-1], kernel_shape=[2, 2], strides=[2, 2]))

    def centres(self, g: Graph, flow: str) -> str:
        centre = g.op("Transpose", g.add(flow, self.grid), perm=[0, 2, 3, 1])
        return g.reshape(centre, -1, 1, 1, 2)

    def lookup(self, g: Graph, flow: str) -> str:
        side = 2 * self.radius + 1
        centre = self.centres(g, flow)
        read = [self.level(g, i, g.mul(centre, g.const(0.5**i))) for i in range(LEVELS)]
        return self.project(g, g.concat(*(g.reshape(r, -1, side * side) for r in read), axis=1))


class GridSample(Volumes):
    """torchvision's form."""

    def level(self, g: Graph, i: int, centre: str) -> str:
        r = np.arange(-self.radius, self.radius + 1)
        # The window's first index moves x.
        offsets = np.stack(np.meshgrid(r, r, indexing="ij"), axis=-1)
        h, w = g.dims(self.volumes[i], 2, 3)
        size = g.op("Cast", g.concat(w, h, axis=0), to=1)
        grid = g.op("Div", g.mul(g.add(centre, g.const(offsets)), g.const(2.0)), g.sub(size, g.const(1.0)))
        how = dict(mode="bilinear", padding_mode="zeros", align_corners=1)
        return g.op("GridSample", self.volumes[i], g.sub(grid, g.const(1.0)), **how)


class Hats(Volumes):
    """Two matrix products per pixel and level with bilinear weights max(0, 1 - |distance|)."""

    def level(self, g: Graph, i: int, centre: str) -> str:
        x, y = g.split(g.reshape(centre, -1, 1, 2), 1, 1, axis=2)
        places = []
        for middle, size in zip((x, y), g.dims(self.volumes[i], 3, 2)):
            axis = g.op("Range", *(g.op("Squeeze", v) for v in (g.ints(0), size, g.ints(1))))
            axis = g.op("Cast", axis, to=1)
            wanted = g.add(middle, g.const(np.arange(-self.radius, self.radius + 1).reshape(-1, 1)))
            distance = g.op("Abs", g.sub(wanted, axis))  # [pixels, side, size]
            places.append(g.relu(g.sub(g.const(1.0), distance)))
        x, y = places
        h, w = g.dims(self.volumes[i], 2, 3)
        rows = g.op("MatMul", y, g.reshape(self.volumes[i], -1, h, w))
        # [pixels, y, w] times [pixels, w, x], and x before y in the result.
        rows = g.op("MatMul", rows, g.op("Transpose", x, perm=[0, 2, 1]))
        return g.op("Transpose", rows, perm=[0, 2, 1])


FORMS = {
    "GatherElements, blended": Correlation,
    "Gather, blended": FlatGather,
    "GridSample": GridSample,
    "two matrix products": Hats,
}


def model(form: str, config: Config):
    """Features and a flow in; after `updates` lookups, each at a slightly moved flow, the last result."""
    g = Graph()
    look = FORMS[form](g, "features", config.feature_widths[-1], config.radius, config.corr_widths[0])
    body, value = Graph(parent=g, prefix="body/"), helper.make_tensor_value_info
    corr = look.lookup(body, "body/flow_in")
    moved = body.add("body/flow_in", body.const(0.01))
    going_on = body.op("Identity", "body/going_on_in")
    flow_shape, corr_shape = ["N", 2, "h", "w"], ["N", config.corr_widths[0], "h", "w"]
    ins = [value("body/i", TensorProto.INT64, []), value("body/going_on_in", TensorProto.BOOL, [])]
    ins += [value("body/flow_in", TensorProto.FLOAT, flow_shape), value("body/corr_in", TensorProto.FLOAT, corr_shape)]
    outs = [value(going_on, TensorProto.BOOL, [])]
    outs += [value(moved, TensorProto.FLOAT, flow_shape), value(corr, TensorProto.FLOAT, corr_shape)]
    n, h, w = g.dims("flow", 0, 2, 3)
    none = g.op("Expand", g.const(0.0), g.concat(n, g.ints(config.corr_widths[0]), h, w, axis=0))
    _, last = g.op("Loop", "updates", "", "flow", none, outputs=2, body=body.body(ins, outs))
    outputs = [value(last, TensorProto.FLOAT, corr_shape)]
    inputs = [
        value("features", TensorProto.FLOAT, ["N2", config.feature_widths[-1], "h", "w"]),
        value("flow", TensorProto.FLOAT, flow_shape),
        value("updates", TensorProto.INT64, []),
    ]
    return g.model("lookup", inputs, outputs, form), last


def session(form: str, config: Config, threads: int):
    """A function of (h, w, updates) that runs the lookups and gives the last result."""
    made, last = model(form, config)
    names = external_shapes(made)
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(w) for w in generated.weights(names).values()]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Not a word about the parent's unused constants.
    options.log_severity_level = 3
    options.add_external_initializers(list(names), values)
    run = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def go(h: int, w: int, updates: int) -> np.ndarray:
        rng = np.random.default_rng(1)
        features = rng.standard_normal((2, config.feature_widths[-1], h, w), np.float32)
        # A smooth flow of a few pixels that leaves the image at places.
        y, x = np.mgrid[0:h, 0:w].astype(np.float32)
        flow = np.stack([3 + 0.05 * x, -2.3 + 0.1 * y])[None]
        feeds = {"features": features, "flow": flow, "updates": np.array(updates, np.int64)}
        return run.run([last], feeds)[0]

    return go
