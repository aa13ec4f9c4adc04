"""The captioners that ours are compared with, eager, as their authors' code goes about it.

The small one after github.com/wsntxxn/AudioCaption (torchaudio's spectrogram; EfficientNet-B2 of efficientnet_pytorch,
whose norms, paddings and swishes are operations of their own; a decoder without a cache, which reads all words again
for every new one). The large one after github.com/XinhaoMei/WavCaps (torchlibrosa's spectrogram, HTS-AT, BART by
``generate``). Written from their descriptions; the weights, and what has no other way to be written, are our
modules'.
"""

import torch
import torch.nn.functional as F
import torchaudio
import torchlibrosa

from tinyclap.decoding.beam_search import beam_search
from tinyclap.features.front_ends import PRESETS


class PublishedStudent:
    """EfficientNet-B2 and its Transformer, one clip at a time.

    Arguments
    ---------
    captioner : tinyclap.models.captioner.Captioner
        Gives the weights.
    """

    def __init__(self, captioner):
        self.encoder, self.words = captioner.encoder, captioner.tokenizer
        self.decoder = _WithoutCache(captioner.decoder)
        self.melspec = torchaudio.transforms.MelSpectrogram(
            sample_rate=16000, n_fft=512, win_length=512, hop_length=160, f_min=0, f_max=8000, n_mels=64
        )
        self.decibels = torchaudio.transforms.AmplitudeToDB(top_db=120)

    @torch.no_grad()
    def frames(self, wavs):
        """Waveforms (B, T) to frames (B, F', C)."""
        return self.encode(self.decibels(self.melspec(wavs)))

    @torch.no_grad()
    def encode(self, log_mel):
        """Log-mel (B, M, F) to frames (B, F', C)."""
        encoder = self.encoder
        feature_map = _swish(_norm(encoder._bn0, _conv(encoder._conv_stem, log_mel[:, None])))
        for block in encoder._blocks:
            feature_map = _block(block, feature_map)
        feature_map = _swish(_norm(encoder._bn1, _conv(encoder._conv_head, feature_map)))
        return feature_map.mean(dim=2).transpose(1, 2)

    @torch.no_grad()
    def decode(self, frames, n_frames, beam, n_words):
        """Ids of the best caption of each clip; none ends before it has `n_words` words."""
        state = self.decoder.begin(frames, n_frames)
        options = {"beam": beam, "max_words": n_words, "min_words": n_words - 1}
        return beam_search(self.decoder, state, self.words.start_id, self.words.end_id, **options).ids[:, 0]

    def caption(self, wavs, beam, n_words):
        """The same from waveforms (1, T)."""
        frames = self.frames(wavs)
        n_frames = torch.tensor([(wavs.shape[1] // 160 + 1) // 32])
        return self.decode(frames, n_frames, beam, n_words)


class _WithoutCache:
    """A decoder that reads all words again for every new one, and projects the clip's frames again too."""

    def __init__(self, decoder):
        self.decoder = decoder

    def begin(self, frames, n_frames):
        return frames.new_zeros(len(frames), 0, dtype=torch.int64), frames, n_frames

    def step(self, last_ids, state):
        ids, frames, n_frames = state
        ids = torch.cat([ids, last_ids[:, None]], dim=1)
        return self.decoder(ids, frames, n_frames)[:, -1], (ids, frames, n_frames)

    def select(self, state, rows):
        return tuple(part[rows.reshape(-1)] for part in state)


def _conv(conv, feature_map):
    """Pad by an operation of its own, then convolve."""
    before, after = conv.padding[0], conv.padding[0] + conv.n_more
    if after:
        feature_map = F.pad(feature_map, (before, after, before, after))
    return F.conv2d(feature_map, conv.weight, None, conv.stride, 0, groups=conv.groups)


def _norm(norm, feature_map):
    return F.batch_norm(
        feature_map, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, norm.momentum, norm.eps
    )


def _swish(feature_map):
    return feature_map * torch.sigmoid(feature_map)


def _block(block, feature_map):
    hidden = feature_map
    if block.expands:
        hidden = _swish(_norm(block._bn0, _conv(block._expand_conv, hidden)))
    hidden = _swish(_norm(block._bn1, _conv(block._depthwise_conv, hidden)))
    squeezed = block._se_expand(_swish(block._se_reduce(F.adaptive_avg_pool2d(hidden, 1))))
    hidden = _norm(block._bn2, _conv(block._project_conv, torch.sigmoid(squeezed) * hidden))
    return hidden + feature_map if block.skip else hidden


class Teacher:
    """HTSAT-BART, in fp32 or with bf16 weights behind its spectrogram.

    Arguments
    ---------
    network : tinyclap.published.wavcaps.WavcapsHtsatBart
        Gives the modules; it is changed to `dtype`.
    dtype : torch.dtype
    """

    def __init__(self, network, dtype=torch.float32):
        front_end = PRESETS["wavcaps_htsat"]
        self.network, self.dtype = network.to(dtype), dtype
        self.stft = torchlibrosa.Spectrogram(n_fft=front_end["n_fft"], hop_length=front_end["hop_length"])
        self.log_mel = torchlibrosa.LogmelFilterBank(
            sr=front_end["sample_rate_hz"],
            n_fft=front_end["n_fft"],
            n_mels=front_end["n_mels"],
            fmin=front_end["f_min_hz"],
            fmax=front_end["f_max_hz"],
            amin=front_end["floor"],
            top_db=None,
        )

    @torch.no_grad()
    def frames(self, wavs):
        """The first 10 s of waveforms (B, T) at 32 kHz to frames."""
        log_mel = self.log_mel(self.stft(wavs))[:, 0]
        return self.network.encoder(log_mel.to(self.dtype)).frames

    @torch.no_grad()
    def decode(self, frames, beam, n_tokens):
        """Ids of `n_tokens` tokens after the start, the last of them the end."""
        return self.network._write(self.network.hidden(frames), beam, n_tokens + 1, n_tokens + 1)

    def caption(self, wavs, beam, n_tokens):
        """The same from waveforms (1, T)."""
        return self.decode(self.frames(wavs), beam, n_tokens)


# As in the reference of the published captioner: else decibels saturate the gates, and rounding grows to per cents.
_GAINS = {
    "_conv_stem.weight": 0.02,
    "_se_expand.weight": 0.1,
    "_expand_conv.weight": 1.8,
    "_depthwise_conv.weight": 1.8,
}


@torch.no_grad()
def filled(network, seed=0):
    """Random weights at which nothing vanishes or overflows: normal matrices, norms of one."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            gain = next((gain for ending, gain in _GAINS.items() if name.endswith(ending)), 1.0)
            parameter.normal_(0, gain * parameter[0].numel() ** -0.5, generator=generator)
        else:
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    return network.eval()
