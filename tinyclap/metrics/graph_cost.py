"""What an ONNX graph costs: the numbers stored in it, read from the file, and the MACs of one pass, from a real pass.

Needs numpy, and onnxruntime for the MACs; neither torch nor onnx.
"""

import json
import math
import os
import tempfile
from pathlib import Path

import numpy as np

from tinyclap.errors import CheckpointError, ConfigError

# Field numbers of onnx.proto (the format's own definition, onnx 1.17): where tensors are, and their shapes.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALISER = 1, 5
_NODE_OPERATOR, _NODE_ATTRIBUTE = 4, 5
_ATTRIBUTE_TENSOR = 5
_TENSOR_DIMS = 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_CONVOLUTIONS, _PRODUCTS = ("Conv", "ConvTranspose"), ("MatMul", "Gemm")


def count_numbers(path):
    """How many numbers are stored in an ONNX file: weights, and constants of its nodes.

    Arguments
    ---------
    path : str or os.PathLike

    Returns
    -------
    int

    Raises
    ------
    CheckpointError
        The file is cut short, or none of ONNX.
    """
    content = memoryview(Path(path).read_bytes())
    try:
        graphs = [value for field, value in _fields(content) if field == _MODEL_GRAPH]
        if not graphs:
            raise CheckpointError(f"{path}: no ONNX graph; export the model again")
        return sum(_numbers_of_graph(graph) for graph in graphs)
    except (IndexError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: cut short, or no ONNX file ({error}); export the model again") from error


def _numbers_of_graph(graph):
    total = 0
    for field, value in _fields(graph):
        if field == _GRAPH_INITIALISER:
            total += _numbers_of_tensor(value)
        elif field == _GRAPH_NODE:
            parts = list(_fields(value))
            if any(part == _NODE_OPERATOR and bytes(name) == b"Constant" for part, name in parts):
                attributes = [attribute for part, attribute in parts if part == _NODE_ATTRIBUTE]
                tensors = [value for each in attributes for part, value in _fields(each) if part == _ATTRIBUTE_TENSOR]
                total += sum(map(_numbers_of_tensor, tensors))
    return total


def _numbers_of_tensor(tensor):
    dims = []
    for field, value in _fields(tensor):
        if field == _TENSOR_DIMS:  # one number, or several packed into bytes
            dims += [value] if isinstance(value, int) else _packed(value)
    return math.prod(dims)


def _packed(content):
    numbers, place = [], 0
    while place < len(content):
        number, place = _varint(content, place)
        numbers.append(number)
    return numbers


def _fields(content):
    """The fields of a message of protocol buffers: yields (number, int or memoryview)."""
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        kind = key & 7
        if kind == _VARINT:
            value, place = _varint(content, place)
        elif kind in (_BYTES, _FIXED32, _FIXED64):
            size, place = _varint(content, place) if kind == _BYTES else ({_FIXED32: 4, _FIXED64: 8}[kind], place)
            if place + size > len(content):
                raise ValueError("a field is longer than the file")
            value, place = content[place : place + size], place + size
        else:
            raise ValueError(f"a field of unknown kind {kind}")
        yield key >> 3, value


def _varint(content, place):
    """A number of protocol buffers, 7 bits a byte, the least first: (int, the place behind it)."""
    number = shift = 0
    while True:
        byte = content[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return number, place


def count_macs_of_graph(path, feeds):
    """MACs of one pass of an ONNX graph: of its convolutions and matrix products, by the shapes that it really meets.

    Arguments
    ---------
    path : str or os.PathLike
    feeds : dict of str to numpy.ndarray
        Inputs, e.g. ``{"wavs": zeros of shape (1, T)}``.

    Returns
    -------
    int

    Raises
    ------
    ConfigError
        onnxruntime is not installed.
    CheckpointError
        It refuses the graph, or these inputs.

    Notes
    -----
    The engine's own record of a pass, with its fusions off, says every node's shapes; a quantised graph's operators
    count too. One MAC is one multiplication and one addition, as in :mod:`tinyclap.metrics.cost`.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(f"MACs are counted in onnxruntime ({error}); run: pip install 'tinyclap[runtime]'") from error
    with tempfile.TemporaryDirectory() as scratch:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(scratch) / "pass")
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            session.run(None, feeds)
        except Exception as error:  # the engine has a class for each of its codes, and no common base
            raise CheckpointError(f"{path}: onnxruntime refuses it ({error}); export the model again") from error
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes = [event["args"] for event in events if event["name"].endswith("_kernel_time")]
    return sum(_macs_of_node(node["op_name"], *_shapes(node)) for node in nodes)


def _shapes(node):
    """Shapes of the inputs and outputs of a node in the engine's record."""
    return [[list(typed.values())[0] for typed in node[key]] for key in ("input_type_shape", "output_type_shape")]


def _macs_of_node(operator, inputs, outputs):
    """MACs of one node: 0 for what neither convolves nor multiplies matrices."""
    if operator in _CONVOLUTIONS:
        rows, weights = (outputs[0], inputs[1]) if operator == "Conv" else (inputs[0], inputs[1])
        return math.prod(rows) * math.prod(weights[1:])
    if operator in _PRODUCTS:
        return math.prod(outputs[0]) * (inputs[0][-1] if operator == "MatMul" else _inner(inputs, outputs[0]))
    return 0


def _inner(inputs, out):
    """The length that a Gemm sums over: what is in its first input beside the output's rows."""
    return math.prod(inputs[0]) // max(out[0], 1)


def silence(sample_rate_hz, clip_s):
    """A clip of zeros as graphs take it: (1, T) float32."""
    return np.zeros((1, round(sample_rate_hz * clip_s)), np.float32)
