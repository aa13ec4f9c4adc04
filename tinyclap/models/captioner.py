"""Audio captioner: log-mel front end, any audio encoder, Transformer decoder over words.

Source: Xu et al., "Efficient Audio Captioning with Encoder-Level Knowledge Distillation", Interspeech 2024.
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from tinyclap.audio.windows import clip_groups
from tinyclap.config.registry import configurable
from tinyclap.decoding.beam_search import Hypotheses, WordChoices, beam_search, word_choices
from tinyclap.errors import AudioError, ConfigError
from tinyclap.features.windows import WindowPolicy, as_waveforms, clips_at, cut_windows
from tinyclap.models.caption_decoder import CaptionDecoder
from tinyclap.models.encoding import check_attributes, evaluating, valid_frames
from tinyclap.text.tokenizer import WordTokenizer


class CaptionerOutput(NamedTuple):
    """Encoder output: `clip` (B, C), the mean of the valid `frames` (B, F', C), of which `n_frames` (B,) are valid."""

    clip: torch.Tensor
    frames: torch.Tensor
    n_frames: torch.Tensor


@configurable
class Captioner(nn.Module):
    """Waveform to words.

    Arguments
    ---------
    features : tinyclap.features.front_ends.LogMel. It fixes ``sample_rate_hz``.
    encoder : nn.Module. Log-mel (B, F, M) to :class:`.encoding.AudioEncoding`, with attribute ``frame_dim``.
    decoder : tinyclap.models.caption_decoder.CaptionDecoder
    tokenizer : tinyclap.text.tokenizer.WordTokenizer
    max_s : float. Maximum input of the encoder, in seconds; the frames of a longer clip's windows are concatenated.
    min_s : float. A shorter clip is repeated up to this length.
    resampler : {"sinc", "soxr"}
    freeze_encoder : bool. Train the decoder alone; the encoder stays in eval mode.
    """

    def __init__(
        self, features, encoder, decoder, tokenizer, max_s=30.0, min_s=1.0, resampler="sinc", freeze_encoder=False
    ):
        super().__init__()
        check_attributes(encoder, features.n_mels)
        if encoder.frame_dim != decoder.memory_dim:
            sizes = f"{encoder.frame_dim} channels, the decoder wants {decoder.memory_dim}"
            raise ConfigError(f"the encoder's frames have {sizes}")
        if tokenizer.n_words != decoder.n_words:
            raise ConfigError(f"the vocabulary has {tokenizer.n_words} words, the decoder {decoder.n_words}")
        self.features, self.encoder, self.decoder, self.tokenizer = features, encoder, decoder, tokenizer
        self.policy = WindowPolicy(window_s=max_s, short="native", min_s=min_s)
        self.resampler = resampler
        self.sample_rate_hz, self.caption_dim = features.sample_rate_hz, encoder.frame_dim
        self.freeze_encoder = freeze_encoder
        if freeze_encoder:
            encoder.requires_grad_(False)
            self.train(self.training)

    def train(self, mode=True):
        """Set the mode of all parts; a frozen encoder stays in eval mode."""
        super().train(mode)
        if self.freeze_encoder:
            self.encoder.eval()
        return self

    def encode(self, wavs=None, n_samples=None, log_mel=None, batch_dynamic_range=False):
        """Encode clips that are zero-padded to one length.

        Arguments
        ---------
        wavs : torch.Tensor, shape (B, T). At ``sample_rate_hz``, in [−1, 1].
        n_samples : torch.Tensor, shape (B,), optional. Samples of each clip; T by default.
        log_mel : torch.Tensor, shape (B, F, M), optional. Precomputed, instead of `wavs`.
        batch_dynamic_range : bool. ``top_db`` counts from the batch's maximum, as published, not from each clip's.
        """
        if log_mel is None:
            log_mel = self.features(wavs, batch_dynamic_range=batch_dynamic_range)
        n_total = log_mel.shape[1]
        if n_samples is None:
            n_mel = torch.full((len(log_mel),), n_total, device=log_mel.device)
        else:
            n_mel = self.features.n_frames(n_samples.to(log_mel.device)).clamp(max=n_total)
        frames = self.encoder(log_mel).frames
        n_frames = valid_frames(self.encoder, n_mel, n_total, frames.shape[1])
        mask = torch.arange(frames.shape[1], device=frames.device) < n_frames[:, None]
        clip = (frames * mask[..., None]).sum(dim=1) / n_frames[:, None]
        return CaptionerOutput(clip, frames, n_frames)

    def forward(self, captions, wavs=None, n_samples=None, log_mel=None, sampling_probability=0.0):
        """Encode a batch, and predict words of its captions: :class:`CaptionerOutput`, and logits (B', L, V) of each.

        Position l of the logits predicts word l + 1.

        Arguments
        ---------
        captions : sequence of torch.Tensor (B', L), int64. Ids from ``<start>`` on, padded; row i is of clip i, B' ≤ B.
        wavs, n_samples, log_mel. As for :meth:`encode`.
        sampling_probability : float
            Probability that an input word is replaced by the model's own prediction from a first pass (Mihaylova &
            Martins, "Scheduled Sampling for Transformers", ACL 2019).
        """
        encoded = self.encode(wavs, n_samples, log_mel)
        logits = []
        for ids in captions:
            memory, n_frames = encoded.frames[: len(ids)], encoded.n_frames[: len(ids)]
            if sampling_probability > 0:
                ids = self._sampled(ids, memory, n_frames, sampling_probability)
            logits.append(self.decoder(ids, memory, n_frames))
        return encoded, logits

    @torch.no_grad()
    def _sampled(self, ids, memory, n_frames, probability):
        """Input ids with some words replaced by the model's predictions."""
        predicted = self.decoder(ids, memory, n_frames).argmax(dim=-1)
        predicted = torch.cat([ids[:, :1], predicted[:, :-1]], dim=1)
        replaced = (torch.rand(ids.shape, device=ids.device) < probability) & (ids != self.tokenizer.pad_id)
        replaced[:, 0] = False
        return torch.where(replaced, predicted, ids)

    @torch.no_grad()
    def describe(
        self,
        wavs,
        sample_rate_hz,
        lengths=None,
        beam=3,
        max_words=20,
        min_words=0,
        n_best=1,
        batch_dynamic_range=False,
        batch_size=16,
    ):
        """Mean frames (B, C), not normalised, and :class:`tinyclap.decoding.rule.Hypotheses` of clips of any length.

        Arguments
        ---------
        wavs : See :func:`tinyclap.features.windows.as_waveforms`.
        sample_rate_hz : int
        lengths : sequence of int, length B, optional. Samples of each clip at `sample_rate_hz`; the rest is ignored.
        beam, max_words, min_words, n_best : int. See :class:`tinyclap.decoding.rule.BeamRule`.
        batch_dynamic_range : bool. As published: zero-padded to one batch, on which a clip's caption then depends.
        batch_size : int. Clips of one length in one pass.
        """
        clips = self._clips(wavs, lengths) if batch_dynamic_range or lengths is not None else wavs
        if batch_dynamic_range:
            groups = [self._padded(clips, lengths, sample_rate_hz)]
        else:
            if lengths is not None:
                clips = [clip[: int(n)] for clip, n in zip(clips, lengths, strict=True)]
            groups = self._groups(self._resampled(clips, sample_rate_hz), batch_size)
        options = {"beam": beam, "max_words": max_words, "min_words": min_words, "n_best": n_best}

        def work(encoded):
            state = self.decoder.begin(encoded.frames, encoded.n_frames)
            found = beam_search(self.decoder, state, self.tokenizer.start_id, self.tokenizer.end_id, **options)
            return encoded.clip, *found

        rows, *found = self._over(groups, work)
        return rows, Hypotheses(*found)

    @torch.no_grad()
    def describe_words(self, wavs, sample_rate_hz, n_choices, beam=3, max_words=20, batch_size=16):
        """Mean frames (B, C) and :class:`tinyclap.decoding.beam_search.WordChoices` of the best captions.

        Arguments
        ---------
        wavs, sample_rate_hz, beam, max_words, batch_size. As for :meth:`describe`.
        n_choices : int. Most probable words at each position.
        """
        start_id, end_id = self.tokenizer.start_id, self.tokenizer.end_id

        def work(encoded):
            memory = encoded.frames, encoded.n_frames
            found = beam_search(self.decoder, self.decoder.begin(*memory), start_id, end_id, beam, max_words)
            return encoded.clip, *word_choices(self.decoder, *memory, found, start_id, n_choices)

        rows, *choices = self._over(self._groups(self._resampled(wavs, sample_rate_hz), batch_size), work)
        return rows, WordChoices(*choices)

    @torch.no_grad()
    def embed_audio(self, wavs, sample_rate_hz, batch_size=16):
        """Clips of any length, rate and channels → mean frames (B, C), not normalised."""
        groups = self._groups(self._resampled(wavs, sample_rate_hz), batch_size)
        return self._over(groups, lambda encoded: (encoded.clip,))[0]

    def _over(self, groups, work):
        """Run `work` on every group of clips in eval mode, and concatenate its tensors in the order of the clips."""
        with evaluating(self):
            done = [work(encode()) for _, encode in groups]
        order = torch.tensor([owner for owners, _ in groups for owner in owners]).argsort()
        return [torch.cat(parts)[order.to(parts[0].device)] for parts in zip(*done, strict=True)]

    @staticmethod
    def _clips(wavs, lengths):
        clips = as_waveforms(wavs)
        if lengths is not None:
            if len(lengths) != len(clips):
                raise ConfigError(f"{len(lengths)} lengths for {len(clips)} clips")
            for index, (clip, n_samples) in enumerate(zip(clips, lengths, strict=True)):
                if not 0 < int(n_samples) <= len(clip):
                    problem = f"has length {int(n_samples)}; it is in [1, {len(clip)}]"
                    raise AudioError(f"clip {index} of the batch", problem)
        return clips

    def _resampled(self, clips, sample_rate_hz):
        device = next(self.parameters()).device
        return clips_at(clips, sample_rate_hz, self.sample_rate_hz, device, self.resampler)

    def _padded(self, clips, lengths, sample_rate_hz):
        """One batch, zero-padded to the longest clip."""
        n_longest = max(len(clip) for clip in clips)
        n_samples = [len(clip) for clip in clips] if lengths is None else [int(n) for n in lengths]
        padded = torch.stack([nn.functional.pad(clip, (0, n_longest - len(clip))) for clip in clips])
        wavs = self._resampled(padded, sample_rate_hz)
        n_samples = torch.tensor([-(-n * self.sample_rate_hz // sample_rate_hz) for n in n_samples])
        return range(len(clips)), lambda: self.encode(wavs, n_samples, batch_dynamic_range=True)

    def _groups(self, clips, batch_size):
        if isinstance(clips, torch.Tensor):
            cut = cut_windows(clips, self.sample_rate_hz, self.policy)
            parts = torch.arange(len(cut)).split(batch_size), cut.split(batch_size)
            groups = [(owners.tolist(), pieces.flatten(0, 1)) for owners, pieces in zip(*parts, strict=True)]
        else:
            groups = clip_groups(clips, self.sample_rate_hz, self.policy, batch_size)
            groups = [(owners, torch.cat(pieces)) for owners, pieces in groups]
        return [(owners, partial(self._joined, pieces, len(owners))) for owners, pieces in groups]

    def _joined(self, pieces, n_clips):
        """Encode the windows of clips, and concatenate the frames of each clip."""
        encoded = self.encode(pieces)
        n_valid = int(encoded.n_frames[0])  # all pieces have one length
        frames = encoded.frames[:, :n_valid].reshape(n_clips, -1, encoded.frames.shape[-1])
        n_frames = torch.full((n_clips,), frames.shape[1], device=frames.device)
        return CaptionerOutput(frames.mean(dim=1), frames, n_frames)

    def generate(self, wavs, sample_rate_hz, **options):
        """Word ids (B, max_words) of the best captions, filled with the end id; see :meth:`describe`."""
        return self.describe(wavs, sample_rate_hz, **options)[1].ids[:, 0]

    def caption(self, wavs, sample_rate_hz, **options):
        """The best captions, a list of B strings; options as for :meth:`describe`."""
        return [self.tokenizer.decode(ids) for ids in self.generate(wavs, sample_rate_hz, **options).tolist()]


def make_captioner(
    features,
    encoder,
    vocabulary,
    width=256,
    n_layers=2,
    n_heads=4,
    dropout=0.2,
    max_s=30.0,
    min_s=1.0,
    resampler="sinc",
    freeze_encoder=False,
):
    """A captioner for the words of a file, which a recipe builds once its vocabulary is written (``!name:``).

    Arguments
    ---------
    features, encoder, max_s, min_s, resampler, freeze_encoder. As for :class:`Captioner`.
    vocabulary : str or os.PathLike. See :meth:`tinyclap.text.tokenizer.WordTokenizer.load`.
    width, n_layers, n_heads, dropout. Of the :class:`tinyclap.models.caption_decoder.CaptionDecoder`.
    """
    check_attributes(encoder, features.n_mels)
    tokenizer = WordTokenizer.load(vocabulary)
    sizes = {"width": width, "n_layers": n_layers, "n_heads": n_heads, "ffn_width": 4 * width, "dropout": dropout}
    decoder = CaptionDecoder(tokenizer.n_words, encoder.frame_dim, pad_id=tokenizer.pad_id, **sizes)
    return Captioner(features, encoder, decoder, tokenizer, max_s, min_s, resampler, freeze_encoder)
