"""The text tower of a model or teacher: token ids and their mask to L2-normalised rows, with its tokenizer."""

import functools
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F
from torch import nn

from tinyclap.errors import ConfigError
from tinyclap.files import sha256_of
from tinyclap.models.student import Clap
from tinyclap.models.text import WordTextTower
from tinyclap.teachers.sentences import SentenceEncoder, digest_of, find_encoder, mean_pooled
from tinyclap.teachers.tag_text import TagSpaceText


@dataclass
class TextTower:
    """A text tower with what surrounds it."""

    module: nn.Module  # ``input_ids`` and ``attention_mask`` (N, L) → (N, E), L2-normalised
    embed: object  # list of str → torch.Tensor (N, E)
    tokenizer: object  # WordIds or a tokenizer of `transformers`
    max_tokens: int
    identity: dict  # ``name`` and ``sha256`` of the weights

    @property
    def words(self):
        """The tower of whole words that it is (WordTextTower), or None."""
        inner = getattr(self.module, "tower", None)
        return inner if isinstance(inner, WordTextTower) else None

    def encode(self, texts):
        """Token ids and mask of texts, padded: two torch.Tensor (N, L)."""
        if self.words is not None:
            return self.words.encode(texts)
        tokens = self.tokenizer(list(texts), padding=True, return_tensors="pt")
        return tokens["input_ids"], tokens["attention_mask"]


def text_side_of(text):
    """What embeds the texts of a teacher, and which of its columns are left (None: all)."""
    own, inner = getattr(text, "kept", None), getattr(text, "text_embedder", None)
    side, kept = (text, None) if inner is None else text_side_of(inner)
    if own is None or kept is None:
        return side, kept if own is None else own
    return side, [kept[index] for index in own]


def text_tower(side):
    """The tower of a text `side`, the first of :func:`text_side_of`: a :class:`TextTower`."""
    if isinstance(side, TagSpaceText):
        return _of_sentences(side.encoder)
    kind = getattr(side, "kind", None)
    if kind == "tagger":
        tower = _of_sentences(side.encoder, side.label_mean.cpu())
        tower.embed = side.embed_text
        return tower
    model = getattr(side, "model", None)
    if kind == "msclap2022":
        identity = {"name": kind, "sha256": side.identity()["weights_sha256"]}
        return TextTower(_Normalised(model.text), side.embed_text, model.tokenizer, model.max_tokens, identity)
    if kind == "checkpoint" and isinstance(model, Clap) and isinstance(model.text, WordTextTower):
        identity = {"name": Path(side.weights).resolve().name, "sha256": side.identity()["weights_sha256"]}
        embed, words = functools.partial(model.embed_text, whole=True), model.text.word_ids
        return TextTower(_Normalised(model.text), embed, words, words.max_ids, identity)
    raise ConfigError(
        f"the text side {kind or type(side).__name__!r} cannot be exported; those of our runs, of msclap2022 and of "
        "taggers can. Export without it (--text_side no) and compile names by --labels"
    )


def text_identity(text):
    """Which text tower a teacher's texts go through: dict of ``name`` and ``sha256``; errors as :func:`text_tower`."""
    return text_tower(text_side_of(text)[0]).identity


def text_tokenizer(text):
    """A teacher's tokenizer with ``ids``, ``unknown_id`` and ``max_ids``, as of :class:`WordPieces`, or None."""
    side = text_side_of(text)[0]
    if isinstance(getattr(side, "encoder", None), SentenceEncoder):
        return _HubTokenizer(side.encoder)
    return side.model.text.word_ids if isinstance(getattr(side, "model", None), Clap) else None


class _HubTokenizer:
    """The tokenizer of a sentence encoder."""

    def __init__(self, encoder):
        self._tokenizer, self.unknown_id = encoder.tokenizer, encoder.tokenizer.unk_token_id
        self.max_ids = encoder.max_tokens - 2

    def ids(self, text):
        """All ids of a text, not cut: list of int."""
        return self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


class _Pooled(nn.Module):
    """A sentence encoder: hidden states averaged over the tokens that count, less a centre, L2-normalised."""

    def __init__(self, model, centre=None):
        super().__init__()
        self.model, self.centre = model, centre

    def forward(self, input_ids, attention_mask):
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        rows = mean_pooled(hidden, attention_mask)
        return rows if self.centre is None else F.normalize(rows - self.centre, dim=-1)


class _Normalised(nn.Module):
    """A text tower with L2-normalised rows."""

    def __init__(self, tower):
        super().__init__()
        self.tower = tower

    def forward(self, input_ids, attention_mask):
        return F.normalize(self.tower(input_ids, attention_mask), dim=-1)


def _of_sentences(encoder, centre=None):
    source = Path(find_encoder(encoder.name))
    weights = source / "model.safetensors"
    sha256 = sha256_of(weights) if weights.is_file() else digest_of(encoder.model)
    identity = {"name": encoder.name if not Path(encoder.name).is_dir() else source.name, "sha256": sha256}
    return TextTower(_Pooled(encoder.model, centre), encoder, encoder.tokenizer, encoder.max_tokens, identity)
