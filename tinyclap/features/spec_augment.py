"""SpecAugment on log-mel spectrograms: random stripes of time and frequency are masked in training.

Source: Park et al., "SpecAugment", Interspeech 2019; two stripes of up to 64 frames and two of up to 8 bands, as in the
captioning paper's code.
"""

import torch
from torch import nn
from torchaudio.functional import mask_along_axis_iid


class SpecAugment(nn.Module):
    """Mask stripes of each clip by the batch's mean, as the public code's zero is loud in dB.

    There are `n_time` of up to `time_width` frames, and `n_mel` of up to `mel_width` bands.

    Example
    -------
    >>> SpecAugment()(torch.zeros(2, 500, 64)).shape
    torch.Size([2, 500, 64])
    """

    def __init__(self, n_time=2, time_width=64, n_mel=2, mel_width=8):
        super().__init__()
        self.stripes = [(n_time, time_width, 2), (n_mel, mel_width, 3)]

    def forward(self, log_mel):
        """Log-mel spectrograms (B, F, M), masked."""
        hidden, mean = log_mel[:, None], log_mel.detach().mean()  # a tensor: no wait for the device
        for n_stripes, width, axis in self.stripes:
            for _ in range(n_stripes):
                hidden = mask_along_axis_iid(hidden, min(width, hidden.shape[axis]), mean, axis)
        return torch.squeeze(hidden, 1)
