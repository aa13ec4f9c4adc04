"""From a file to a waveform: decoding what is kept against decoding all, and resampling 44.1 kHz to 32 and 16 kHz.

    python benchmarks/audio_input.py --threads 1

The peer decodes the whole recording, builds torchaudio's kernel for this clip, resamples, and cuts, as tinyCLAP's data
set does. The notes have each resampling's signal-to-noise ratio on a swept sine, in dB.
"""

import math
import sys
import tempfile
from pathlib import Path

from harness import Group, benchmark_main

FILE_HZ = 44100
FILE_S, KEPT_S, START_S = 10.0, 5.0, 2.5
FORMATS = {
    "wav16": {"format": "WAV", "subtype": "PCM_16"},
    "flac": {"format": "FLAC", "subtype": "PCM_16"},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
}
TARGETS_HZ = (32000, 16000)
SWEEP_HZ = (20.0, 0.8)  # from, and to this share of the lower Nyquist frequency
EDGE_S = 0.1  # what is left out at both ends of the sweep, where the filters meet silence


def groups(options):
    """Decoding of each format, resampling to each rate, and both together."""
    import torch

    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as folder:
        paths = recordings(Path(folder))
        for name, path in paths.items():
            yield decoding(name, path)
        for to_hz in TARGETS_HZ:
            yield resampling(to_hz)
        for name, path in paths.items():
            for to_hz in TARGETS_HZ:
                yield decoding_and_resampling(name, path, to_hz)


def recordings(folder):
    """One recording in every format: name → path."""
    import numpy as np
    import soundfile

    generator = np.random.default_rng(0)
    # noise that falls with frequency, as sound does: a codec finds white noise harder than anything it is made for
    steps = np.cumsum(generator.standard_normal(round(FILE_S * FILE_HZ)))
    slow = np.convolve(steps, np.ones(2048) / 2048, mode="same")
    wav = (steps - slow) / np.abs(steps - slow).max() * 0.9
    paths = {}
    for name, coding in FORMATS.items():
        paths[name] = folder / f"recording.{name}"
        soundfile.write(paths[name], wav, FILE_HZ, **coding)
    return paths


def whole(path):
    """Decode all of a recording, (T,)."""
    import soundfile

    return soundfile.read(path, dtype="float32")[0]


def decoding(name, path):
    """Only the seconds that are kept, against all of them."""
    from tinyclap.audio.io import read_audio

    kept = slice(round(START_S * FILE_HZ), round((START_S + KEPT_S) * FILE_HZ))
    cases = {
        "whole file, then cut": lambda: whole(path)[kept],
        "read_audio, the part": lambda: read_audio(path, start_s=START_S, duration_s=KEPT_S),
        "read_audio, whole": lambda: read_audio(path),
    }
    return Group(f"decode {name}", f"{KEPT_S:g} of {FILE_S:g} s at 44.1 kHz", cases, peer="whole file, then cut")


def resamplers(to_hz):
    """Name → function of a waveform (T,), a tensor."""
    import torchaudio
    from peer_front_end import resample_with_new_kernel

    from tinyclap.features.resample import resample

    kept = torchaudio.transforms.Resample(FILE_HZ, to_hz)
    return {
        "torchaudio, kernel built per clip": lambda wav: resample_with_new_kernel(wav, FILE_HZ, to_hz),
        "torchaudio, kernel kept": kept,
        "resample, sinc": lambda wav: resample(wav, FILE_HZ, to_hz),
        "resample, soxr HQ": lambda wav: resample(wav, FILE_HZ, to_hz, method="soxr"),
    }


def resampling(to_hz):
    """Resampling alone."""
    import torch

    wav = 0.1 * torch.randn(round(KEPT_S * FILE_HZ), generator=torch.Generator().manual_seed(0))
    by_name = resamplers(to_hz)
    cases = {name: lambda work=work: work(wav) for name, work in by_name.items()}
    snr_db = {name: sweep_snr_db(work, to_hz) for name, work in by_name.items()}
    title = f"resample to {to_hz / 1000:g} kHz"
    peer = "torchaudio, kernel built per clip"
    return Group(title, f"{KEPT_S:g} s at 44.1 kHz", cases, peer=peer, notes={"sweep_snr_db": snr_db})


def sweep_snr_db(work, to_hz):
    """Power of a swept sine at the new rate over that of the difference from it, in dB."""
    import torch

    wav, exact = (swept_sine(rate_hz, SWEEP_HZ[1] * min(FILE_HZ, to_hz) / 2) for rate_hz in (FILE_HZ, to_hz))
    resampled = work(wav.float()).double()
    n = min(len(resampled), len(exact))
    inner = slice(round(EDGE_S * to_hz), n - round(EDGE_S * to_hz))
    exact, resampled = exact[inner], resampled[inner]
    return float(10 * torch.log10(exact.square().sum() / (resampled - exact).square().sum()))


def swept_sine(rate_hz, to_hz):
    """A sine of 5 s whose frequency rises evenly to `to_hz`, (T,), in float64."""
    import torch

    times_s = torch.arange(round(KEPT_S * rate_hz), dtype=torch.float64) / rate_hz
    phase = SWEEP_HZ[0] * times_s + (to_hz - SWEEP_HZ[0]) / (2 * KEPT_S) * times_s**2
    return 0.5 * torch.sin(2 * math.pi * phase)


def decoding_and_resampling(name, path, to_hz):
    """Both together, as a data set does for every clip."""
    import torch

    from tinyclap.audio.io import read_audio

    n_kept = round(KEPT_S * to_hz)
    new_kernel = resamplers(to_hz)["torchaudio, kernel built per clip"]
    cases = {
        "whole, new kernel, cut": lambda: new_kernel(torch.from_numpy(whole(path)))[:n_kept],
        "read_audio, the part": lambda: read_audio(path, to_hz, start_s=START_S, duration_s=KEPT_S),
    }
    title = f"decode {name} and resample to {to_hz / 1000:g} kHz"
    return Group(title, f"{KEPT_S:g} of {FILE_S:g} s at 44.1 kHz", cases, peer="whole, new kernel, cut")


if __name__ == "__main__":
    sys.exit(benchmark_main(__doc__, __file__, groups))
