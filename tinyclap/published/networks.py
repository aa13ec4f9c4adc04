"""Published networks loaded by name; Microsoft CLAP 2022, tinyCLAP's students, taggers of EfficientAT and CED.

Source: github.com/microsoft/CLAP, huggingface.co/fpaissan/tinyCLAP, github.com/fschmid56/EfficientAT,
github.com/RicherMans/CED.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.checkpoints.state import read_state_dict, strict_load, unwrapped
from tinyclap.errors import ConfigError
from tinyclap.features.front_ends import log_mel
from tinyclap.models.ced import Ced
from tinyclap.models.cnn14 import Cnn14
from tinyclap.models.mobilenet import MobileNet
from tinyclap.models.phinet import PhiNet
from tinyclap.models.projection import ClapProjection
from tinyclap.models.student import AudioStudent
from tinyclap.models.text import BertTextTower
from tinyclap.published.table import PUBLISHED
from tinyclap.published.tokenizers import BERT, hub_tokenizer


def load_published(name: str, state_dict: Any = None, path: str | os.PathLike[str] | None = None, **config: Any) -> Any:
    """Load a published network strictly, in eval mode; only a tokenizer by its hub name needs a connection.

    Arguments
    ---------
    name : {"msclap2022", "tinyclap-student", "efficientat-mn", "ced", "effb2-trm", "wavcaps-htsat-bart"}
        See :data:`tinyclap.published.table.PUBLISHED`.
    state_dict : dict of str to torch.Tensor, optional. The weights under their published names.
    path : str or os.PathLike, optional. The published file; exactly one of the two is given.
    **config
        ``msclap2022``, ``wavcaps-htsat-bart``: ``tokenizer`` (folder, or name on the hub), and of the latter sizes
        ``htsat`` and ``bart``. ``tinyclap-student``: ``alpha``, ``beta``, ``t_zero``, ``n_layers``.
        ``efficientat-mn``: ``width``. ``ced``: none. ``effb2-trm``: ``tokenizer`` (the vocabulary's file), or
        ``start_id``, ``end_id``, ``pad_id`` without one.

    Raises
    ------
    ConfigError: The name or a keyword is unknown, or not exactly one of `state_dict` and `path` is given.
    CheckpointError: The file cannot be read, or a tensor is missing, surplus or of another shape; all are named.

    Example
    -------
    >>> load_published("efficientat-mn", state_dict={"a": torch.zeros(1)})
    Traceback (most recent call last):
    tinyclap.errors.CheckpointError: the state dict for 'efficientat-mn' (width=0.4) does not fit ...
    """
    known = {key: row.arguments for key, row in PUBLISHED.items() if row.arguments is not None}
    if name not in known:
        raise ConfigError(f"no published network {name!r}; there are {', '.join(known)}")
    published = PUBLISHED[name]
    unknown = sorted(set(config) - set(known[name]))
    if unknown:
        raise ConfigError(f"{name} takes {', '.join(known[name]) or 'no options'}; not {', '.join(unknown)}")
    if (state_dict is None) == (path is None):
        raise ConfigError(f"{name}: give the weights either as state_dict or as path, and only one of them")
    if path is None:
        state_dict = unwrapped(dict(state_dict), "the state dict")
    else:
        state_dict = read_state_dict(published.at(path))
    cls = published.network_class()
    if hasattr(cls, "renamed"):
        state_dict = cls.renamed(state_dict)
    if hasattr(cls, "config_from"):
        config = cls.config_from(state_dict, config)
    network = cls(**config)
    shown = ", ".join(f"{key}={value}" for key, value in config.items()) or network.defaults
    source = f"{'the state dict' if path is None else path} for '{name}'" + (f" ({shown})" if shown else "")
    return strict_load(network, state_dict, network.published_name, network.allowed_extra, source).eval()


class _Published(nn.Module):
    """Base of the networks with an audio tower named ``audio``, at ``sample_rate_hz``, of width ``embed_dim``.

    ``allowed_extra`` holds patterns of published names that may be present and stay unused; ``defaults``, for messages,
    the arguments where none was given.
    """

    allowed_extra: tuple[str, ...] = ()
    defaults = ""

    def __init__(self, audio):
        super().__init__()
        self.audio = audio
        self.sample_rate_hz, self.embed_dim = audio.sample_rate_hz, audio.embed_dim

    def forward(self, wavs):
        """Encode clips (B, T) at ``sample_rate_hz``; see :meth:`tinyclap.models.student.AudioStudent.forward`."""
        return self.audio(wavs)

    def embed_audio(self, wavs, sample_rate_hz, batch_size=32):
        """Embed clips of any length, rate and channels: L2-normalised (B, D); see ``AudioStudent.embed_audio``."""
        return self.audio.embed_audio(wavs, sample_rate_hz, batch_size)

    def fold(self):
        """The audio tower alone, with the same function and fewer parameters; see ``AudioStudent.fold``."""
        return self.audio.fold()


class MsClap2022(_Published):
    """Microsoft CLAP 2022: CNN14 and BERT, 1024 dimensions, windows of 5 s: shorter clips tiled, longer ones averaged.

    `tokenizer` is a folder or the hub name of BERT's tokenizer, which is loaded by the first `embed_text`.
    """

    max_tokens = 100
    allowed_extra = (
        r"^logit_scale$",
        r"^audio_encoder\..*(spectrogram|logmel)",
        r"^caption_encoder\.base\.embeddings\.position_ids$",
    )

    def __init__(self, tokenizer: str = BERT) -> None:
        encoder = Cnn14(n_mels=64, n_tags=527)
        super().__init__(AudioStudent(log_mel("clap2022"), encoder, ClapProjection(encoder.embed_dim, 1024)))
        self.text = BertTextTower(1024)
        self._tokenizer_source = tokenizer

    @cached_property
    def tokenizer(self) -> Any:
        """BERT's tokenizer."""
        return hub_tokenizer(self._tokenizer_source, BERT)

    @staticmethod
    def published_name(name: str) -> str:
        """The published name of one of our tensors."""
        tower, part, rest = name.split(".", 2)
        return f"{'audio_encoder' if tower == 'audio' else 'caption_encoder'}.{part.replace('encoder', 'base')}.{rest}"

    @torch.no_grad()
    def embed_tokens(self, input_ids: Any, attention_mask: Any) -> torch.Tensor:
        """Embed token ids (N, L) with their mask (N, L; 1 for tokens, 0 for padding): L2-normalised (N, 1024)."""
        device = next(self.text.parameters()).device
        ids = torch.as_tensor(input_ids, dtype=torch.int64, device=device)
        mask = torch.as_tensor(attention_mask, dtype=torch.int64, device=device)
        return F.normalize(self.text(ids, mask), dim=-1)

    def embed_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Embed N strings, each cut at 100 tokens as published: L2-normalised (N, 1024)."""
        options = {"padding": True, "truncation": True, "max_length": self.max_tokens, "return_tensors": "pt"}
        tokens = self.tokenizer(list(texts), **options)
        return self.embed_tokens(tokens["input_ids"], tokens["attention_mask"])


class TinyClapStudent(_Published):
    """A published tinyCLAP student: PhiNet (`alpha`, `beta`, `t_zero`, `n_layers`), CLAP's head and its windows."""

    defaults = "alpha=1.5, beta=0.75, t_zero=6, n_layers=7"

    def __init__(self, alpha: float = 1.5, beta: float = 0.75, t_zero: float = 6, n_layers: int = 7) -> None:
        encoder = PhiNet(n_mels=64, alpha=alpha, beta=beta, t_zero=t_zero, n_layers=n_layers)
        super().__init__(AudioStudent(log_mel("clap2022"), encoder, ClapProjection(encoder.embed_dim, 1024)))

    @staticmethod
    def published_name(name: str) -> str:
        """The published name of one of our tensors."""
        return name.removeprefix("audio.").replace("encoder.", "base.", 1)


class _Tagger(_Published):
    """Base of the taggers of AudioSet's 527 labels: logits, and features that are not normalised."""

    def embed_audio(self, wavs: torch.Tensor, sample_rate_hz: float, batch_size: int = 32) -> torch.Tensor:
        """Embed clips of any length, rate and channels: features (B, embed_dim), not normalised."""
        return self.audio.embed_windows(lambda windows: self.audio(windows).clip, wavs, sample_rate_hz, batch_size)

    def tag(self, wavs: torch.Tensor, sample_rate_hz: float, batch_size: int = 32) -> torch.Tensor:
        """Tag clips of any length, rate and channels: logits (B, 527), averaged over a clip's windows."""
        return self.audio.embed_windows(self.window_logits, wavs, sample_rate_hz, batch_size)

    def window_logits(self, wavs: torch.Tensor) -> torch.Tensor:
        """Tag clips of one length (B, T) at ``sample_rate_hz`` in one pass: logits (B, 527)."""
        return self.audio.encoder.tag_logits(self.audio(wavs).clip)

    @classmethod
    def encoder_name(cls, name: str) -> str:
        """The published name of a tensor of our encoder."""
        return cls.published_name(f"audio.encoder.{name}")

    @staticmethod
    def published_name(name: str) -> str:
        """The published name of one of our tensors."""
        return name.removeprefix("audio.encoder.")


class EfficientAtMn(_Tagger):
    """A published EfficientAT "mn" tagger: 527 AudioSet tags, and features that are not normalised.

    Clips up to 30 s go through whole (the published code has no limit), longer ones in windows of 30 s, averaged; those
    under 1 s are tiled to it. `width` is 0.4 for mn04, 1.0 for mn10, and so on.
    """

    defaults = "width=0.4"
    not_encoder = (r"^classifier\.", r"^fc_audioset\.")

    def __init__(self, width: float = 0.4) -> None:
        window = {"window_s": 30.0, "short": "native"}
        super().__init__(AudioStudent(log_mel("efficientat"), MobileNet(width=width), window=window))

    @staticmethod
    def published_name(name: str) -> str:
        """The published name of one of our tensors."""
        name = name.removeprefix("audio.encoder.")
        name = name.replace(".fc1.", ".conc_se_layers.0.fc1.").replace(".fc2.", ".conc_se_layers.0.fc2.")
        return name.replace("classifier.0.", "classifier.2.").replace("classifier.3.", "classifier.5.")


class CedTagger(_Tagger):
    """A published CED tagger of `width` features (192 in tiny), which is read from its weights.

    Clips over 10 s go through in windows, averaged; those under 1 s are tiled to it. The published `top_db` counts from
    the batch's maximum; here from each clip's.
    """

    allowed_extra = (r"^front_end\.",)
    not_encoder = (*allowed_extra, r"^outputlayer\.")

    def __init__(self, width: int = 192) -> None:
        encoder = Ced(width=width, n_tags=527)
        window = {"window_s": 10.0, "short": "native"}
        super().__init__(AudioStudent(log_mel(encoder.front_end), encoder, window=window))

    @staticmethod
    def renamed(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """A state dict of Zenodo's or of Hugging Face's names under the names that both share."""
        return {
            name.removeprefix("encoder.").replace("init_bn.1.", "init_bn."): tensor
            for name, tensor in state_dict.items()
        }

    @classmethod
    def config_from(cls, state_dict: dict[str, torch.Tensor], config: dict[str, Any]) -> dict[str, Any]:
        """The width of the weights."""
        return {"width": len(state_dict["norm.weight"])} if "norm.weight" in state_dict else {}
