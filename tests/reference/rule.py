# Copied unchanged below this header from the reference outputs of the published systems: the rule by which their
# weights and waveforms were made. The arrays beside it (tinyclap.npz, efficientat_mn04.npz) and the list of published
# names and shapes (published_keys.json) are copies too; ../unit/test_parity.py says what must equal what.

"""The rule by which the reference outputs beside this file were made.

Every tensor is a function of its published name and shape, every waveform of its seed, so neither needs a file.
numpy's RandomState is a frozen stream: the numbers are the same everywhere. README.md says what each file holds.
"""

import zlib

import numpy as np


def fill(name, shape):
    """Return the array that stands under `name` in a state dict; float32, or int64 zeros for batch counters."""
    shape = tuple(shape)
    kind = name.rsplit(".", 1)[-1]
    if kind == "num_batches_tracked":
        return np.zeros(shape, dtype=np.int64)
    stream = np.random.RandomState(zlib.crc32(name.encode()))
    x = stream.standard_normal(int(np.prod(shape))).reshape(shape)
    if kind == "running_var":
        x = 0.75 + 0.5 * np.abs(x)
    elif kind == "running_mean":
        x = 0.1 * x
    elif kind == "weight" and len(shape) == 1:
        x = 1.0 + 0.1 * x
    elif kind == "bias" or len(shape) <= 1:
        x = 0.05 * x
    else:
        fan_in = int(np.prod(shape[1:]))
        x = x * (1.4 / np.sqrt(fan_in))
    return x.astype(np.float32)


def waveform(seed, duration_s, sample_rate_hz):
    """Return float32 mono in [-1, 1]: a rising chirp, bursts of noise and a train of clicks."""
    n_samples = int(round(duration_s * sample_rate_hz))
    t = np.arange(n_samples) / sample_rate_hz
    stream = np.random.RandomState(seed)
    low_hz, high_hz = 200 + 50 * (seed % 7), 3000 + 400 * (seed % 5)
    x = 0.35 * np.sin(2 * np.pi * (low_hz * t + (high_hz - low_hz) * t**2 / (2 * duration_s)))
    noise = stream.standard_normal(n_samples)
    x += 0.25 * noise * ((t % 1.25) < 0.4)
    clicks = np.zeros(n_samples)
    clicks[:: int(sample_rate_hz * 0.31)] = 0.6
    x += clicks
    return (x / max(1.0, np.abs(x).max())).astype(np.float32)
