"""The captioner of WavCaps: an HTS-AT encoder and BART. The teacher of efficient audio captioning, and very slow.

Source: Mei et al., "WavCaps", IEEE/ACM TASLP 2024 (github.com/XinhaoMei/WavCaps, ``captioning``); Lewis et al., "BART",
ACL 2020, by ``transformers``; Xu et al., "Efficient Audio Captioning with Encoder-Level Knowledge Distillation",
Interspeech 2024, which takes it as teacher.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from tinyclap.features.front_ends import log_mel
from tinyclap.features.windows import WindowPolicy, clips_at, embed_windows
from tinyclap.models.encoding import evaluating
from tinyclap.models.htsat import Htsat
from tinyclap.published.tokenizers import BART, hub_tokenizer

# facebook/bart-base
BART_BASE = {"vocab_size": 50265, "d_model": 768, "max_position_embeddings": 1024} | {
    f"{side}_{name}": value
    for side in ("encoder", "decoder")
    for name, value in (("layers", 6), ("attention_heads", 12), ("ffn_dim", 3072))
}


class WavcapsHtsatBart(nn.Module):
    """HTS-AT, a linear layer and BART's encoder and decoder; the weights are undefined until they are loaded.

    A caption is that of a clip's first 10 s, zero-padded, as published. The published encoder repeats each of its 32
    frames 32 times; the linear layer is applied before that, which is the same.

    Arguments
    ---------
    tokenizer : str. Folder or hub name of BART's tokenizer, which is loaded when strings are first needed.
    htsat, bart : dict, optional. Sizes other than published: arguments of :class:`Htsat` and of ``BartConfig``.
    """

    # Buffers of the published file that follow from sizes: its front end's, and those of the windows.
    allowed_extra = (
        r"^encoder\.audio_enc\.audio_feats_extractor\.(mel_trans\.stft\.conv_(real|imag)\.weight|log_trans\.melW)$",
        r"^encoder\.audio_enc\.layers\.\d+\.blocks\.\d+\.(attn\.relative_position_index|attn_mask)$",
    )
    not_encoder = (*allowed_extra, r"^decoder\.", r"^enc_to_dec_proj\.", r"^encoder\.audio_enc\.(tscam_conv|head)\.")
    defaults = ""

    def __init__(
        self, tokenizer: str = BART, htsat: dict[str, Any] | None = None, bart: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.features = log_mel("wavcaps_htsat")
        self.encoder = Htsat(**(htsat or {}))
        self.bart: Any = _unfilled_bart({**BART_BASE, **(bart or {})})
        self.enc_to_dec_proj = nn.Linear(self.encoder.embed_dim, self.bart.config.d_model)
        self.sample_rate_hz, self.embed_dim = self.features.sample_rate_hz, self.encoder.embed_dim
        self.policy = WindowPolicy(window_s=10.0, short="pad")
        self._tokenizer_source, self._tokenizer = tokenizer, None

    @staticmethod
    def published_name(name: str) -> str:
        """The published name of one of our tensors."""
        part, rest = name.split(".", 1)
        return f"{ {'encoder': 'encoder.audio_enc', 'bart': 'decoder'}.get(part, part) }.{rest}"

    @classmethod
    def encoder_name(cls, name: str) -> str:
        """The published name of a tensor of our Htsat."""
        return cls.published_name(f"encoder.{name}")

    def forward(self, wavs: torch.Tensor) -> Any:
        """Encode the first 10 s of clips (B, T) at ``sample_rate_hz``, zero-padded to 10 s, to an `AudioEncoding`."""
        return self.encoder(self.features(self._ten_seconds(wavs)))

    def frames(self, wavs: torch.Tensor) -> torch.Tensor:
        """Frames (B, 32, 768) of the first 10 s of clips (B, T) at ``sample_rate_hz``, zero-padded to 10 s."""
        return self(wavs).frames

    def hidden(self, frames: torch.Tensor) -> torch.Tensor:
        """BART's encoder over frames (B, 32, 768): (B, 1024, 768)."""
        positions = self.enc_to_dec_proj(frames).repeat_interleave(self.encoder.stride, dim=1)
        return self.bart.model.encoder(inputs_embeds=positions).last_hidden_state

    @torch.no_grad()
    def embed_audio(self, wavs: Any, sample_rate_hz: float, batch_size: int = 8) -> torch.Tensor:
        """Embed clips of any length: (B, 768), the mean of the frames over windows of 10 s, not normalised."""
        with evaluating(self):
            clips = self._resampled(wavs, sample_rate_hz)
            options = self.sample_rate_hz, self.policy, batch_size, False
            return embed_windows(lambda windows: self(windows).clip, clips, *options)

    def generate(self, wavs: Any, sample_rate_hz: float, **options: Any) -> torch.Tensor:
        """Token ids (B, L) of the captions of clips: the second result of :meth:`describe`."""
        return self.describe(wavs, sample_rate_hz, **options)[1]

    def caption(self, wavs: Any, sample_rate_hz: float, **options: Any) -> list[str]:
        """Caption the first 10 s of each clip: B strings; :meth:`describe` names the options."""
        return self.strings(self.generate(wavs, sample_rate_hz, **options))

    @torch.no_grad()
    def describe(
        self,
        wavs: Any,
        sample_rate_hz: float,
        beam: int = 3,
        max_length: int = 30,
        min_length: int = 2,
        batch_size: int = 8,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed and caption the first 10 s of clips of any length, rate and channels in one pass.

        Arguments
        ---------
        wavs, sample_rate_hz : See :func:`tinyclap.features.windows.as_waveforms`.
        beam, max_length, min_length, batch_size : int. Beams, tokens of a caption with its start, clips in one pass.

        Returns
        -------
        torch.Tensor, shape (B, 768). Mean of the frames, not normalised.
        torch.Tensor, shape (B, L), int64. From the start token (2); what follows the end token (2) is padding (1).
        """
        rows, ids = [], []
        with evaluating(self):
            for encoding in self.encode_first(wavs, sample_rate_hz, batch_size):
                rows.append(encoding.clip)
                ids += self._write(self.hidden(encoding.frames), beam, max_length, min_length)
        pad_id = self.bart.config.pad_token_id
        return torch.cat(rows), nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=pad_id)

    def encode_first(self, wavs: Any, sample_rate_hz: float, batch_size: int = 8) -> Iterator[Any]:
        """Encode the first 10 s of clips of any length, rate and channels: an `AudioEncoding` of each batch."""
        clips = self._resampled(wavs, sample_rate_hz)
        if not isinstance(clips, torch.Tensor):
            clips = torch.stack([self._ten_seconds(clip) for clip in clips])
        for part in clips.split(batch_size):
            yield self(part)

    def _write(self, hidden, beam, max_length, min_length):
        from transformers.modeling_outputs import BaseModelOutput

        starts = torch.full((len(hidden), 1), self.bart.config.decoder_start_token_id, device=hidden.device)
        options = {"num_beams": beam, "max_length": max_length, "min_length": min_length, "do_sample": False}
        return self.bart.generate(encoder_outputs=BaseModelOutput(hidden), decoder_input_ids=starts, **options)

    def strings(self, ids: torch.Tensor) -> list[str]:
        """Turn token ids (B, L) into B strings, without special tokens and spaces around them."""
        return [text.strip() for text in self.load_tokenizer().batch_decode(ids, skip_special_tokens=True)]

    def load_tokenizer(self) -> Any:
        """BART's tokenizer, loaded when it is first needed; see :func:`hub_tokenizer`."""
        if self._tokenizer is None:
            self._tokenizer = hub_tokenizer(self._tokenizer_source, BART)
        return self._tokenizer

    def _ten_seconds(self, wavs):
        """Cut or zero-pad (..., T) to one window, as published."""
        n_samples = round(self.policy.window_s * self.sample_rate_hz)
        return nn.functional.pad(wavs[..., :n_samples], (0, max(0, n_samples - wavs.shape[-1])))

    def _resampled(self, wavs, sample_rate_hz):
        device = self.enc_to_dec_proj.weight.device
        return clips_at(wavs, sample_rate_hz, self.sample_rate_hz, device)


def _unfilled_bart(sizes):
    """Build a BART without initialising it: random numbers for 140 million weights take six seconds."""
    from transformers import BartConfig, BartForConditionalGeneration

    with torch.device("meta"):
        bart = BartForConditionalGeneration(BartConfig(**sizes))
    bart.to_empty(device="cpu")
    bart.tie_weights()
    return bart.eval()
