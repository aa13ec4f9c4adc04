"""A captioner trained on text alone: a tagger's or CLAP's output → words.

Its decoder learns from captions, with conditions made of their text (:mod:`tinyclap.teachers.text_evidence`); at
inference the conditions come from recordings (:mod:`tinyclap.models.conditioners`).
"""

from typing import NamedTuple

import torch
from torch import nn

from tinyclap.config.registry import configurable
from tinyclap.decoding.beam_search import beam_search
from tinyclap.errors import ConfigError
from tinyclap.models.caption_decoder import CaptionDecoder
from tinyclap.text.tokenizer import WordTokenizer

# Words that a caption may repeat; of all others, a repetition ("crinkling and crinkling") is an error.
FUNCTION_WORDS = tuple(
    "a an the and or of in on at by to with as while then is are being it its his her their up down off out over into "
    "through from for near nearby some followed before after very another other".split()
)


@configurable
class TextCaptioner(nn.Module):
    """Evidence (tag logits or an embedding) to words.

    Arguments
    ---------
    conditioner : torch.nn.Module. One of :mod:`tinyclap.models.conditioners`.
    decoder : tinyclap.models.caption_decoder.CaptionDecoder
    tokenizer : tinyclap.text.tokenizer.WordTokenizer
    styles : list of str. Names of the corpora; each has a learnt vector to attend to.
    may_repeat : sequence of str. Words that a caption may hold twice.
    """

    def __init__(self, conditioner, decoder, tokenizer, styles, may_repeat=FUNCTION_WORDS):
        super().__init__()
        if conditioner.frame_dim != decoder.memory_dim or tokenizer.n_words != decoder.n_words:
            found = f"vectors have {conditioner.frame_dim} channels and the vocabulary {tokenizer.n_words} words"
            wanted = f"the decoder wants {decoder.memory_dim} and {decoder.n_words}"
            raise ConfigError(f"the conditioner's {found}; {wanted}")
        if not styles:
            raise ConfigError("styles is empty; name one corpus at least")
        self.conditioner, self.decoder, self.tokenizer, self.styles = conditioner, decoder, tokenizer, list(styles)
        self.style = nn.Embedding(len(styles), decoder.memory_dim)
        self.caption_dim = conditioner.evidence_dim
        allowed = set(may_repeat)
        self._may_repeat = [index for index, word in enumerate(tokenizer.words) if word in allowed]

    def forward(self, ids, evidence, style):
        """Words (B, L), evidence (B, D) and styles (B,) → logits (B, L, V) of every next word."""
        return self.decoder(ids, *self._memory(evidence, style))

    def _memory(self, evidence, style):
        memory = torch.cat([self.conditioner(evidence), self.style(style)[:, None]], dim=1)
        return memory, torch.full((len(memory),), memory.shape[1], device=memory.device)

    @torch.no_grad()
    def generate(self, evidence, style=None, beam=3, max_words=20, min_words=3, n_best=1, allow_repeats=False):
        """Captions as :class:`tinyclap.decoding.rule.Hypotheses`.

        Arguments
        ---------
        evidence : torch.Tensor, shape (B, D)
        style : str, optional. A corpus, whose wording is imitated; by default the first.
        beam, max_words, min_words, n_best : int. See :class:`tinyclap.decoding.rule.BeamRule`.
        allow_repeats : bool. Any word may come twice.
        """
        if style is not None and style not in self.styles:
            raise ConfigError(f"style {style!r}: this captioner knows {', '.join(self.styles)}")
        index = 0 if style is None else self.styles.index(style)
        memory, n_frames = self._memory(evidence, torch.full((len(evidence),), index, device=evidence.device))
        tokenizer, decoder = self.tokenizer, self.decoder
        state = decoder.begin(memory, n_frames)
        if not allow_repeats:
            decoder = WithoutRepeats(decoder, self._may_repeat)
            state = decoder.begin(state, tokenizer.n_words, memory.device)
        min_words = min(min_words, max_words - 1)
        options = beam, max_words, min_words, n_best, (tokenizer.pad_id, tokenizer.start_id, tokenizer.unk_id)
        return beam_search(decoder, state, tokenizer.start_id, tokenizer.end_id, *options)

    def caption(self, evidence, n_best=1, **options):
        """Captions of evidence (B, D): B lists of `n_best` strings, best first; options as for :meth:`generate`."""
        found = self.generate(evidence, n_best=n_best, **options)
        return [[self.tokenizer.decode(ids) for ids in of_clip] for of_clip in found.ids.tolist()]


class _UsedState(NamedTuple):
    """``used`` (N, V): words that a row may not repeat; ``inner``: the decoder's state."""

    used: torch.Tensor
    inner: tuple


class WithoutRepeats:
    """Wrap a `decoder` (with ``step`` and ``select``) so that only words with ids in `may_repeat` come twice."""

    def __init__(self, decoder, may_repeat):
        self.decoder, self.may_repeat = decoder, list(may_repeat)

    def begin(self, inner, n_words, device):
        """The first state, around the decoder's own."""
        return _UsedState(torch.zeros(len(inner[0]), n_words, dtype=torch.bool, device=device), inner)

    def step(self, last_ids, state):
        """As the decoder's, with logits −∞ for used words."""
        logits, inner = self.decoder.step(last_ids, state.inner)
        used = state.used.scatter(1, last_ids[:, None], True)
        used[:, self.may_repeat] = False
        return logits.masked_fill(used, -torch.inf), _UsedState(used, inner)

    def select(self, state, rows):
        """As the decoder's."""
        return _UsedState(state.used[rows.reshape(-1)], self.decoder.select(state.inner, rows))


def make_text_captioner(conditioner, vocabulary, styles, n_layers=2, n_heads=4, dropout=0.0):
    """A TextCaptioner for the words of a file, which a recipe builds once its vocabulary is written (``!name:``).

    Arguments
    ---------
    conditioner, styles. As for :class:`TextCaptioner`.
    vocabulary : str or os.PathLike. See :meth:`tinyclap.text.tokenizer.WordTokenizer.load`.
    n_layers, n_heads, dropout. Of the :class:`tinyclap.models.caption_decoder.CaptionDecoder`.
    """
    tokenizer, width = WordTokenizer.load(vocabulary), conditioner.frame_dim
    sizes = {"width": width, "n_layers": n_layers, "n_heads": n_heads, "ffn_width": 4 * width, "dropout": dropout}
    decoder = CaptionDecoder(tokenizer.n_words, width, pad_id=tokenizer.pad_id, **sizes)
    return TextCaptioner(conditioner, decoder, tokenizer, styles)
