"""One embedding for a clip of any length, alone or in a batch, and clear words for clips that have none."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tinyclap.audio.io import read_audio
from tinyclap.errors import AudioError, ConfigError
from tinyclap.features.windows import WindowPolicy, as_waveforms, embed_windows

RATE = 100  # Hz: one second is a hundred samples, ten minutes are sixty thousand
ONE_SECOND = {"window_s": 1.0}


def ramp(n_samples):
    """A clip whose samples say where they were."""
    return torch.arange(1, n_samples + 1, dtype=torch.float32)


def embed(clips, policy, **options):
    """An embedding that depends on every sample and on its place."""
    weights = torch.randn(1000, 4, generator=torch.Generator().manual_seed(1))
    return embed_windows(lambda windows: windows @ weights[: windows.shape[1]], clips, RATE, policy, **options)


@pytest.mark.parametrize("short", ["tile", "pad", "native"])
def test_a_clip_is_the_same_alone_and_among_clips_of_other_lengths(short):
    policy = WindowPolicy(**ONE_SECOND, short=short, min_s=0.2)
    generator = torch.Generator().manual_seed(0)
    clips = [torch.rand(n, generator=generator) - 0.5 for n in (5, 50, 99, 100, 101, 106, 250, 700)]
    rows = embed(clips, policy, batch_size=3)
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(len(clips)))
    for clip, row in zip(clips, rows, strict=True):
        torch.testing.assert_close(embed([clip], policy)[0], row, atol=1e-6, rtol=0)


def test_exactly_one_window_is_heard_once_and_whole():
    assert torch.equal(WindowPolicy(**ONE_SECOND).cut(ramp(100), RATE), ramp(100)[None])


@pytest.mark.parametrize(
    ("short", "ending"),
    [("tile", [99.0, 1.0]), ("pad", [99.0, 0.0]), ("native", [98.0, 99.0])],
)
def test_one_sample_less_than_a_window_is_tiled_padded_or_left(short, ending):
    windows = WindowPolicy(**ONE_SECOND, short=short, min_s=0.5).cut(ramp(99), RATE)
    assert windows.shape == (1, 99 if short == "native" else 100)
    assert windows[0, -2:].tolist() == ending


def test_one_sample_more_than_a_window_makes_no_second_one_and_a_tenth_does():
    policy = WindowPolicy(**ONE_SECOND)
    assert torch.equal(policy.cut(ramp(101), RATE), ramp(100)[None])
    assert torch.equal(policy.cut(ramp(105), RATE), ramp(100)[None]), "a tail of 5 % is below notice"
    assert policy.starts(106, RATE) == [0, 6]
    assert policy.starts(110, RATE) == [0, 10], "the last window ends with the clip"


def test_every_sample_of_a_long_clip_is_heard_and_the_last_window_ends_with_it():
    windows = WindowPolicy(**ONE_SECOND).cut(ramp(350), RATE)
    assert windows[:, 0].tolist() == [1.0, 101.0, 201.0, 251.0]
    assert windows[-1, -1] == 350
    assert set(windows.flatten().tolist()) == set(ramp(350).tolist())


def test_windows_overlap_where_a_hop_is_given():
    assert WindowPolicy(**ONE_SECOND, hop_s=0.5).starts(250, RATE) == [0, 50, 100, 150]


def test_a_clip_of_a_twentieth_of_a_second_is_tiled_to_what_the_policy_says():
    clip = ramp(5)  # 0.05 s
    assert WindowPolicy(**ONE_SECOND).cut(clip, RATE)[0].tolist() == clip.tolist() * 20
    native = WindowPolicy(**ONE_SECOND, short="native", min_s=0.12).cut(clip, RATE)
    assert native[0].tolist() == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2]


def test_native_never_tiles_beyond_a_window():
    assert WindowPolicy(window_s=1.0, short="native", min_s=9.0).cut(ramp(5), RATE).shape == (1, 100)


def test_ten_minutes_are_the_mean_direction_of_their_windows():
    clip = torch.rand(600 * RATE, generator=torch.Generator().manual_seed(0)) - 0.2
    policy = WindowPolicy(window_s=5.0)
    windows = policy.cut(clip, RATE)
    assert windows.shape == (120, 500)
    alone = F.normalize(torch.stack([embed([window], policy)[0] for window in windows]).mean(0), dim=-1)
    torch.testing.assert_close(embed([clip], policy)[0], alone, atol=1e-6, rtol=0)


def test_probabilities_are_averaged_without_normalising():
    clips = [torch.cat([torch.full((100,), 0.2), torch.full((100,), 0.6)])]
    row = embed_windows(lambda w: w[:, :2], clips, RATE, WindowPolicy(**ONE_SECOND), normalize=False)
    torch.testing.assert_close(row, torch.full((1, 2), 0.4))


def test_stereo_is_the_mean_of_its_channels():
    stereo = torch.rand(2, 300) - 0.5
    mono = stereo.mean(0)
    assert torch.equal(as_waveforms([stereo])[0], mono)
    assert torch.equal(embed(as_waveforms([stereo]), WindowPolicy()), embed(as_waveforms([mono]), WindowPolicy()))
    batch = torch.stack([stereo, stereo])  # (B, channels, T)
    assert [clip.shape for clip in as_waveforms(batch)] == [(300,), (300,)]


@pytest.mark.parametrize(("dtype", "scale"), [(np.int16, 2**15), (np.int32, 2**31)])
def test_integers_are_their_floats(dtype, scale):
    floats = np.array([-1.0, -0.5, 0.0, 0.25, 0.5], np.float32)
    wav = as_waveforms([(floats * scale).astype(dtype)])[0]
    assert wav.dtype == torch.float32 and wav.tolist() == floats.tolist()


def test_arrays_tensors_and_lists_of_them_are_the_same_clips():
    batch = np.random.default_rng(0).uniform(-1, 1, (3, 50))
    wanted = [row.astype(np.float32).tolist() for row in batch]
    for wavs in (batch, torch.from_numpy(batch), list(batch), list(torch.from_numpy(batch))):
        assert [clip.tolist() for clip in as_waveforms(wavs)] == wanted
    assert len(as_waveforms(batch[0])) == 1


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (torch.tensor([0.0, torch.nan]), "NaN or infinite"),
        (torch.tensor([0.0, torch.inf]), "NaN or infinite"),
        (np.zeros((2, 0), np.float32), "no samples"),
        (torch.zeros(0), "no samples"),
        (torch.zeros(300, 2), "channels come first"),
        (torch.zeros(1, 2, 300), "3 dimensions"),
        ("rain.wav", "not an array of samples"),
        (np.array(["a", "b"]), "not an array of samples"),
    ],
)
def test_a_clip_that_cannot_be_used_is_named_by_its_place(clip, message):
    with pytest.raises(AudioError, match=f"clip 1 of the batch.*{message}"):
        as_waveforms([torch.zeros(10), clip])


@pytest.mark.parametrize("wavs", [None, 3, 0.5, b"RIFF", "rain.wav", {"wav": torch.zeros(10)}, object(), np.float32(1)])
def test_a_batch_that_is_no_batch_of_clips_is_named(wavs):
    with pytest.raises(AudioError, match="of the batch: has 0 dimensions|is not an array of samples .*; read the file"):
        as_waveforms(wavs)


def test_a_batch_without_a_clip_is_an_error_and_not_a_crash():
    with pytest.raises(AudioError, match="holds no clip"):
        embed([], WindowPolicy())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"short": "crop"}, "short='crop'"), ({"window_s": 0.0}, "window_s=0.0"), ({"hop_s": -1.0}, "hop_s=-1.0")],
)
def test_a_policy_that_cannot_be_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        WindowPolicy(**options)


def test_a_policy_rebuilds_from_its_config():
    policy = WindowPolicy(window_s=2.0, short="pad", hop_s=1.0)
    assert WindowPolicy(**policy.config) == policy


def test_a_published_clip_that_runs_a_millisecond_over_is_one_window(shared_dir):
    waveform, rate = read_audio(shared_dir / "data/esc50/audio/1-100032-A-0.ogg")
    assert len(waveform) > 5 * rate
    assert WindowPolicy(window_s=5.0).starts(len(waveform), rate) == [0]
