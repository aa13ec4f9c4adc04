"""The published efficient captioners: EfficientNet-B2 with a Transformer decoder.

Source: Xu et al., "Efficient Audio Captioning with Encoder-Level Knowledge Distillation", Interspeech 2024;
huggingface.co/wsntxxn/effb2-trm-audiocaps-captioning and -clotho-captioning.
"""

from typing import Any

import torch
from torch import nn

from tinyclap.errors import ConfigError
from tinyclap.features.front_ends import log_mel
from tinyclap.losses.captioning import EncoderKDLoss
from tinyclap.models.caption_decoder import CaptionDecoder
from tinyclap.models.captioner import Captioner
from tinyclap.models.efficientnet import EfficientNetB2
from tinyclap.text.tokenizer import END, PAD, START, UNKNOWN, WordTokenizer

_WORDS = "model.model.decoder.word_embedding.weight"
_TEACHER_DIM, _SHARED_DIM = 768, 1024


class Effb2Trm(nn.Module):
    """A published captioner (``captioner``, 11,443,650 parameters) and the projections of its distillation (``kd``).

    Arguments
    ---------
    n_words : int, optional. Size of the vocabulary: 4981 (AudioCaps, the default) or 4368 (Clotho).
    start_id, end_id, pad_id : int, optional. Ids that begin, end and fill captions; 1, 2 and 0 as published.
    tokenizer : WordTokenizer, str or os.PathLike, optional
        The vocabulary, or its file, which settles the four numbers above. Without one :meth:`caption` is refused.

    Notes
    -----
    ``generate(..., batch_dynamic_range=True)`` on a zero-padded batch with `lengths` is the published computation.
    """

    allowed_extra = (r"^model\.model\.encoder\.melspec_extractor\.(spectrogram\.window|mel_scale\.fb)$",)
    defaults = "n_words=4981"

    def __init__(
        self,
        n_words: int | None = None,
        start_id: int | None = None,
        end_id: int | None = None,
        pad_id: int | None = None,
        tokenizer: Any = None,
    ) -> None:
        super().__init__()
        given = {"n_words": n_words, "start_id": start_id, "end_id": end_id, "pad_id": pad_id}
        self.has_words = tokenizer is not None
        if not self.has_words:
            released = {"n_words": 4981, "start_id": 1, "end_id": 2, "pad_id": 0}
            tokenizer = _nameless(**{key: released[key] if value is None else value for key, value in given.items()})
        elif not isinstance(tokenizer, WordTokenizer):
            tokenizer = WordTokenizer.load(tokenizer)
        wrong = [
            f"{key}={value} (the vocabulary: {getattr(tokenizer, key)})"
            for key, value in given.items()
            if value not in (None, getattr(tokenizer, key))
        ]
        if wrong:
            raise ConfigError(f"the tokenizer is not this checkpoint's: {', '.join(wrong)}")
        encoder = EfficientNetB2()
        decoder = CaptionDecoder(tokenizer.n_words, encoder.frame_dim, pad_id=tokenizer.pad_id)
        self.captioner = Captioner(log_mel("efficientnet_captioner"), encoder, decoder, tokenizer)
        self.kd = EncoderKDLoss(encoder.frame_dim, _TEACHER_DIM, _SHARED_DIM, kind="contrastive")
        self.sample_rate_hz = self.captioner.sample_rate_hz

    @classmethod
    def config_from(cls, state_dict: dict[str, torch.Tensor], config: dict[str, Any]) -> dict[str, Any]:
        """`config` with the size of the vocabulary, read from the weights where `config` lacks it."""
        if config.get("n_words") is None and _WORDS in state_dict:
            return {**config, "n_words": len(state_dict[_WORDS])}
        return config

    @staticmethod
    def published_name(name: str) -> str:
        """The published name of one of our tensors."""
        owner, part, rest = name.split(".", 2) if name.startswith("captioner.") else (*name.split(".", 1), "")
        if owner == "kd":
            return f"model.{part}"
        return f"model.model.{'encoder.backbone.eff_net' if part == 'encoder' else part}.{rest}"

    def forward(
        self, wavs: torch.Tensor, n_samples: torch.Tensor | None = None, batch_dynamic_range: bool = False
    ) -> Any:
        """Encode clips (B, T) at ``sample_rate_hz``; see :meth:`tinyclap.models.captioner.Captioner.encode`."""
        return self.captioner.encode(wavs, n_samples, batch_dynamic_range=batch_dynamic_range)

    def generate(self, wavs: torch.Tensor, sample_rate_hz: float, **options: Any) -> torch.Tensor:
        """Word ids (B, max_words) of the best captions of clips; see ``Captioner.describe`` for the options."""
        return self.captioner.generate(wavs, sample_rate_hz, **options)

    def caption(self, wavs: torch.Tensor, sample_rate_hz: float, **options: Any) -> list[str]:
        """Caption clips of any length, rate and channels: B strings. Without a vocabulary it is a ConfigError."""
        if not self.has_words:
            raise ConfigError("no vocabulary for these ids; load the captioner with tokenizer= the file of its words")
        return self.captioner.caption(wavs, sample_rate_hz, **options)


def _nameless(n_words, start_id, end_id, pad_id):
    """A vocabulary of which only the size and three ids are known, which is enough for decoding by ids."""
    special = {pad_id: PAD, start_id: START, end_id: END}
    if len(special) < 3 or not all(0 <= index < n_words for index in special) or n_words < 4:
        ids = f"start_id={start_id}, end_id={end_id} and pad_id={pad_id}"
        raise ConfigError(f"{ids} have to be three of the {n_words} words")
    unknown_id = next(index for index in range(n_words) if index not in special)
    special[unknown_id] = UNKNOWN
    return WordTokenizer([special.get(index, f"word{index}") for index in range(n_words)])
