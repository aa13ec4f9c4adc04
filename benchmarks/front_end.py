"""Log-mel of 5 s at 44.1 kHz: torchlibrosa's and torchaudio's against ours, in torch and as graphs in the engines.

    python benchmarks/front_end.py --threads 1 2

The notes have every case's largest difference from float64, in dB. Beside our graph stands one with ONNX's own STFT
operator. Engines that are not installed are left out.
"""

import sys
import tempfile
from pathlib import Path

from harness import Group, benchmark_main

CLIP_S = 5
BATCHES = (1, 32)


def groups(options):
    """One clip, and a batch."""
    import torch
    from peer_front_end import TorchaudioLogMel, TorchlibrosaLogMel

    from tinyclap.features.front_ends import log_mel

    torch.set_grad_enabled(False)
    features = log_mel("clap2022")
    in_torch = {
        "torchlibrosa": TorchlibrosaLogMel(),
        "torchaudio": TorchaudioLogMel(),
        "LogMel": features,
    }
    with tempfile.TemporaryDirectory() as folder:
        in_engines = graphs(features, Path(folder), options.threads)
    for n_clips in BATCHES:
        generator = torch.Generator().manual_seed(0)
        wavs = 0.1 * torch.randn(n_clips, CLIP_S * features.sample_rate_hz, generator=generator)
        exact, array = exact_log_mel(features, wavs), wavs.numpy()
        cases = {name: lambda module=module, wavs=wavs: module(wavs) for name, module in in_torch.items()}
        cases |= {name: lambda run=run, array=array: run(array) for name, run in in_engines.items()}
        errors_db = {name: float((torch.as_tensor(work()) - exact).abs().max()) for name, work in cases.items()}
        yield Group(
            title="log-mel",
            shape=f"{n_clips} x {CLIP_S} s at 44.1 kHz to {exact.shape[1]} x {exact.shape[2]}",
            cases=cases,
            peer=("torchlibrosa", "torchaudio"),
            n_clips=n_clips,
            notes={"max_error_db": errors_db},
        )


def exact_log_mel(features, wavs):
    """The log-mel of a preset in plain decibels, (B, F, M), in float64."""
    import torch

    half, window = features.n_fft // 2, features.window.double()
    padded = torch.nn.functional.pad(wavs.double()[:, None], (half, half), mode="reflect")[:, 0]
    power = torch.fft.rfft(padded.unfold(1, features.n_fft, features.hop_length) * window).abs().square()
    return 10 * torch.log10((power @ features.bands.double()).clamp(min=features.floor))


def graphs(features, folder, n_threads):
    """Both graphs in every engine that is installed: name → function of waveforms (B, T)."""
    import torch

    from tinyclap.export.log_mel import ExportLogMel
    from tinyclap.export.onnx_graphs import export_graph

    ours, theirs = folder / "log_mel.onnx", folder / "operator.onnx"
    example = torch.zeros(2, features.sample_rate_hz)
    axes = {"wavs": {0: "batch", 1: "samples"}}
    export_graph(ExportLogMel(features), (example,), ["wavs"], ["log_mel"], axes, ours)
    save_operator_graph(features, theirs)
    runs = {}
    for engine, opened in (("ORT", with_onnxruntime), ("OpenVINO", with_openvino)):
        try:
            runs[f"ExportLogMel, {engine}"] = opened(ours, n_threads)
            runs[f"STFT operator, {engine}"] = opened(theirs, n_threads)
        except ImportError as error:
            print(f"   without {engine}: {error}")
    return runs


def save_operator_graph(features, path):
    """Write the front end as reflection, ONNX's STFT operator, power, bands and logarithm."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    half = features.n_fft // 2
    constants = {
        "pads": np.array([0, half, 0, half]),
        "hop": np.array(features.hop_length),
        "window": features.window.numpy(),
        "length": np.array(features.n_fft),
        "parts": np.array([3]),
        "bands": features.bands.numpy(),
        "floor": np.float32(features.floor),
        "to_db": np.float32(10 / np.log(10)),
    }
    nodes = [
        helper.make_node("Pad", ["wavs", "pads"], ["reflected"], mode="reflect"),
        helper.make_node("STFT", ["reflected", "hop", "window", "length"], ["spectrum"], onesided=1),
        helper.make_node("Mul", ["spectrum", "spectrum"], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "parts"], ["power"], keepdims=0),
        helper.make_node("MatMul", ["power", "bands"], ["mel_power"]),
        helper.make_node("Clip", ["mel_power", "floor"], ["clipped"]),
        helper.make_node("Log", ["clipped"], ["logarithm"]),
        helper.make_node("Mul", ["logarithm", "to_db"], ["log_mel"]),
    ]
    graph = helper.make_graph(
        nodes,
        "operator",
        [helper.make_tensor_value_info("wavs", TensorProto.FLOAT, ["batch", "samples"])],
        [helper.make_tensor_value_info("log_mel", TensorProto.FLOAT, ["batch", "frames", features.n_mels])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


def with_onnxruntime(path, n_threads):
    """Open a graph in onnxruntime."""
    from tinyclap.runtime.session import onnxruntime

    session_options = onnxruntime().SessionOptions()
    session_options.intra_op_num_threads = n_threads
    session = onnxruntime().InferenceSession(str(path), session_options, providers=["CPUExecutionProvider"])
    return lambda wavs: session.run(None, {"wavs": wavs})[0]


def with_openvino(path, n_threads):
    """Open a graph in OpenVINO, in float32."""
    from tinyclap.runtime.session import openvino_core

    settings = {"INFERENCE_NUM_THREADS": n_threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = openvino_core().compile_model(str(path), "CPU", settings).create_infer_request()
    return lambda wavs: request.infer([wavs])[0]


if __name__ == "__main__":
    sys.exit(benchmark_main(__doc__, __file__, groups))
