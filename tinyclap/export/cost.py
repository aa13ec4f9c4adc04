"""Parameters and multiply–accumulates (MACs) of exported graphs, for ``cost`` in ``config.json``."""

import json
import math
import tempfile
from pathlib import Path

import numpy as np

from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.runtime.session import onnxruntime

CLIP_S = 5.0  # the length that MACs are stated for, as in the tinyCLAP paper


def graph_costs(folder, graphs, sample_rate_hz):
    """Parameters and MACs of ``config["graphs"]`` of an exported folder, as a dict.

    ``n_parameters`` by graph; ``n_macs`` of the fp32 graph for a clip of ``clip_s`` seconds; the same of the front end,
    where it is a graph of its own: ``n_parameters_front_end``, ``n_macs_front_end``.
    """
    wavs = np.zeros((1, round(sample_rate_hz * CLIP_S)), np.float32)
    numbers = {name: count_parameters(folder / file) for name, file in graphs.items()}
    found = {"clip_s": CLIP_S, "n_macs": count_macs(folder / graphs["fp32"], {"wavs": wavs})}
    if "front_end" in numbers:
        found |= {"n_parameters_front_end": numbers.pop("front_end")}
        found |= {"n_macs_front_end": count_macs(folder / graphs["front_end"], {"wavs": wavs})}
    return {"n_parameters": numbers, **found}


def count_parameters(path):
    """Values stored in an ONNX file: weights, and constants of its nodes (int). CheckpointError: it is none."""
    try:
        import onnx
    except ImportError as error:
        raise ConfigError(f"onnx is not installed ({error}); run: pip install 'tinyclap[export]'") from error
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protobuf's own, which depends on its implementation
        raise CheckpointError(f"{path}: cut short, or no ONNX file ({error}); export the model again") from error
    if not graph.node:
        raise CheckpointError(f"{path}: no ONNX graph; export the model again")
    constants = [each for node in graph.node if node.op_type == "Constant" for each in node.attribute]
    tensors = [*graph.initializer, *(each.t for each in constants if each.HasField("t"))]
    return sum(math.prod(tensor.dims) for tensor in tensors)


def count_macs(path, feeds):
    """MACs of one pass of an ONNX graph over `feeds`, by the shapes its convolutions and matrix products meet (int).

    onnxruntime's profile of a pass, with fusions off, states every node's shapes. One MAC is one multiplication and one
    addition, as in :mod:`tinyclap.metrics.cost`. CheckpointError: onnxruntime refuses the graph, or these inputs.
    """
    engine = onnxruntime()
    with tempfile.TemporaryDirectory() as scratch:
        options = engine.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = engine.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(scratch) / "pass")
        try:
            session = engine.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            session.run(None, feeds)
        except Exception as error:  # the engine has a class for each of its codes, and no common base
            raise CheckpointError(f"{path}: onnxruntime refuses it ({error}); export the model again") from error
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return sum(_macs_of_node(event["args"]) for event in events if event["name"].endswith("_kernel_time"))


def _macs_of_node(node):
    """MACs of one node of the profile: 0 for what neither convolves nor multiplies matrices."""
    inputs, outputs = (
        [next(iter(typed.values())) for typed in node[key]] for key in ("input_type_shape", "output_type_shape")
    )
    operator = node["op_name"]
    if operator in ("Conv", "ConvTranspose"):
        return math.prod((outputs if operator == "Conv" else inputs)[0]) * math.prod(inputs[1][1:])
    if operator == "MatMul":
        return math.prod(outputs[0]) * inputs[0][-1]
    if operator == "Gemm":  # what it sums over is in its first input beside the output's rows
        return math.prod(outputs[0]) * (math.prod(inputs[0]) // max(outputs[0][0], 1))
    return 0
