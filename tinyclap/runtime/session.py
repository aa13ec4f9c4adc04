"""ONNX graphs in onnxruntime or OpenVINO, behind one call: NumPy arrays by name in, a list of NumPy arrays out.

A :class:`Session` opens its graph when it is first used, may be used by any number of threads, and pickles (it opens
the file again). This is the only module that imports an engine. No torch.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import mmap
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from tinyclap.audio.cpu import n_cores
from tinyclap.errors import CheckpointError, ConfigError

ENGINES = ("onnxruntime", "openvino")
PRECISIONS = ("fp32", "int8", "bf16")
_EXTRAS = {"onnxruntime": "runtime", "openvino": "openvino"}
_EXTERNAL_DATA = b"\n\x08location\x12"  # how a tensor of onnx.proto says that its values are in another file


def onnxruntime() -> Any:
    """The module onnxruntime, imported with its telemetry off: it writes an id into the home folder, and sends it."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return _engine("onnxruntime")


def open_session(
    path: str | os.PathLike[str],
    engine: str = "onnxruntime",
    precision: str = "fp32",
    n_threads: int | None = None,
    front_end: str | os.PathLike[str] | None = None,
    level: str = "all",
) -> Session:
    """Get an ONNX graph ready to run.

    Arguments
    ---------
    path : str or os.PathLike
    engine : {"onnxruntime", "openvino"}
    precision : {"fp32", "int8", "bf16"}. The first two follow the file; bf16 is OpenVINO's conversion of an fp32 file.
    n_threads : int or None. Threads of one call; None takes all cores.
    front_end : str or os.PathLike, optional
        The graph's front end as a file: OpenVINO leaves it to onnxruntime, which needs a third of the time.
    level : {"all", "basic", "unpacked"}
        onnxruntime's graph optimisation. Of weights stored as int8 (:mod:`tinyclap.export.compact`), "all" would round
        activations, too; "basic" opens quickly and dequantises in every call; "unpacked" dequantises once.

    Raises
    ------
    ConfigError: The engine is unknown or not installed, or has no such precision here.
    CheckpointError: The file is missing, or keeps weights in a second file.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine {engine!r} is unknown; choose {' or '.join(map(repr, ENGINES))}")
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision!r} is unknown; choose one of {', '.join(map(repr, PRECISIONS))}")
    whole = isinstance(n_threads, (int, np.integer)) and not isinstance(n_threads, bool)
    if n_threads is not None and not (whole and n_threads > 0):
        raise ConfigError(f"n_threads is a whole number above zero, or None for all cores; not {n_threads!r}")
    if importlib.util.find_spec(engine) is None:
        _engine(engine)
    if precision == "bf16" and engine == "onnxruntime":
        raise ConfigError("onnxruntime has no bf16 on CPUs; take engine='openvino', or precision 'fp32'")
    if precision == "bf16" and not has_bf16():
        raise ConfigError("this CPU has no bf16 arithmetic; take precision 'fp32' or 'int8'")
    if engine != "openvino" or importlib.util.find_spec("onnxruntime") is None:
        front_end = None
    for file in (path, *([front_end] if front_end else [])):
        _require_whole(Path(file))
    return Session(path, engine, precision, n_threads, front_end, level)


class Session:
    """A graph that an engine computes on the CPU; made by :func:`open_session`.

    `path`, `engine`, `precision`, `n_threads`, `front_end` and `level` as there.

    onnxruntime computes calls of several threads at once in one session. An OpenVINO graph takes one call at a time: it
    is compiled once more for a call that comes while all are in use, as long as cores are left; else the call waits.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        engine: str,
        precision: str,
        n_threads: int | None,
        front_end: str | os.PathLike[str] | None,
        level: str,
    ) -> None:
        self._arguments = (str(path), engine, precision, n_threads, front_end, level)
        self._lock, self._free = threading.Lock(), list[Any]()
        self._first: Any = None
        n_at_once = max(1, n_cores() // (n_threads or n_cores())) if engine == "openvino" else None
        self._turns = contextlib.nullcontext() if n_at_once is None else threading.Semaphore(n_at_once)

    def __reduce__(self):
        """Pickle by name."""
        return Session, self._arguments

    @property
    def input_names(self) -> list[str]:
        """Names of the graph's inputs: list of str."""
        return self._opened().input_names

    @property
    def output_names(self) -> list[str]:
        """Names of the graph's outputs: list of str."""
        return self._opened().output_names

    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Compute all outputs: dict of str to numpy.ndarray → list of numpy.ndarray."""
        first = self._opened()
        try:
            if isinstance(first, _OnnxRuntime):
                return first.session.run(None, feeds)
            with self._turns:
                try:
                    graph = self._free.pop()
                except IndexError:
                    graph = self._open()
                try:
                    return graph.run(feeds)
                finally:
                    self._free.append(graph)
        except (MemoryError, CheckpointError, ConfigError):
            raise
        except Exception as error:  # as when it is opened
            raise _refused(self._arguments[0], self._arguments[1], error) from error

    def _opened(self):
        if self._first is None:
            with self._lock:
                if self._first is None:
                    self._free.append(self._open())
                    self._first = self._free[0]
        return self._first

    def _open(self) -> Any:
        path, engine, precision, n_threads, front_end, level = self._arguments
        if engine == "onnxruntime":
            return _OnnxRuntime(path, n_threads, level)
        return _OpenVino(path, precision, n_threads, front_end)


class _OnnxRuntime:
    def __init__(self, path, n_threads, level="all"):
        engine = onnxruntime()
        options = engine.SessionOptions()
        options.log_severity_level = 3
        options.inter_op_num_threads = 1
        if level == "unpacked":
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        elif level == "basic":
            options.graph_optimization_level = engine.GraphOptimizationLevel.ORT_ENABLE_BASIC
        # threads wait busily within a call, which is quick, but not after it, which would take others' cores
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if n_threads is not None:
            options.intra_op_num_threads = int(n_threads)
        try:
            self.session = engine.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the engine has an exception class for each of its codes, and no common base
            raise _refused(path, "onnxruntime", error) from error
        self.input_names = [node.name for node in self.session.get_inputs()]
        self.output_names = [node.name for node in self.session.get_outputs()]


class _OpenVino:
    """A graph for one call at a time. OpenVINO takes bf16 by itself wherever the CPU can; here where it was chosen."""

    def __init__(self, path, precision, n_threads, front_end=None):
        openvino, core = _engine("openvino"), openvino_core()
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
        try:
            model = core.read_model(str(path))
            self.input_names = [port.get_any_name() for port in model.inputs]
            self.output_names = [port.get_any_name() for port in model.outputs]
            # A power spectrum spans ten decades and bf16 has three digits: whatever the precision, it stays fp32.
            is_cut = front_end is not None or precision == "bf16"
            parts = _cut_behind_logarithm(openvino, model) if is_cut else [model]
            mel_axis = _fixed_axis(parts[-1].inputs[0].get_partial_shape().to_string().strip("[]").split(","))
            parts = parts[-1:] if front_end is not None else parts
            hints = ["f32"] * (len(parts) - 1) + ["bf16" if precision == "bf16" else "f32"]
            options = [{**options, "INFERENCE_PRECISION_HINT": hint} for hint in hints]
            self._graphs = [_ShapedGraph(core, *each) for each in zip(parts, options, strict=True)]
        except RuntimeError as error:  # the base of all that the engine raises
            raise _refused(path, "OpenVINO", error) from error
        self._front_end: Any = None if front_end is None else _OnnxRuntime(front_end, n_threads).session
        if self._front_end is not None:
            self._mel_axes = _fixed_axis(map(str, self._front_end.get_outputs()[0].shape)), mel_axis

    def run(self, feeds):
        """Compute all outputs: dict of str to numpy.ndarray → list of numpy.ndarray."""
        if self._front_end is not None:
            log_mel = self._front_end.run(None, feeds)[0]
            axes = self._mel_axes  # OpenVINO moves transpositions when it reads, so it may want the axes in its order
            feeds = {"log_mel": np.ascontiguousarray(log_mel.swapaxes(*axes)) if axes[0] != axes[1] else log_mel}
        for graph in self._graphs[:-1]:
            feeds = {"log_mel": graph.infer(feeds, share_outputs=True)[0]}
        results = self._graphs[-1].infer(feeds)
        return [results[index] for index in range(len(self.output_names))]


class _ShapedGraph:
    """An OpenVINO graph for inputs of any shape, compiled once more for shapes that keep coming.

    A graph that knows its shapes takes about seven eighths of the time. Compiling takes as long as some dozen calls.
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


def has_bf16() -> bool:
    """Whether OpenVINO is installed here, on a CPU with bf16 arithmetic."""
    try:
        return "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except ConfigError:
        return False


@functools.cache
def openvino_core() -> Any:
    """The one ``openvino.Core`` of this process.

    Each sets the stack of signal handlers and, when it goes, sets back what it found: of two that do not go in the
    reverse order, the second leaves a stack that is no more, and the next signal ends the process.
    """
    return _engine("openvino").Core()


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


def _require_whole(path):
    """Refuse a graph that is missing, or that keeps weights in a second file, of which there is no checksum."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such graph; export the model again")
    if path.stat().st_size:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(_EXTERNAL_DATA) >= 0:
                raise CheckpointError(
                    f"{path}: keeps weights in a second file, which no checksum covers; save it as one file "
                    "(onnx.save without external data), or export the model again"
                )


def _refused(path, engine, error):
    reason = " ".join(str(error).split())
    return CheckpointError(f"{path}: {engine} refuses the graph or its inputs ({reason}); export the model again")


def _engine(name):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"{name} is not installed ({error}); run: pip install 'tinyclap[{_EXTRAS[name]}]'") from error
