"""The log-mel front ends: published values are in test_parity.py, here are scales, lengths and edges."""

import math

import pytest
import torch
import torchaudio

from tinyclap.errors import ConfigError
from tinyclap.features.front_ends import PRESETS, LogMel, bands_of_parts, log_mel, mel_bands


def reference_db(wavs):
    """CLAP's log-mel in float64, frame by frame as the definition says."""
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * torch.arange(1024, dtype=torch.float64) / 1024)
    padded = torch.nn.functional.pad(wavs.double()[:, None], (512, 512), mode="reflect")[:, 0]
    power = torch.fft.rfft(padded.unfold(1, 1024, 320) * window).abs().square()
    return 10 * torch.log10((power @ mel_bands(44100, 1024, 64, 50, 14000, "slaney", "slaney")).clamp(min=1e-10))


def test_values_are_within_a_thousandth_of_a_db_of_float64():
    torch.manual_seed(0)
    wavs = 0.1 * torch.randn(2, 44100)
    assert (log_mel("clap2022")(wavs) - reference_db(wavs)).abs().max() < 1e-3


@pytest.mark.parametrize("norm", [None, "slaney"])
@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_bands_equal_torchaudio_s(scale, norm):
    theirs = torchaudio.functional.melscale_fbanks(513, 50.0, 14000.0, 64, 44100, norm, scale)
    ours = mel_bands(44100, 1024, 64, 50, 14000, scale, norm)
    assert (ours - theirs).abs().max() < 1e-4 * theirs.max()


def test_kaldi_bands_are_triangles_over_mel_and_leave_out_the_nyquist_bin():
    bands = mel_bands(32000, 1024, 128, 0, 16000, "kaldi")
    assert bands[-1].abs().sum() == 0
    # Worked by hand: three bands over 0 to 1127·ln 2 mel (700 Hz) peak at a quarter, half and three quarters of it.
    few = mel_bands(32000, 32000, 3, 0, 700, "kaldi")
    assert [round(700 * (2 ** (k / 4) - 1)) for k in (1, 2, 3)] == few.argmax(0).tolist()
    half_way_mel_hz = round(700 * (2 ** (1 / 8) - 1))
    assert few[half_way_mel_hz, 0] == pytest.approx(0.5, abs=0.01)


def test_slaney_bands_have_unit_area_over_hz():
    bands = mel_bands(44100, 16384, 20, 50, 14000, "slaney", "slaney")
    areas_hz = bands.sum(0) * 44100 / 16384
    torch.testing.assert_close(areas_hz, torch.ones(20, dtype=torch.float64), atol=0.01, rtol=0)


def test_a_tone_lands_in_its_band():
    features = log_mel("clap2022")
    tone = torch.sin(2 * math.pi * 1000 * torch.arange(44100) / 44100)[None]
    peak_hz = features.bands[:, features(tone).mean(1).argmax()].argmax() * 44100 / 1024
    assert peak_hz == pytest.approx(1000, abs=60)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("n_samples", [1, 2, 100, 512, 513, 514, 2000, 44100])
def test_any_length_gives_finite_frames_and_their_number_is_known(preset, n_samples):
    features = log_mel(preset)
    log_mels = features(torch.rand(2, n_samples) - 0.5)
    assert log_mels.shape == (2, features.n_frames(n_samples), features.n_mels)
    assert log_mels.isfinite().all()


def test_a_short_clip_is_the_clip_followed_by_zeros():
    features, wav = log_mel("clap2022"), torch.rand(1, 100) - 0.5
    padded = torch.nn.functional.pad(wav, (0, 413))
    assert torch.equal(features(wav), features(padded))


def test_silence_is_the_floor():
    assert torch.equal(log_mel("clap2022")(torch.zeros(1, 5000)), torch.full((1, 16, 64), -100.0))
    silence = log_mel("efficientat")(torch.zeros(1, 5000))
    torch.testing.assert_close(silence, torch.full_like(silence, (math.log(1e-5) + 4.5) / 5))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_clip_is_the_same_alone_and_in_a_batch(preset):
    features, wavs = log_mel(preset), torch.rand(3, 9000) - 0.5
    assert torch.equal(features(wavs)[1:2], features(wavs[1:2]))


def test_the_captioner_s_floor_hangs_on_the_clip_s_maximum_or_as_published_on_the_batch_s():
    quiet, loud = 1e-3 * (torch.rand(16000) - 0.5), torch.rand(16000) - 0.5
    loud[:8000] = quiet[:8000] = 0
    features, wavs = log_mel("efficientnet_captioner", top_db=60.0), torch.stack([quiet, loud])
    alone, together = features(wavs), features(wavs, batch_dynamic_range=True)
    torch.testing.assert_close(alone.amin((1, 2)), alone.amax((1, 2)) - 60.0)
    torch.testing.assert_close(together.amin((1, 2)), together.max().expand(2) - 60.0)
    assert torch.equal(alone[1], together[1]) and alone[0].min() < together[0].min() - 50
    assert torch.equal(features(wavs[:1], batch_dynamic_range=True), alone[:1])


def test_window_and_bands_stay_out_of_the_state_dict():
    assert not log_mel("clap2022").state_dict()


def test_autocast_does_not_coarsen_the_features():
    features, wavs = log_mel("clap2022"), torch.rand(1, 9000) - 0.5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = features(wavs)
    assert torch.equal(under_autocast, features(wavs))


def test_gradients_reach_the_waveform():
    wavs = (torch.rand(2, 3000) - 0.5).requires_grad_()
    log_mel("efficientat")(wavs).sum().backward()
    assert wavs.grad.isfinite().all() and wavs.grad.abs().sum() > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_gives_the_same_values():
    wavs = torch.rand(2, 44100) - 0.5
    features = log_mel("clap2022")
    torch.testing.assert_close(features.cuda()(wavs.cuda()).cpu(), features.cpu()(wavs), atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mel_scale": "bark"}, "mel_scale 'bark'"),
        ({"mel_norm": "area"}, "mel_norm 'area'"),
        ({"window": "hamming"}, "window 'hamming'"),
        ({"log": "natural"}, "log 'natural'"),
        ({"f_max_hz": 30000.0}, "f_max_hz <= 22050"),
        ({"win_length": 2048}, "win_length <= n_fft"),
    ],
)
def test_arguments_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        LogMel(**changes)


def test_an_unknown_preset_and_a_wrong_shape_are_refused():
    with pytest.raises(ConfigError, match="no log-mel preset 'clap2023'"):
        log_mel("clap2023")
    with pytest.raises(ConfigError, match=r"not \(2, 0\)"):
        log_mel("clap2022")(torch.zeros(2, 0))


@pytest.mark.parametrize("preset", ["clap2022", "efficientat", "efficientnet_captioner"])
def test_numbers_of_frames_of_a_batch_are_those_of_its_clips(preset):
    features = log_mel(preset)
    n_samples = [1, 100, 513, 16000, 159999, 160000]
    counts = features.n_frames(torch.tensor(n_samples))
    assert counts.tolist() == [features.n_frames(n) for n in n_samples]
    assert [features(torch.zeros(1, n)).shape[1] for n in n_samples[:4]] == counts[:4].tolist()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("n_samples", [1, 513, 2000, 50000])
def test_values_with_and_without_gradient_are_the_same(preset, n_samples):
    features, wavs = log_mel(preset), torch.rand(2, n_samples) - 0.5
    with_gradient = features(wavs.clone().requires_grad_())
    assert with_gradient.requires_grad
    torch.testing.assert_close(features(wavs), with_gradient.detach(), atol=5e-4, rtol=0)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_blocks_of_frames_join_without_a_seam(n_threads):
    torch.manual_seed(0)
    wavs, before = 0.1 * torch.randn(1, 320 * 400), torch.get_num_threads()
    try:
        torch.set_num_threads(n_threads)
        log_mels = log_mel("clap2022")(wavs)
    finally:
        torch.set_num_threads(before)
    assert (log_mels - reference_db(wavs)).abs().max() < 1e-3


def test_a_waveform_is_left_as_it_was():
    wavs = torch.rand(2, 9000) - 0.5
    before = wavs.clone()
    log_mel("efficientat")(wavs)
    assert torch.equal(wavs, before)


def test_a_compiler_sees_operations_it_can_follow():
    features, wavs = log_mel("efficientat"), torch.rand(1, 9000) - 0.5
    exported = torch.export.export(features, (wavs,)).module()
    torch.testing.assert_close(exported(wavs), features(wavs), atol=5e-4, rtol=0)


def test_bins_that_no_band_reads_are_left_out_and_the_others_stand_twice():
    bands = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.0, 2.0], [0.0, 0.0]])
    expected = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.5, 0.0], [0.5, 0.0], [0.0, 2.0], [0.0, 2.0]])
    assert torch.equal(bands_of_parts(bands), expected)
