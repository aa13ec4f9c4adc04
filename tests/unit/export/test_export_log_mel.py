"""The front end for export gives what LogMel gives, in torch and in the engines, at any length."""

import math

import pytest
import torch

from tinyclap.errors import ConfigError
from tinyclap.export.log_mel import ExportLogMel
from tinyclap.export.onnx_graphs import export_graph
from tinyclap.features.front_ends import PRESETS, log_mel
from tinyclap.runtime.session import openvino_core

# n_fft, hop, window: the sizes factor in various ways; a hop of 333 shares no factor with 1024, so b is 1
SIZES = [(400, 160, 400), (512, 128, 300), (1000, 250, 1000), (1024, 333, 1024), (256, 512, 256), (6, 4, 6)]
# Multiply-accumulates a frame with the transform as one product are n_fft·(n_fft + 2) and more.
MOST_MACS = {"clap2022": 106e3, "efficientat": 154e3, "efficientnet_captioner": 54e3, "wavcaps_htsat": 128e3}


def noise(n_clips, n_samples, seed=0):
    return 0.3 * torch.randn(n_clips, n_samples, generator=torch.Generator().manual_seed(seed))


def largest_difference(features, exported, wavs):
    ours, theirs = exported(wavs), features(wavs)
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max()


@pytest.mark.parametrize("more", [0, 1, 63, 319, 320, 4321])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_published_front_end_is_equal_at_any_length(preset, more):
    features = log_mel(preset)
    exported = ExportLogMel(features)
    assert largest_difference(features, exported, noise(2, exported.min_samples + more)) < 5e-4


@pytest.mark.parametrize(("n_fft", "hop_length", "win_length"), SIZES)
def test_other_sizes_are_equal_too(n_fft, hop_length, win_length):
    features = log_mel("clap2022", n_fft=n_fft, hop_length=hop_length, win_length=win_length)
    exported = ExportLogMel(features)
    assert largest_difference(features, exported, noise(2, exported.min_samples + 2000)) < 5e-4


@pytest.mark.parametrize("preset", PRESETS)
def test_the_sums_are_short(preset):
    exported = ExportLogMel(log_mel(preset))
    assert sum(constant.numel() for constant in exported.buffers()) < MOST_MACS[preset]


def test_quiet_bands_beside_a_loud_tone_are_within_a_thousandth_of_a_db_of_float64_down_to_70_db():
    features = log_mel("clap2022")
    tone = 0.9 * torch.sin(2 * math.pi * 1000 * torch.arange(22050) / 44100)
    wavs = tone[None] + 1e-3 * noise(1, 22050)
    padded = torch.nn.functional.pad(wavs.double()[:, None], (512, 512), mode="reflect")[:, 0]
    power = torch.fft.rfft(padded.unfold(1, 1024, 320) * features.window.double()).abs().square()
    reference = 10 * torch.log10(power @ features.bands.double())
    heard = reference > reference.max() - 70
    assert heard.float().mean() < 0.9, "the tone must stand out"
    assert (ExportLogMel(features)(wavs) - reference)[heard].abs().max() < 1e-3


def test_silence_is_the_floor_and_top_db_counts_from_each_clip():
    silence = ExportLogMel(log_mel("clap2022"))(torch.zeros(1, 5000))
    torch.testing.assert_close(silence, torch.full((1, 16, 64), -100.0), atol=1e-4, rtol=0)
    features = log_mel("efficientnet_captioner", top_db=60.0)
    wavs = torch.cat([noise(1, 8000), 1e-2 * noise(1, 8000)])
    wavs[:, :4000] = 0
    log_mels = ExportLogMel(features)(wavs)
    torch.testing.assert_close(log_mels.amin((1, 2)), log_mels.amax((1, 2)) - 60.0)
    torch.testing.assert_close(log_mels, features(wavs), atol=5e-4, rtol=0)


def test_constants_stay_out_of_the_state_dict():
    assert not ExportLogMel(log_mel("clap2022")).state_dict()


def test_an_odd_transform_is_refused():
    with pytest.raises(ConfigError, match="even n_fft, not 401"):
        ExportLogMel(log_mel("clap2022", n_fft=401, win_length=401))


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """The captioner's front end, which has most to it, as a file."""
    pytest.importorskip("onnxscript", reason="the exporter needs it")
    exported = ExportLogMel(log_mel("efficientnet_captioner"))
    axes = {"wavs": {0: "batch", 1: "samples"}}
    path = tmp_path_factory.mktemp("graph") / "log_mel.onnx"
    return export_graph(exported, (noise(2, 9000),), ["wavs"], ["log_mel"], axes, path)


def test_the_graph_has_no_fourier_operator(graph):
    onnx = pytest.importorskip("onnx", reason="it reads the graph")
    model = onnx.load(graph)
    operators = {node.op_type for node in model.graph.node}
    assert {"Conv", "MatMul", "Log"} <= operators and not operators & {"STFT", "DFT", "Loop", "Scan", "If"}
    assert not model.functions and {opset.domain for opset in model.opset_import} <= {"", "ai.onnx"}


def _with_onnxruntime(path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the engine is optional")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda wavs: session.run(None, {"wavs": wavs})[0]


def _with_openvino(path):
    pytest.importorskip("openvino", reason="the engine is optional")
    model = openvino_core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda wavs: model([wavs])[0]


@pytest.mark.parametrize("engine", [_with_onnxruntime, _with_openvino])
def test_engines_give_the_same_for_any_batch_and_length(graph, engine):
    run, features = engine(graph), log_mel("efficientnet_captioner")
    for n_clips, n_samples in [(1, 257), (3, 258), (2, 16000), (1, 16159)]:
        wavs = noise(n_clips, n_samples, seed=n_samples)
        torch.testing.assert_close(torch.from_numpy(run(wavs.numpy())), features(wavs), atol=5e-4, rtol=0)
