"""Give ONNX Runtime its own attention operator in place of the standard ones of a model file.

    content = fused(path)                    # bytes of the changed model, or None

Model files have standard operators only, so that every engine can read them. On CPUs, ONNX Runtime
computes `MultiHeadAttention` without storing the products of all queries and keys. Needs the
package `onnx`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import onnx

_DOMAIN = "com.microsoft"
_FLAT = "attention.flat."

_ROWS, _COLUMNS = (0, 2, 1, 3), (0, 2, 3, 1)
"""Orders of axes that put the heads first: (1, heads, n, width) and (1, heads, width, n)."""


def is_available() -> bool:
    """Whether the package `onnx` is installed."""
    return find_spec("onnx") is not None


def fused(path: Path) -> bytes | None:
    """Return the model of a file with fused attention; None if it has no attention that fits."""
    import onnx

    model = onnx.load(str(path))
    if not fuse(model):
        return None
    return model.SerializeToString()


def fuse(model: onnx.ModelProto) -> int:
    """Replace softmax(q kᵀ) v by `MultiHeadAttention` in a model; returns how often.

    What fits are queries, keys and values that a Reshape divides into heads, and one Transpose and
    one Reshape that join the heads again.
    """
    from onnx import helper

    links = _Links(model.graph)
    softmaxes = [node for node in model.graph.node if node.op_type == "Softmax"]
    count = sum(_fuse_one(links, softmax) for softmax in softmaxes)
    if count:
        links.remove_unused()
        model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return count


class _Heads(NamedTuple):
    """What is divided into heads, what it is multiplied with, number and width of the heads."""

    source: str
    factor: str | None
    number: int
    width: int


class _Links:
    """The nodes of a graph by what they compute and use, and its constants."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        from onnx import numpy_helper

        self.graph = graph
        self.producer = {name: node for node in graph.node for name in node.output}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.users.setdefault(name, []).append(node)
        self.values = {x.name: numpy_helper.to_array(x) for x in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].HasField("t"):
                self.values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)

    def only_user(self, node: onnx.NodeProto, kind: str) -> onnx.NodeProto | None:
        """Return the node that uses a result, if there is one alone, of this kind."""
        users = self.users.get(node.output[0], [])
        return users[0] if len(users) == 1 and users[0].op_type == kind else None

    def heads(self, name: str, order: tuple[int, ...]) -> _Heads | None:
        """Follow a product's input to what was divided into heads: Reshape, Transpose, Mul."""
        node, factor = self.producer.get(name), None
        if node is not None and node.op_type == "Mul":
            factor = node.input[1]
            node = self.producer.get(node.input[0])
        if node is None or not _is_transpose(node, order):
            return None
        divided = self.producer.get(node.input[0])
        if divided is None or divided.op_type != "Reshape":
            return None
        shape = self.values.get(divided.input[1])
        if shape is None or shape.shape != (4,) or shape[0] != 1 or min(shape[2:]) < 1:
            return None
        return _Heads(divided.input[0], factor, int(shape[2]), int(shape[3]))

    def flat(self, width: int) -> str:
        """Return the name of the shape (1, −1, width)."""
        from onnx import numpy_helper

        name = f"{_FLAT}{width}"
        if name not in self.values:
            self.values[name] = np.array([1, -1, width], np.int64)
            self.graph.initializer.append(numpy_helper.from_array(self.values[name], name))
        return name

    def replace(self, node: onnx.NodeProto, others: list[onnx.NodeProto]) -> None:
        place = list(self.graph.node).index(node)
        self.graph.node.remove(node)
        for other in reversed(others):
            self.graph.node.insert(place, other)

    def remove_unused(self) -> None:
        """Remove the nodes whose results nobody uses any more."""
        while True:
            used = {name for node in self.graph.node for name in node.input}
            used |= {output.name for output in self.graph.output}
            unused = [node for node in self.graph.node if used.isdisjoint(node.output)]
            if not unused:
                return
            for node in unused:
                self.graph.node.remove(node)


def _fuse_one(links: _Links, softmax: onnx.NodeProto) -> bool:
    """Replace the attention around a softmax; False if it is none that fits."""
    from onnx import helper

    products = links.producer.get(softmax.input[0])
    weighted = links.only_user(softmax, "MatMul")
    if products is None or products.op_type != "MatMul" or weighted is None:
        return False
    joined = links.only_user(weighted, "Transpose")
    whole = None if joined is None else links.only_user(joined, "Reshape")
    if joined is None or whole is None or not _is_transpose(joined, _ROWS):
        return False
    parts = {
        "query": links.heads(products.input[0], _ROWS),
        "key": links.heads(products.input[1], _COLUMNS),
        "value": links.heads(weighted.input[1], _ROWS),
    }
    found = {name: part for name, part in parts.items() if part is not None}
    sizes = {(part.number, part.width) for part in found.values()}
    if len(found) < len(parts) or len(sizes) > 1:
        return False
    ((number, width),) = sizes
    name, flat = softmax.name or softmax.output[0], links.flat(number * width)
    nodes, rows = [], []
    for part, heads in found.items():
        row = f"{name}.{part}"
        nodes.append(helper.make_node("Reshape", [heads.source, flat], [row]))
        if heads.factor is not None:  # the operator's own factor is 1
            nodes.append(helper.make_node("Mul", [row, heads.factor], [f"{row}.scaled"]))
            row += ".scaled"
        rows.append(row)
    attended = f"{name}.attended"
    fused = helper.make_node(
        "MultiHeadAttention", rows, [attended], domain=_DOMAIN, num_heads=number, scale=1.0
    )
    nodes.append(fused)
    nodes.append(helper.make_node("Reshape", [attended, whole.input[1]], list(whole.output)))
    links.replace(whole, nodes)
    return True


def _is_transpose(node: onnx.NodeProto, order: tuple[int, ...]) -> bool:
    orders = [tuple(a.ints) for a in node.attribute if a.name == "perm"]
    return node.op_type == "Transpose" and orders == [order]
