"""Clips that go into an exported folder with the outputs torch gave for them, so that any machine can check itself."""

import numpy as np

_SECONDS = 0.6


def golden_clips(sample_rate_hz, longest_s, seed=0):
    """Made clips that use every path of the runtime: another rate, two channels, shorter and longer than a window.

    Arguments
    ---------
    sample_rate_hz : int
        The network's.
    longest_s : float
        Length of its windows, in seconds.
    seed : int

    Returns
    -------
    list of (numpy.ndarray, int)
        int16 samples, (T,) or (2, T), and their rate.

    Example
    -------
    >>> [(clip.shape, rate) for clip, rate in golden_clips(32000, 10.0)]
    [((19200,), 32000), ((2, 26460), 44100), ((104000,), 8000)]
    """
    generator = np.random.default_rng(seed)
    other_hz = 44100 if sample_rate_hz != 44100 else 48000
    return [
        (
            _sound(generator, (round(_SECONDS * sample_rate_hz),), sample_rate_hz),
            sample_rate_hz,
        ),
        (_sound(generator, (2, round(_SECONDS * other_hz)), other_hz), other_hz),
        (_sound(generator, (round((longest_s + 3) * 8000),), 8000), 8000),
    ]


def _sound(generator, shape, rate_hz):
    """A rising tone in noise that comes and goes."""
    time_s = np.arange(shape[-1]) / rate_hz
    tone = np.sin(2 * np.pi * (200 + 600 * time_s) * time_s)
    noise = generator.standard_normal(shape) * np.abs(np.sin(3 * time_s))
    return np.clip(8000 * tone + 3000 * noise, -32768, 32767).astype(np.int16)


def write_golden(path, source, longest_s):
    """Write ``clip_0`` …, ``sample_rates_hz`` and one array (n, ·) for each output of the source."""
    clips = golden_clips(source.student.sample_rate_hz, longest_s)
    rows = {}
    for clip, rate_hz in clips:
        for name, row in source.outputs([clip], rate_hz).items():
            rows.setdefault(name, []).append(row.cpu().numpy()[0])
    arrays = {f"clip_{index}": clip for index, (clip, _) in enumerate(clips)}
    rates = np.array([rate for _, rate in clips])
    np.savez_compressed(
        path,
        sample_rates_hz=rates,
        **arrays,
        **{name: np.stack(row) for name, row in rows.items()},
    )
