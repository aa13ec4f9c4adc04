"""A captioner whose decoder never heard a sound: it turns evidence of what there is to hear into words.

The decoder learns from captions and evidence made of their text (:mod:`tinyclap.teachers.text_evidence`); with evidence
of recordings in its place (:mod:`tinyclap.models.conditioners`), it captions them.
"""

from typing import NamedTuple

import torch
from torch import nn

from tinyclap.config.registry import configurable
from tinyclap.decoding.beam_search import search
from tinyclap.errors import ConfigError

# Words that captions say twice for good reason; of all others, an echo ("crinkling and crinkling") is an error.
FUNCTION_WORDS = (
    *("a", "an", "the", "and", "or", "of", "in", "on", "at", "by", "to", "with", "as", "while", "then", "is", "are"),
    *(
        "being",
        "it",
        "its",
        "his",
        "her",
        "their",
        "up",
        "down",
        "off",
        "out",
        "over",
        "into",
        "through",
        "from",
        "for",
    ),
    *("near", "nearby", "some", "followed", "before", "after", "very", "another", "other"),
)


@configurable
class TextCaptioner(nn.Module):
    """Evidence to words.

    Arguments
    ---------
    conditioner : torch.nn.Module
        One of :mod:`tinyclap.models.conditioners`.
    decoder : tinyclap.models.caption_decoder.CaptionDecoder
    tokenizer : tinyclap.text.tokenizer.WordTokenizer
    styles : list of str
        Names of the corpora; how each of them words its captions is one more vector to attend to.
    may_repeat : sequence of str
        Words that a caption may hold twice.

    Raises
    ------
    ConfigError
        Parts that do not fit each other, or no style.
    """

    def __init__(self, conditioner, decoder, tokenizer, styles, may_repeat=FUNCTION_WORDS):
        super().__init__()
        if conditioner.frame_dim != decoder.memory_dim or tokenizer.n_words != decoder.n_words:
            raise ConfigError(
                f"the conditioner's vectors have {conditioner.frame_dim} channels and the vocabulary "
                f"{tokenizer.n_words} words; the decoder wants {decoder.memory_dim} and {decoder.n_words}"
            )
        if not styles:
            raise ConfigError("styles is empty; name one corpus at least")
        self.conditioner, self.decoder, self.tokenizer, self.styles = conditioner, decoder, tokenizer, list(styles)
        self.style = nn.Embedding(len(styles), decoder.memory_dim)
        self.caption_dim = conditioner.evidence_dim
        allowed = set(may_repeat)
        self._may_repeat = [index for index, word in enumerate(tokenizer.words) if word in allowed]

    def forward(self, ids, evidence, style):
        """Predict every next word of given captions.

        Arguments
        ---------
        ids : torch.Tensor, shape (B, L), int64
        evidence : torch.Tensor, shape (B, D)
        style : torch.Tensor, shape (B,), int64

        Returns
        -------
        torch.Tensor, shape (B, L, V)
        """
        return self.decoder(ids, *self._memory(evidence, style))

    def _memory(self, evidence, style):
        memory = torch.cat([self.conditioner(evidence), self.style(style)[:, None]], dim=1)
        return memory, torch.full((len(memory),), memory.shape[1], device=memory.device)

    @torch.no_grad()
    def generate(self, evidence, style=None, beam=3, max_words=20, min_words=3, n_best=1, allow_repeats=False):
        """Search for the captions of evidence (B, D).

        Arguments
        ---------
        evidence : torch.Tensor, shape (B, D)
        style : str, optional
            Whose wording; by default that of the first corpus.
        beam, max_words, min_words, n_best : int
            See :func:`beam_search`; fewer words are asked for where `max_words` leaves no more.
        allow_repeats : bool
            A caption may say the same word twice, whatever the word.

        Returns
        -------
        tinyclap.decoding.beam_search.Hypotheses

        Raises
        ------
        ConfigError
            There is no such style.
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
        never = (tokenizer.pad_id, tokenizer.start_id, tokenizer.unk_id)
        return search(
            decoder,
            state,
            tokenizer.start_id,
            tokenizer.end_id,
            beam,
            max_words,
            min_words,
            n_best,
            forbidden_ids=never,
        )

    def caption(self, evidence, n_best=1, **options):
        """Captions of evidence (B, D): list of B lists of `n_best` strings, best first; see :meth:`generate`."""
        found = self.generate(evidence, n_best=n_best, **options)
        return [[self.tokenizer.decode(ids) for ids in of_clip] for of_clip in found.ids.tolist()]


class _SaidState(NamedTuple):
    """``said`` (N, V): whether a row has said a word that it may not say again; ``inner``: the decoder's state."""

    said: torch.Tensor
    inner: tuple


class WithoutRepeats:
    """A decoder, for :func:`tinyclap.decoding.beam_search.beam_search`, that does not say a word twice.

    Arguments
    ---------
    decoder
        With ``step`` and ``select``.
    may_repeat : sequence of int
        Ids of the words that it may.
    """

    def __init__(self, decoder, may_repeat):
        self.decoder, self.may_repeat = decoder, list(may_repeat)

    def begin(self, inner, n_words, device):
        """The state of rows that have said nothing, from the decoder's own."""
        return _SaidState(torch.zeros(len(inner[0]), n_words, dtype=torch.bool, device=device), inner)

    def step(self, last_ids, state):
        """Predict one word of each row: ((N, V) logits, −∞ where the word was said; the new state)."""
        logits, inner = self.decoder.step(last_ids, state.inner)
        said = state.said.scatter(1, last_ids[:, None], True)
        said[:, self.may_repeat] = False
        return logits.masked_fill(said, -torch.inf), _SaidState(said, inner)

    def select(self, state, rows):
        """Take rows of a state; see :meth:`tinyclap.models.caption_decoder.CaptionDecoder.select`."""
        return _SaidState(state.said[rows.reshape(-1)], self.decoder.select(state.inner, rows))
