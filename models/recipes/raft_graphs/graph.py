"""A small writer of ONNX graphs.

For: writing a network as ordinary Python expressions and getting an ONNX model whose weights are
only named, not stored. `Graph` collects nodes; each method adds one and returns the name of its
result.

Decided against: tracing or scripting with torch.onnx. It bakes sizes in or carries long shape
arithmetic along, renames weights, unrolls loops, and computes the upsampled flow in every
iteration. Decided against onnxscript: one more dependency for what `onnx.helper` does.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

# Where the initialisers say their bytes are. No such file exists: whoever opens the graph gives
# every one of them by name (`add_external_initializers`). The name shows up in the error message
# of ONNX Runtime when one was forgotten.
WEIGHTS_LOCATION = "weights"
OPSET = 17
# The oldest that has everything of opset 17. ONNX Runtime 1.22 reads up to 10 and later.
IR_VERSION = 8


class Graph:
    """Nodes, constants and weights of one graph, or of a loop body (which shares its parent's weights)."""

    def __init__(self, parent: Graph | None = None, prefix: str = ""):
        self.parent, self.prefix = parent, prefix
        self.nodes, self.constants, self.weights = [], {}, {}
        self.count = 0

    def fresh(self, op: str) -> str:
        self.count += 1
        return f"{self.prefix}{op.lower()}_{self.count}"

    def op(self, op: str, *inputs: str, outputs: int = 1, name: str | None = None, **attributes):
        """Adds a node. One result comes back as a name, several as a list of names."""
        base = name or self.fresh(op)
        names = [base] if outputs == 1 else [f"{base}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=base, **attributes))
        return names[0] if outputs == 1 else names

    def const(self, value, dtype=np.float32) -> str:
        """A constant stored in the graph. Equal constants are stored once, in the outermost graph."""
        if self.parent:
            return self.parent.const(value, dtype)
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.constants:
            name = f"const_{len(self.constants)}"
            self.constants[key] = (name, numpy_helper.from_array(array, name))
        return self.constants[key][0]

    def ints(self, *values: int) -> str:
        return self.const(values, np.int64)

    def weight(self, name: str, *shape: int) -> str:
        """A float32 initialiser that has a name and a shape and whose bytes are elsewhere."""
        if self.parent:
            return self.parent.weight(name, *shape)
        if name not in self.weights:
            tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
            tensor.data_location = TensorProto.EXTERNAL
            # Offset and length are nominal, but ONNX Runtime checks length against the shape.
            offset = sum(int(np.prod(t.dims)) * 4 for t in self.weights.values())
            for key, value in (
                ("location", WEIGHTS_LOCATION),
                ("offset", offset),
                ("length", int(np.prod(shape)) * 4),
            ):
                tensor.external_data.add(key=key, value=str(value))
            self.weights[name] = tensor
        assert tuple(self.weights[name].dims) == shape, (name, shape)
        return name

    def local_weight(self, name: str, *shape: int) -> str:
        """`weight` as a convolution should read it.

        ONNX Runtime lays a convolution's weights out for its fast kernels (NCHWc) only if they belong
        to the same graph as the convolution, so not in a loop body that reads outer initialisers. A
        concatenation of one, which constant folding executes when the model is loaded, makes them so.
        """
        return self.concat(self.weight(name, *shape), axis=0) if self.parent else self.weight(name, *shape)

    # Shorthands. Only what is used by more than one module is here.

    def add(self, a, b):
        return self.op("Add", a, b)

    def sub(self, a, b):
        return self.op("Sub", a, b)

    def mul(self, a, b):
        return self.op("Mul", a, b)

    def relu(self, x):
        return self.op("Relu", x)

    def concat(self, *xs: str, axis: int):
        return self.op("Concat", *xs, axis=axis)

    def split(self, x: str, *sizes: int, axis: int):
        return self.op("Split", x, self.ints(*sizes), outputs=len(sizes), axis=axis)

    def slice(self, x: str, begin: int, end: int, axis: int):
        return self.op("Slice", x, self.ints(begin), self.ints(end), self.ints(axis))

    def reshape(self, x: str, *dims: int | str):
        """Reshapes to dims given as numbers or as names of int64 tensors of one element."""
        if all(isinstance(d, int) for d in dims):
            return self.op("Reshape", x, self.ints(*dims))
        parts = [self.ints(d) if isinstance(d, int) else d for d in dims]
        return self.op("Reshape", x, self.concat(*parts, axis=0))

    def dims(self, x: str, *axes: int) -> list[str]:
        """The sizes of some axes, each an int64 tensor of one element."""
        shape = self.op("Shape", x)
        return [self.op("Gather", shape, self.ints(axis), axis=0) for axis in axes]

    def body(self, inputs, outputs):
        """This graph as the body of a Loop or a branch."""
        return helper.make_graph(self.nodes, self.prefix.strip("/") or "body", inputs, outputs)

    def model(self, name: str, inputs, outputs, doc: str):
        constants = [tensor for _, tensor in self.constants.values()]
        graph = helper.make_graph(
            self.nodes, name, inputs, outputs, list(self.weights.values()) + constants, doc_string=doc
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="curate"
        )
        # Checked without the weights' bytes, which the checker would look for beside the file: there they
        # are inputs. (Zeros in their place would go over protobuf's 2 GB for a large network.)
        bare = type(model)()
        bare.CopyFrom(model)
        del bare.graph.initializer[:]
        bare.graph.initializer.extend(constants)
        bare.graph.input.extend(
            helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in self.weights.values()
        )
        checker.check_model(bare, full_check=True)
        return model
