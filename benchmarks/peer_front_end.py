"""The front ends and the resampling that ours are compared with, as the published systems build them.

torchlibrosa's spectrogram (two convolutions) and filter bank are what CLAP 2022, HTS-AT and tinyCLAP compute their
log-mels with; torchaudio's is what most others take. tinyCLAP builds torchaudio's resampling kernel for every clip.
"""

import torch
import torchaudio
import torchlibrosa
from torch import nn

from tinyclap.features.front_ends import PRESETS


class TorchlibrosaLogMel(nn.Module):
    """torchlibrosa's log-mel of a preset with plain decibels: waveforms (B, T) to (B, F, M).

    Arguments
    ---------
    preset : {"clap2022", "wavcaps_htsat"}
    """

    def __init__(self, preset="clap2022"):
        super().__init__()
        facts = PRESETS[preset]
        self.spectrogram = torchlibrosa.Spectrogram(
            n_fft=facts["n_fft"],
            hop_length=facts["hop_length"],
            win_length=facts["win_length"],
            window="hann",
            center=True,
            pad_mode="reflect",
            freeze_parameters=True,
        )
        self.filter_bank = torchlibrosa.LogmelFilterBank(
            sr=facts["sample_rate_hz"],
            n_fft=facts["n_fft"],
            n_mels=facts["n_mels"],
            fmin=facts["f_min_hz"],
            fmax=facts["f_max_hz"],
            ref=1.0,
            amin=facts["floor"],
            top_db=None,
            freeze_parameters=True,
        )

    @torch.no_grad()
    def forward(self, wavs):
        """Log-mel (B, F, M) in decibels."""
        return self.filter_bank(self.spectrogram(wavs)).squeeze(1)


class TorchaudioLogMel(nn.Module):
    """torchaudio's log-mel of a preset with plain decibels: waveforms (B, T) to (B, F, M).

    Arguments
    ---------
    preset : {"clap2022", "wavcaps_htsat"}
    """

    def __init__(self, preset="clap2022"):
        super().__init__()
        facts = PRESETS[preset]
        self.spectrogram = torchaudio.transforms.MelSpectrogram(
            sample_rate=facts["sample_rate_hz"],
            n_fft=facts["n_fft"],
            win_length=facts["win_length"],
            hop_length=facts["hop_length"],
            f_min=facts["f_min_hz"],
            f_max=facts["f_max_hz"],
            n_mels=facts["n_mels"],
            mel_scale=facts["mel_scale"],
            norm=facts["mel_norm"],
        )
        self.decibels = torchaudio.transforms.AmplitudeToDB("power")

    @torch.no_grad()
    def forward(self, wavs):
        """Log-mel (B, F, M) in decibels."""
        return self.decibels(self.spectrogram(wavs)).transpose(1, 2)


def resample_with_new_kernel(wav, from_hz, to_hz):
    """Resample a waveform (T,) by torchaudio, whose kernel is worked out for this one clip."""
    return torchaudio.transforms.Resample(from_hz, to_hz)(wav)
