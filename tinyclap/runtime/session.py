"""One graph opened by an inference engine, behind one call: numpy arrays by name in, a list of numpy arrays out.

Needs numpy and the engine's own package (onnxruntime, or openvino); no torch.
"""

import functools
import importlib.util
from pathlib import Path

import numpy as np

from tinyclap.errors import CheckpointError, ConfigError

ENGINES = ("onnxruntime", "openvino")
PRECISIONS = ("fp32", "int8", "bf16")


def open_session(path, engine="onnxruntime", precision="fp32", n_threads=None, front_end=None, level="all"):
    """Open an ONNX graph.

    Arguments
    ---------
    path : str or os.PathLike
        The ``.onnx`` file.
    engine : {"onnxruntime", "openvino"}
        Who computes.
    precision : {"fp32", "int8", "bf16"}
        What arithmetic is wanted. "fp32" and "int8" follow the file, which has its weights so; "bf16" is OpenVINO's
        own conversion of an fp32 file, on processors that have the arithmetic.
    n_threads : int or None
        Threads of one call; None takes the engine's choice, which is all cores.
    front_end : str or os.PathLike, optional
        The graph's front end as a file of its own, from the waveform to the only logarithm. OpenVINO then leaves it to
        onnxruntime, where that is installed: it takes two thirds of the time there.
    level : {"all", "basic", "unpacked"}
        How far onnxruntime rewrites the graph; see :class:`OnnxRuntimeSession`.

    Returns
    -------
    OnnxRuntimeSession or OpenVinoSession
        ``run(feeds)`` maps a dict of numpy arrays by input name to the list of outputs; ``input_names`` and
        ``output_names`` are lists of str.

    Raises
    ------
    ConfigError
        The engine is unknown or not installed, or cannot compute in that precision here.
    CheckpointError
        The file is missing, or the engine refuses it.

    Notes
    -----
    OpenVINO computes in bf16 by itself wherever the processor can; here it does so only when asked, so that "fp32"
    means fp32 with both engines.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine {engine!r} is unknown; choose {' or '.join(map(repr, ENGINES))}")
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision!r} is unknown; choose one of {', '.join(map(repr, PRECISIONS))}")
    if n_threads is not None and (int(n_threads) != n_threads or n_threads < 1):
        raise ConfigError(f"n_threads is a whole number above zero, or None for all cores; not {n_threads!r}")
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such graph; export the model again")
    if engine == "onnxruntime":
        return OnnxRuntimeSession(path, precision, n_threads, level)
    return OpenVinoSession(path, precision, n_threads, front_end)


class OnnxRuntimeSession:
    """A graph in onnxruntime, on the processor.

    Arguments
    ---------
    path, precision, n_threads
        See :func:`open_session`.
    level : {"all", "basic", "unpacked"}
        How far the engine rewrites the graph. Of graphs with weights stored as int8 (:mod:`tinyclap.export.compact`),
        "all" would round activations, too. "basic" opens them in half the time and makes their weights fp32 in every
        call; "unpacked" does that once, for graphs that are called often.

    Attributes
    ----------
    session : onnxruntime.InferenceSession
        The engine's own object, for bindings that keep arrays inside it.
    """

    def __init__(self, path, precision, n_threads, level="all"):
        onnxruntime = _engine("onnxruntime", "runtime")
        if precision == "bf16":
            raise ConfigError("onnxruntime has no bf16 on processors; take engine='openvino', or precision 'fp32'")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.inter_op_num_threads = 1
        if level == "unpacked":
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        elif level == "basic":
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        # threads wait busily within a call, which is quick, but not after it, which would take others' cores
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if n_threads is not None:
            options.intra_op_num_threads = int(n_threads)
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the engine has an exception class for each of its codes, and no common base
            raise CheckpointError(f"{path}: onnxruntime refuses the graph ({error}); export the model again") from error
        self.input_names = [node.name for node in self.session.get_inputs()]
        self.output_names = [node.name for node in self.session.get_outputs()]

    def run(self, feeds):
        """Compute all outputs: dict of str to numpy.ndarray → list of numpy.ndarray."""
        return self.session.run(None, feeds)


class OpenVinoSession:
    """A graph in OpenVINO, on the processor.

    Arguments
    ---------
    path, precision, n_threads, front_end
        See :func:`open_session`.
    """

    def __init__(self, path, precision, n_threads, front_end=None):
        openvino, core = _engine("openvino", "openvino"), openvino_core()
        if precision == "bf16" and not _computes_bf16(core):
            raise ConfigError("this processor has no bf16 arithmetic; take precision 'fp32' or 'int8'")
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            # pinned threads of two processes would share a core while another is idle
            "ENABLE_CPU_PINNING": False,
            # weights that are stored as int8 would have activations rounded to int8, too
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
        }
        if n_threads is not None:
            options["INFERENCE_NUM_THREADS"] = int(n_threads)
        if front_end is not None and importlib.util.find_spec("onnxruntime") is None:
            front_end = None
        try:
            model = core.read_model(str(path))
            self.input_names = [port.get_any_name() for port in model.inputs]
            self.output_names = [port.get_any_name() for port in model.outputs]
            # A power spectrum spans ten decades and bf16 has three digits: whatever the precision, it stays fp32.
            is_cut = front_end is not None or precision == "bf16"
            parts = _cut_behind_logarithm(openvino, model) if is_cut else [model]
            self._mel_axis = _fixed_axis(parts[-1].inputs[0].get_partial_shape().to_string().strip("[]").split(","))
            parts = parts[-1:] if front_end is not None else parts
            hints = ["f32"] * (len(parts) - 1) + ["bf16" if precision == "bf16" else "f32"]
            self._graphs = [
                _ShapedGraph(core, part, {**options, "INFERENCE_PRECISION_HINT": hint})
                for part, hint in zip(parts, hints, strict=True)
            ]
        except RuntimeError as error:  # the base of all that the engine raises
            raise CheckpointError(f"{path}: OpenVINO refuses the graph ({error}); export the model again") from error
        self._front_end = None if front_end is None else OnnxRuntimeSession(front_end, "fp32", n_threads)

    def run(self, feeds):
        """Compute all outputs: dict of str to numpy.ndarray → list of numpy.ndarray."""
        if self._front_end is not None:
            feeds = {"log_mel": self._by_mel_axis(self._front_end.run(feeds)[0])}
        for graph in self._graphs[:-1]:
            feeds = {"log_mel": graph.infer(feeds, share_outputs=True)[0]}
        results = self._graphs[-1].infer(feeds)
        return [results[index] for index in range(len(self.output_names))]

    def _by_mel_axis(self, log_mel):
        """Logarithms in the order of axes in which OpenVINO wants them: it moves transpositions when it reads."""
        shape = self._front_end.session.get_outputs()[0].shape
        theirs = _fixed_axis([str(size) for size in shape])
        return log_mel if theirs == self._mel_axis else np.ascontiguousarray(log_mel.swapaxes(theirs, self._mel_axis))


class _ShapedGraph:
    """A graph of OpenVINO for inputs of any shape, and compiled once more for shapes that keep coming.

    A graph that knows its shapes takes about seven eighths of the time. Compiling takes as long as some dozen calls.

    Arguments
    ---------
    core : openvino.Core
    model : openvino.Model
    options : dict
    """

    n_calls_before, n_kept, n_counted = 3, 4, 1000  # calls of a shape before it is compiled; shapes kept, and counted

    def __init__(self, core, model, options):
        self._core, self._model, self._options = core, model, options
        self._any_shape = core.compile_model(model, "CPU", options).create_infer_request()
        self._n_calls, self._of_shape = {}, {}

    def infer(self, feeds, share_outputs=False):
        """Compute: dict of numpy arrays by name → the engine's outputs by place."""
        shapes = tuple((name, array.shape) for name, array in feeds.items())
        request = self._of_shape.get(shapes)
        if request is None:
            if len(self._n_calls) > self.n_counted:
                self._n_calls.clear()
            self._n_calls[shapes] = self._n_calls.get(shapes, 0) + 1
            request = self._any_shape if self._n_calls[shapes] <= self.n_calls_before else self._compile(shapes)
        return request.infer(feeds, share_inputs=True, share_outputs=share_outputs)

    def _compile(self, shapes):
        """Compile for these shapes, in the place of the oldest where there are enough."""
        while len(self._of_shape) >= self.n_kept:
            oldest = next(iter(self._of_shape))
            del self._of_shape[oldest]
            self._n_calls.pop(oldest, None)
        model = self._model.clone()
        model.reshape({name: list(shape) for name, shape in shapes})
        self._of_shape[shapes] = self._core.compile_model(model, "CPU", self._options).create_infer_request()
        return self._of_shape[shapes]


def _fixed_axis(sizes):
    """The axis of the mel bands: the one whose size is a number, among sizes as text."""
    fixed = [axis for axis, size in enumerate(sizes) if size.strip().isdigit()]
    return fixed[0] if len(fixed) == 1 else None


def has_bf16():
    """Whether OpenVINO is installed here, on a processor with bf16 arithmetic."""
    try:
        return _computes_bf16(openvino_core())
    except ConfigError:
        return False


@functools.cache
def openvino_core():
    """The one ``openvino.Core`` of this process.

    Each new one sets the stack of the process's signal handlers, and sets back what it found when it goes: of two that
    do not go in the reverse order, the second leaves a stack that is no more, and the next signal ends the process.
    """
    return _engine("openvino", "openvino").Core()


def _computes_bf16(core):
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _cut_behind_logarithm(openvino, model):
    """A model with its front end as two, waveforms to logarithms and these to outputs; any other as it is."""
    logarithms = [node for node in model.get_ops() if node.get_type_name() == "Log"]
    if len(logarithms) != 1:
        return [model]
    logarithm = logarithms[0].output(0)
    middle = openvino.opset13.parameter(logarithm.get_partial_shape(), openvino.Type.f32, name="log_mel")
    middle.output(0).set_names({"log_mel"})
    readers = list(logarithm.get_target_inputs())
    front_end = openvino.Model([logarithm], model.get_parameters(), "front_end")
    for reader in readers:
        if reader.get_node().get_type_name() != "Result":
            reader.replace_source_output(middle.output(0))
    return [front_end, openvino.Model(model.get_results(), [middle], "network")]


def _engine(name, extra):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"{name} is not installed ({error}); run: pip install 'tinyclap[{extra}]'") from error
