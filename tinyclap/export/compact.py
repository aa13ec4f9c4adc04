"""Large weights of an ONNX graph stored as int8, a quarter of the bytes; the arithmetic stays fp32.

Every channel of a weight (a column of a matrix, a filter of a convolution, a row of a table) has its own scale, its
maximum magnitude over 127. DequantizeLinear makes the weights fp32 again when the graph runs; of a lookup table only
the rows that are looked up. No calibration, and no activation is rounded.
"""

from pathlib import Path

import numpy as np

from tinyclap.export.onnx_graphs import require, save_graph

_MIN_SIZE = 4096  # smaller weights stay fp32: they cost no bytes, and often decide much
_REARRANGE = ("Transpose", "Split", "Reshape")  # what weights go through on their way to a product


def compact_graph(source, target, min_size=_MIN_SIZE, keep=()):
    """Write the compact form of a graph: dict of ``n_weights`` (stored as int8), ``bytes_before``, ``bytes_after``.

    Weights of MatMul, Gemm, Conv and Gather (along the first axis), also behind a Transpose, Split or Reshape, in the
    main graph. A weight that any other operation reads stays fp32.

    Arguments
    ---------
    source, target : str or os.PathLike. The fp32 graph, and where the compact one goes; they may be the same file.
    min_size : int. Weights of fewer values stay fp32.
    keep : sequence of str. Names of weights that stay fp32.
    """
    onnx = require("onnx")
    source, target = Path(source), Path(target)
    before, model = source.stat().st_size, onnx.load(str(source))
    graph, done = model.graph, []
    taken = {value for node in graph.node for value in (node.name, *node.input, *node.output)}
    for weight in list(graph.initializer):
        if weight.name in keep or weight.data_type != onnx.TensorProto.FLOAT or len(weight.dims) < 2:
            continue
        readers = [(node, place) for node in graph.node for place, name in enumerate(node.input) if name == weight.name]
        axes = {_axis(onnx, node, place, len(weight.dims)) for node, place in readers}
        if np.prod(weight.dims) < min_size or not readers or None in axes:
            continue
        _replace(onnx, graph, weight, readers, 0 if 0 in axes else axes.pop(), taken)
        done.append(weight.name)
    save_graph(model, target)
    return {"n_weights": len(done), "bytes_before": before, "bytes_after": target.stat().st_size}


def quantised(weight, axis):
    """A float32 weight as int8, and one float32 scale above 0 for each index of an axis: it is about their product.

    Example
    -------
    >>> values, scales = quantised(np.array([[1.27, -0.5], [0.0, 0.0]], np.float32), axis=0)
    >>> values.tolist(), [round(scale, 4) for scale in scales.tolist()]
    ([[127, -50], [0, 0]], [0.01, 1.0])
    """
    others = tuple(index for index in range(weight.ndim) if index != axis)
    greatest = np.abs(weight).max(axis=others)
    scales = np.where(greatest > 0, greatest / 127, 1).astype(np.float32)
    shape = [-1 if index == axis else 1 for index in range(weight.ndim)]
    return np.rint(weight / scales.reshape(shape)).astype(np.int8), scales


def _axis(onnx, node, place, n_axes):
    """Along which axis the weight that a node reads at a place has its channels; None if it must stay fp32."""
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    kind = node.op_type
    if kind == "MatMul" and place == 1 and n_axes == 2:
        return 1
    if kind in ("Gemm", "Conv") and place == 1:
        return 1 if kind == "Gemm" and not attributes.get("transB", 0) else 0
    is_rows = kind in _REARRANGE or (kind == "Gather" and attributes.get("axis", 0) == 0)
    return 0 if is_rows and place == 0 and n_axes == 2 else None


def _replace(onnx, graph, weight, readers, axis, taken):
    """Put the int8 form of a weight, and what makes fp32 of it, in the place of the weight."""
    values, scales = quantised(onnx.numpy_helper.to_array(weight), axis)
    stored, scale = _new_name(f"{weight.name}_int8", taken), _new_name(f"{weight.name}_scale", taken)
    lookups = [node for node, _ in readers if node.op_type == "Gather"]
    places = {id(node): index for index, node in enumerate(graph.node)}
    for node in sorted(lookups, key=lambda node: places[id(node)], reverse=True):
        _look_up(onnx, graph, node, places[id(node)], stored, scale, taken)
    if len(lookups) < len(readers):
        whole = _new_name(f"{weight.name}_fp32", taken)
        for node, place in readers:
            if node.op_type != "Gather":
                node.input[place] = whole
        made = onnx.helper.make_node("DequantizeLinear", [stored, scale], [whole], name=whole, axis=axis)
        graph.node.insert(0, made)
    graph.initializer.remove(weight)
    graph.initializer.append(onnx.numpy_helper.from_array(values, stored))
    graph.initializer.append(onnx.numpy_helper.from_array(scales, scale))


def _look_up(onnx, graph, node, place, stored, scale, taken):
    """Replace a Gather of rows by one of int8 rows, one of their scales, and the product."""
    table, indices, result = node.input[0], node.input[1], node.output[0]
    names = [_new_name(f"{table}_{part}", taken) for part in ("rows", "rows_fp32", "row_scales", "last", "scales")]
    rows, rows_fp32, row_scales, last, scales = names
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1], np.int64), last))
    make = onnx.helper.make_node
    new = [
        make("Gather", [stored, indices], [rows], name=rows, axis=0),
        make("Cast", [rows], [rows_fp32], name=rows_fp32, to=onnx.TensorProto.FLOAT),
        make("Gather", [scale, indices], [row_scales], name=row_scales, axis=0),
        make("Unsqueeze", [row_scales, last], [scales], name=scales),
        make("Mul", [rows_fp32, scales], [result], name=_new_name(f"{table}_looked_up", taken)),
    ]
    graph.node.remove(node)
    for offset, made in enumerate(new):
        graph.node.insert(place + offset, made)


def _new_name(wanted, taken):
    """`wanted`, or with a number where that is taken; it is taken afterwards."""
    name, number = wanted, 1
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    taken.add(name)
    return name
