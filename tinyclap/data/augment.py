"""Augmentation of unlabelled audio: teacher and student get the same altered waveform, so no label has to hold for it.

Source: Beyer et al., "Knowledge distillation: a good teacher is patient and consistent", CVPR 2022.
"""

from dataclasses import asdict, dataclass

import numpy as np

from tinyclap.errors import ConfigError


@dataclass
class FunctionMatchingAugment:
    """Random speed, equaliser, mixture (with one clip or, a third of the time, two) or else splice, noise and level."""

    speed_probability: float = 0.6
    eq_probability: float = 0.4
    mix_probability: float = 0.5
    splice_probability: float = 0.15
    noise_probability: float = 0.15
    speed_range: tuple = (0.7, 1.4)  # factor of playing speed, log-uniform; pitch follows
    eq_db: float = 6.0  # standard deviation of the gain at the equaliser's knots
    mix_db: tuple = (-12.0, 12.0)  # level of each further clip relative to the first
    noise_db: tuple = (-30.0, 0.0)  # level of coloured noise (power falling as f⁰ … f⁻²) relative to the signal
    level_db: tuple = (-42.0, -8.0)  # RMS level of the output, in dB of full scale

    def __post_init__(self):
        self.options = asdict(self)
        for name, value in self.options.items():
            if name.endswith("_probability") and not 0 <= value <= 1:
                raise ConfigError(f"augmentation: {name}={value}; a probability is in [0, 1]")

    def __call__(self, crop, another, n_samples, random, note=None):
        """One altered clip: float32 in [−1, 1], shape (n_samples,).

        Arguments
        ---------
        crop, another : callable. ``crop(n)`` gives n samples of this clip, ``another(n)`` of a random one, float32.
        n_samples : int
        random : numpy.random.Generator
        note : dict, optional. Gets ``mix_db``, levels of the clips mixed in, or ``cut``, first sample of the splice.
        """
        note = {} if note is None else note
        waveform = self._altered(crop, n_samples, random)
        if random.random() < self.mix_probability:
            waveform, note["mix_db"] = waveform / _rms(waveform), []
            for _ in range(1 if random.random() < 2 / 3 else 2):
                other = self._altered(another, n_samples, random)
                note["mix_db"].append(random.uniform(*self.mix_db))
                waveform = waveform + other / _rms(other) * _gain(note["mix_db"][-1])
        elif random.random() < self.splice_probability:
            cut = int(random.integers(n_samples // 5, max(4 * n_samples // 5, n_samples // 5 + 1)))
            other, note["cut"] = self._altered(another, n_samples, random), cut
            waveform[cut:] = other[cut:] / _rms(other) * _rms(waveform)
        if random.random() < self.noise_probability:
            spectrum = np.fft.rfft(random.standard_normal(n_samples))
            spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** random.uniform(0, 1)
            noise = np.fft.irfft(spectrum, n_samples).astype(np.float32)
            waveform = waveform / _rms(waveform) + noise / _rms(noise) * _gain(random.uniform(*self.noise_db))
        waveform = waveform / _rms(waveform) * _gain(random.uniform(*self.level_db))
        return waveform.clip(-1, 1).astype(np.float32)

    def _altered(self, crop, n_samples, random):
        if random.random() < self.speed_probability:
            low, high = np.log(self.speed_range)
            n_read = max(2, round(n_samples * float(np.exp(random.uniform(low, high)))))
            places = np.linspace(0, n_read - 1, n_samples)
            waveform = np.interp(places, np.arange(n_read), crop(n_read)).astype(np.float32)
        else:
            waveform = np.array(crop(n_samples))
        if random.random() < self.eq_probability:
            n_knots = int(random.integers(3, 8))
            knots, gains_db = np.sort(random.uniform(0, 1, n_knots)), random.normal(0, self.eq_db, n_knots)
            # Knots are spread evenly over a mel-like scale: half of it lies below a tenth of the band.
            scale = np.log1p(20 * np.linspace(0, 1, n_samples // 2 + 1)) / np.log1p(20)
            waveform = np.fft.irfft(np.fft.rfft(waveform) * _gain(np.interp(scale, knots, gains_db)), n_samples)
        return waveform.astype(np.float32)


def _rms(waveform):
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)) + 1e-12))


def _gain(db):
    return 10 ** (db / 20)
