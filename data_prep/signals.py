"""Building blocks of synthesised sounds: noise in a band, harmonic tones, rings of struck bodies, repetition in time.

numpy alone, and no loop over samples: noise is shaped in the frequency domain, resonances are sums of decaying sines.
"""

import numpy as np


def colored_noise(rng, n, rate, low_hz=20.0, high_hz=20000.0, slope_db=0.0):
    """Gaussian noise in a soft-edged band.

    Arguments
    ---------
    rng : numpy.random.Generator
    n : int
        Samples.
    rate : int
        Hz.
    low_hz, high_hz : float
        Half-power edges of the band, 12 dB an octave.
    slope_db : float
        Tilt in dB an octave: -3 is pink, -6 is brown.

    Returns
    -------
    numpy.ndarray, shape (n,), float32
        Root mean square of one.

    Example
    -------
    >>> noise = colored_noise(np.random.default_rng(0), 8000, 16000, 500, 2000)
    >>> round(float(np.sqrt(np.mean(noise**2))), 3)
    1.0
    """
    frequencies = np.maximum(np.arange(n // 2 + 1, dtype=np.float32) * np.float32(rate / n), 1.0)
    gain = (frequencies / 1000.0) ** np.float32(slope_db / 6.02) if slope_db else np.ones_like(frequencies)
    gain /= np.sqrt((1 + (low_hz / frequencies) ** 4) * (1 + (frequencies / high_hz) ** 4))
    spectrum = rng.standard_normal((2, len(frequencies)), dtype=np.float32)
    noise = np.fft.irfft((spectrum[0] + 1j * spectrum[1]) * gain, n).astype(np.float32)
    return noise / max(float(np.sqrt(np.mean(noise**2))), 1e-9)


def equalize(rng, wav, rate, depth_db):
    """Colour a signal as a recorder and a room do: a smooth random gain over frequency.

    Arguments
    ---------
    rng : numpy.random.Generator
    wav : numpy.ndarray, shape (n,)
    rate : int
        Hz.
    depth_db : float
        The gain lies within plus and minus so much; a knot each octave.

    Returns
    -------
    numpy.ndarray, shape (n,), float32
    """
    n = len(wav)
    octaves = np.log2(np.maximum(np.arange(n // 2 + 1) * (rate / n), 20.0) / 20.0)
    knots_db = rng.uniform(-depth_db, depth_db, 12)
    gain = 10 ** (np.interp(octaves, np.arange(12), knots_db) / 20)
    return np.fft.irfft(np.fft.rfft(wav) * gain.astype(np.float32), n).astype(np.float32)


def seconds(n, rate):
    """Time of each of n samples, in seconds, float32."""
    return np.arange(n, dtype=np.float32) / np.float32(rate)


def wander(rng, n, rate, per_s):
    """A random curve, straight between its knots.

    Arguments
    ---------
    rng : numpy.random.Generator
    n, rate : int
        Samples, and Hz.
    per_s : float
        Knots a second.

    Returns
    -------
    numpy.ndarray, shape (n,), float32
        In [-1, 1].
    """
    knots = rng.uniform(-1, 1, max(3, int(n / rate * per_s) + 3))
    return np.interp(np.linspace(0, len(knots) - 1, n), np.arange(len(knots)), knots).astype(np.float32)


def tone(frequency_hz, rate, harmonics=(1.0,)):
    """Sum of harmonics of a gliding pitch.

    Arguments
    ---------
    frequency_hz : numpy.ndarray, shape (n,)
        Pitch at each sample.
    rate : int
        Hz.
    harmonics : sequence of float
        Amplitudes of once, twice, … the pitch; those above 0.45 of the rate are dropped.

    Returns
    -------
    numpy.ndarray, shape (n,), float32

    Notes
    -----
    sin(kp) = 2 cos(p) sin((k-1)p) - sin((k-2)p): two trigonometric functions serve all harmonics.
    """
    phase = 2 * np.pi * np.cumsum(np.asarray(frequency_hz, dtype=np.float64)) / rate
    n_kept = min(len(harmonics), int(0.45 * rate / np.max(frequency_hz)))
    previous, current = np.zeros(len(phase)), np.sin(phase)
    twice_cosine = 2 * np.cos(phase)
    out = np.zeros(len(phase))
    for amplitude in harmonics[:n_kept]:
        out += amplitude * current
        previous, current = current, twice_cosine * current - previous
    return out.astype(np.float32)


def formant_harmonics(f0_hz, formants_hz, n_harmonics=24):
    """Amplitudes of a voice-like tone: harmonics of falling strength under resonances at `formants_hz`."""
    f = f0_hz * np.arange(1, n_harmonics + 1)
    resonance = sum(1 / (1 + ((f - center) / (0.22 * center)) ** 2) for center in formants_hz)
    return (0.05 + resonance) / np.arange(1, n_harmonics + 1) ** 0.6


def attack_decay(n, rate, attack_s, decay_s):
    """Envelope of something struck or blown.

    Arguments
    ---------
    n, rate : int
        Samples, and Hz.
    attack_s : float
        Time in which it rises to one.
    decay_s : float
        Time in which it then falls to 1/e.

    Returns
    -------
    numpy.ndarray, shape (n,)
        In [0, 1].
    """
    t = seconds(n, rate)
    return np.minimum(t / max(attack_s, 1 / rate), 1) * np.exp(-np.maximum(t - attack_s, 0) / decay_s)


def ring(rng, rate, length_s, frequencies_hz, decays_s, amplitudes):
    """What a struck body does: decaying sines of random phase.

    Arguments
    ---------
    rng : numpy.random.Generator
    rate : int
        Hz.
    length_s : float
    frequencies_hz, decays_s, amplitudes : sequence of float
        Of each sine; those above 0.45 of the rate are left out.

    Returns
    -------
    numpy.ndarray, shape (int(length_s * rate),), float32
    """
    t = seconds(max(8, int(length_s * rate)), rate)
    parts = [
        a * np.exp(-t / d) * np.sin(2 * np.pi * f * t + rng.uniform(0, 6.28))
        for f, d, a in zip(frequencies_hz, decays_s, amplitudes, strict=True)
        if f < 0.45 * rate
    ]
    return np.sum(parts, axis=0).astype(np.float32) if parts else np.zeros(len(t), np.float32)


def add(out, piece, start):
    """Mix `piece` into `out` from sample `start`; what reaches beyond the end is cut."""
    start = int(start)
    if 0 <= start < len(out):
        piece = piece[: len(out) - start]
        out[start : start + len(piece)] += piece


def place(rng, n, rate, make_piece, period_s, jitter=0.0, gain_db=3.0):
    """Repeat a sound until the end.

    Arguments
    ---------
    rng : numpy.random.Generator
    n, rate : int
        Samples, and Hz.
    make_piece : callable
        Index of the repetition to an array (m,); called anew for each.
    period_s : float
        Time between beginnings; the first is within the first 0.3 s.
    jitter : float
        Share of the period by which each time is off at most.
    gain_db : float
        How much fainter than the loudest a repetition can be.

    Returns
    -------
    numpy.ndarray, shape (n,), float32
    """
    out = np.zeros(n, np.float32)
    time_s = rng.uniform(0, min(period_s, 0.3))
    index = 0
    while time_s < n / rate:
        add(out, make_piece(index) * np.float32(10 ** (rng.uniform(-gain_db, 0) / 20)), time_s * rate)
        time_s += period_s * (1 + jitter * rng.uniform(-1, 1))
        index += 1
    return out
