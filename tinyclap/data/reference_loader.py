"""Clip loading of the public codes, to measure what it does to a teacher's accuracy: five seconds of a clip.

Longer clips are cut at a random place (defect D10: the official one depends on the random state and the number of
workers; here on the seed and the clip's id alone).

* ``official`` (tinyCLAP): channels are summed, which adds 6 dB to what they share; short clips end in zeros (D11);
* ``msclap`` (Microsoft's CLAP): channels are concatenated, so that 4 s of stereo are 8 s; short clips are repeated.

Source: github.com/fpaissan/tinyCLAP (clap_datasets.py); github.com/microsoft/CLAP (CLAPWrapper.py).
"""

import zlib

import numpy as np

from tinyclap.audio.io import read_channels
from tinyclap.errors import ConfigError

LOADERS = ("ours", "official", "msclap")
CLIP_S = 5.0  # of both codes


class ReferenceLoader:
    """Reads a recording as a public code does (`kind`: "official", "msclap"); `seed` decides where long clips are cut.

    Clips are cut at their own rate; the official code resamples first, which moves the place by less than a sample.

    Example
    -------
    >>> ReferenceLoader("official", seed=0).fit(np.array([[0.25, 0.5], [0.25, -0.5]]), 1, "a").tolist()
    [0.5, 0.0, 0.0, 0.0, 0.0]
    >>> ReferenceLoader("msclap", seed=0).fit(np.array([[0.25, 0.5], [0.25, -0.5]]), 1, "a").tolist()
    [0.25, 0.5, 0.25, -0.5, 0.25]
    """

    def __init__(self, kind, seed):
        if kind not in LOADERS[1:]:
            raise ConfigError(f"loader {kind!r} is unknown; choose one of {', '.join(LOADERS)}")
        self.kind, self.seed = kind, seed

    @property
    def options(self):
        """What decides the samples, JSON-able."""
        return {"loader": self.kind, "loader_seed": self.seed}

    def __call__(self, path, name):
        """Five seconds of a recording, whose id is `name`: (samples (T,), float32; rate in Hz)."""
        channels, rate = read_channels(path)
        return self.fit(channels, rate, name), rate

    def fit(self, channels, sample_rate_hz, name):
        """Five seconds (5·sample_rate_hz,) of `channels` (channels, T). Summed channels may leave [−1, 1]."""
        waveform = channels.sum(axis=0) if self.kind == "official" else channels.reshape(-1)
        n_samples = round(CLIP_S * sample_rate_hz)
        if len(waveform) > n_samples:
            random = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
            start = int(random.integers(len(waveform) - n_samples + 1))
            return waveform[start : start + n_samples]
        if self.kind == "official":
            return np.pad(waveform, (0, n_samples - len(waveform)))
        return np.resize(waveform, n_samples)


def make_loader(kind, seed):
    """The loader of a recipe: None for ``ours``, else a :class:`ReferenceLoader` (``official``, ``msclap``)."""
    return None if kind == "ours" else ReferenceLoader(kind, seed)
