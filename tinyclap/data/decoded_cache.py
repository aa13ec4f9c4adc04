"""Decoded and resampled clips as 16-bit samples on disk, read by memory map."""

import hashlib
import os
from pathlib import Path

import numpy as np

from tinyclap.audio.io import read_audio
from tinyclap.files import atomic_path


class DecodedCache:
    """A `folder` of clips at `sample_rate_hz`, one file each, shared by runs and workers; 5 s at 32 kHz take 0.3 MB."""

    def __init__(self, folder, sample_rate_hz):
        self.folder, self.sample_rate_hz = Path(folder), sample_rate_hz

    def samples(self, path):
        """All samples of a clip: int16 of shape (T,), memory-mapped."""
        file = self.path_of(path)
        if not file.exists():
            samples = to_int16(read_audio(path, self.sample_rate_hz)[0])
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(file, flush=False) as part, open(part, "wb") as stream:
                np.save(stream, samples)
        return np.load(file, mmap_mode="r")

    def path_of(self, path):
        """The file of a clip, by its path, size and modification time."""
        facts = os.stat(path)
        key = f"{os.path.abspath(path)} {facts.st_size} {facts.st_mtime_ns} {self.sample_rate_hz} soxr"
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        return self.folder / name[:2] / f"{name}.npy"


def to_int16(waveform):
    """A waveform in [−1, 1] as 16-bit samples; louder ones are clipped.

    Example
    -------
    >>> to_int16(np.array([0.5, -2.0])).tolist()
    [16384, -32767]
    """
    return np.round(waveform.clip(-1, 1) * 32767).astype(np.int16)
