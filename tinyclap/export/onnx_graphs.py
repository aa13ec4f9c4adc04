"""PyTorch modules as ONNX files of opset 18 that onnxruntime and OpenVINO open."""

import contextlib
import logging
import warnings
from inspect import signature
from pathlib import Path

import torch

from tinyclap.errors import ConfigError
from tinyclap.files import atomic_path

OPSET = 18
_logger = logging.getLogger(__name__)


def export_graph(module, example_inputs, input_names, output_names, dynamic, path):
    """Write a module as one self-contained ONNX file; returns its path.

    Arguments
    ---------
    module : nn.Module. Left in eval mode; its forward takes tensors and gives a tensor or a flat tuple of them.
    example_inputs : tuple of torch.Tensor. Longer than 1 on all axes in `dynamic`: 0 and 1 are taken for constants.
    input_names, output_names : list of str. In order.
    dynamic : dict of str to dict of int to str
        Names of the axes that may have any length, by input: ``{"wavs": {0: "batch", 1: "samples"}}``.
    path : str or os.PathLike. Written atomically.

    Raises
    ------
    ConfigError: The exporter's packages are missing, names do not fit the inputs, or the module cannot be exported.
    """
    path = Path(path)
    _check(example_inputs, input_names, dynamic)
    require("onnxscript")
    dims = {name: torch.export.Dim.DYNAMIC for axes in dynamic.values() for name in axes.values()}
    shapes = tuple({axis: dims[name] for axis, name in dynamic.get(key, {}).items()} for key in input_names)
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in signature(module.forward).parameters.values()):
        shapes = (shapes,)  # a forward(*inputs) has one argument, a tuple of all
    module.eval()
    try:
        with torch.no_grad(), warnings.catch_warnings(), _quiet("torch.onnx", "onnxscript", "onnx_ir"):
            warnings.simplefilter("ignore")
            names = {"input_names": list(input_names), "output_names": list(output_names)}
            options = {"dynamic_shapes": shapes, "opset_version": OPSET, "dynamo": True, "verbose": False}
            program = torch.onnx.export(module, tuple(example_inputs), **names, **options)
    except torch.onnx.errors.OnnxExporterError as error:
        raise ConfigError(f"{type(module).__name__} cannot be exported to ONNX: {error}") from error
    model = program.model_proto
    for value in model.graph.input:  # for whoever looks into the file
        for axis, name in dynamic.get(value.name, {}).items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    _forget_sources(model)
    save_graph(model, path)
    _logger.debug("%s: %d nodes, %d bytes", path, len(model.graph.node), path.stat().st_size)
    return path


def save_graph(model, path):
    """Check an ``onnx.ModelProto`` and write it atomically as one file."""
    onnx = require("onnx")
    onnx.checker.check_model(model)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        onnx.save_model(model, str(part))


@contextlib.contextmanager
def _quiet(*names):
    """Loggers that say at every export which rewritings did not apply, kept to errors."""
    loggers = [logging.getLogger(name) for name in names]
    # a child with a level of its own does not ask its parent
    loggers += [log for name, log in logging.root.manager.loggerDict.items() if name.startswith(names)]
    loggers = [log for log in loggers if isinstance(log, logging.Logger)]
    levels = [log.level for log in loggers]
    try:
        for log in loggers:
            log.setLevel(logging.ERROR)
        yield
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)


def require(name):
    """The module `name` of the extra "export"; a ConfigError where it is not installed."""
    try:
        return __import__(name)
    except ImportError as error:
        raise ConfigError(f"exporting needs {name} ({error}); run: pip install 'tinyclap[export]'") from error


def _check(example_inputs, input_names, dynamic):
    if len(example_inputs) != len(input_names):
        raise ConfigError(f"{len(example_inputs)} example inputs for the names {', '.join(input_names)}")
    unknown = sorted(set(dynamic) - set(input_names))
    if unknown:
        raise ConfigError(f"dynamic names {', '.join(unknown)}, no inputs; there are {', '.join(input_names)}")
    for name, example in zip(input_names, example_inputs, strict=True):
        fixed = [axis for axis in dynamic.get(name, {}) if example.shape[axis] < 2]
        if fixed:
            raise ConfigError(f"the example of {name} has length 1 or 0 on its dynamic axes {fixed}; give a longer one")


def _forget_sources(model):
    """Take out what the exporter noted of the source code, and with it the machine's paths."""
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        graph.doc_string = ""
        del graph.metadata_props[:]
        for item in (*graph.node, *graph.value_info, *graph.input, *graph.output):
            if not isinstance(item, str):  # inputs and outputs of a function are names alone
                item.doc_string = ""
                del item.metadata_props[:]
        for node in graph.node:
            graphs += [attribute.g for attribute in node.attribute if attribute.HasField("g")]
