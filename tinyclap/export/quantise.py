"""Static int8 of an exported graph: 8-bit weights by channel and 8-bit activations, calibrated on real clips.

Source: the QDQ format of ONNX Runtime's quantiser. The front end stays fp32 (a power spectrum spans ten decades), and
so does everything behind the encoder's last convolution: few multiplications, and the most to lose.
"""

import contextlib
import io
import logging
import os
import tempfile
from pathlib import Path

import numpy as np

from tinyclap.errors import ConfigError
from tinyclap.export.front_end import front_end_nodes
from tinyclap.files import atomic_path
from tinyclap.runtime.session import onnxruntime

_logger = logging.getLogger(__name__)
METHODS = ("minmax", "entropy", "percentile")


def quantise(source, target, windows, method="minmax"):
    """Write the int8 form of a graph.

    Arguments
    ---------
    source, target : str or os.PathLike. The fp32 graph with its input ``wavs``, and where the int8 one goes.
    windows : list of numpy.ndarray (T_window,), float32. Real clips at the graph's rate, for ranges of activations.
    method : {"minmax", "entropy", "percentile"}. How a range follows from the values.
    """
    if method not in METHODS:
        raise ConfigError(f"calibration method {method!r} is unknown; choose one of {', '.join(METHODS)}")
    if not windows:
        raise ConfigError("int8 needs real clips to calibrate on; give --calibration_audio")
    try:
        onnxruntime()
        import onnx
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise ConfigError(f"int8 needs onnx and onnxruntime ({error}); pip install 'tinyclap[export]'") from error
    talk = io.StringIO()
    with (
        tempfile.TemporaryDirectory(dir=Path(target).parent) as scratch,
        contextlib.redirect_stdout(talk),
        atomic_path(target) as made,
    ):
        prepared = os.path.join(scratch, "prepared.onnx")
        quant_pre_process(str(source), prepared, skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        fp32 = sorted(front_end_nodes(graph))
        quantization.quantize_static(
            prepared,
            str(made),
            _reader(quantization)(windows),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=fp32,
            # one clip at a time: all at once would keep every activation in memory, and need one length
            extra_options={"CalibStridedMinMax": 1},
            calibrate_method=quantization.CalibrationMethod[{"minmax": "MinMax"}.get(method, method.capitalize())],
        )
    _logger.debug("%s", talk.getvalue())
    _logger.info("%s: %d of %d nodes left in fp32", target, len(fp32), len(graph.node))


def _reader(quantization):
    """The class that hands windows to the quantiser, from any range of them."""

    class Windows(quantization.CalibrationDataReader):
        def __init__(self, windows):
            self._windows, self._waiting = windows, iter(windows)

        def __len__(self):
            return len(self._windows)

        def set_range(self, start_index, end_index):
            self._waiting = iter(self._windows[start_index:end_index])

        def get_next(self):
            window = next(self._waiting, None)
            return None if window is None else {"wavs": np.asarray(window, np.float32)[None]}

    return Windows
