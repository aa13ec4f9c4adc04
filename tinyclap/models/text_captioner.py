"""A captioner whose decoder never heard a sound: it turns evidence of what there is to hear into words.

Evidence is one vector a clip that a text can stand for as well as a recording: the logits of a tagger's tags, or an
embedding of a space that audio and text share. The decoder learns from captions and evidence made of their text
(:mod:`tinyclap.teachers.text_evidence`); with evidence of recordings in its place, it captions them.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.configurable import configurable
from tinyclap.decoding import search
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
_MIN_PROBABILITY = 1e-7  # of a tag: where its logit ends


@configurable
class TagConditioner(nn.Module):
    """Logits of tags → the likeliest tags, one vector each, for a decoder to attend to.

    Arguments
    ---------
    n_tags : int
        K.
    label_dim : int
        Width of the labels' sentence embeddings.
    width : int
        C, of the vectors.
    n_likeliest : int
        How many tags the decoder is shown.
    prior_floor : float
        Added to the tags' priors, so that a tag never heard does not rule.

    Notes
    -----
    Which tags are shown, and the order of their weights in the summary, is a matter of p / √(prior + floor): a frequent
    tag (Speech, Music, Animal) says less than a rare one of the same probability p. A vector is the sum of maps of the
    label's sentence embedding (so that labels that mean alike begin alike), of a vector of the label's own, and of its
    logit and its corrected log-probability. One more vector is the mean of the shown labels' embeddings, weighted by
    the corrected probabilities. Labels, priors and centre are buffers that :meth:`calibrate` fills.

    Example
    -------
    >>> conditioner = TagConditioner(n_tags=20, label_dim=8, width=16, n_likeliest=5)
    >>> conditioner(torch.zeros(2, 20)).shape
    torch.Size([2, 6, 16])
    """

    def __init__(self, n_tags, label_dim, width=256, n_likeliest=10, prior_floor=1e-3):
        super().__init__()
        if not 0 < n_likeliest <= n_tags:
            raise ConfigError(f"n_likeliest={n_likeliest} of {n_tags} tags")
        self.frame_dim, self.evidence_dim, self.n_likeliest, self.prior_floor = width, n_tags, n_likeliest, prior_floor
        self.register_buffer("label_rows", torch.zeros(n_tags, label_dim))
        self.register_buffer("prior", torch.zeros(n_tags))
        self.register_buffer("centre", torch.zeros(n_tags))
        self.meaning = nn.Linear(label_dim, width)
        self.own = nn.Embedding(n_tags, width)
        nn.init.normal_(self.own.weight, std=0.02)
        self.strength = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, width))
        self.summary = nn.Linear(label_dim, width)
        self.norm = nn.LayerNorm(width)

    def calibrate(self, label_rows, prior, centre):
        """Set the labels' sentence embeddings (K, label_dim), the tags' mean probabilities and mean logits (K,)."""
        self.label_rows.copy_(label_rows)
        self.prior.copy_(prior)
        self.centre.copy_(centre)

    def forward(self, evidence):
        """Turn logits (B, K) into vectors (B, n_likeliest + 1, width)."""
        salience = torch.log(evidence.sigmoid() + 1e-4) - 0.5 * torch.log(self.prior + self.prior_floor)
        salience, shown = salience.topk(self.n_likeliest, dim=-1)
        logits = evidence.gather(1, shown).clamp(-8, 4)  # what lies below is silence, whatever the number
        rows = self.label_rows[shown]
        tags = self.meaning(rows) + self.own(shown) + self.strength(torch.stack([logits / 4, salience / 3], dim=-1))
        mean = (salience.softmax(dim=-1)[..., None] * rows).sum(dim=1, keepdim=True)
        return self.norm(torch.cat([tags, self.summary(mean)], dim=1))

    def from_audio(self, probabilities):
        """A tagger's probabilities (B, K) → evidence (B, K)."""
        return torch.logit(probabilities.clamp(_MIN_PROBABILITY, 1 - _MIN_PROBABILITY))

    def clip_vector(self, evidence):
        """What stands for a clip in encoder-level distillation, (B, K): how far each logit lies from its usual place.

        All tags count, heard or not: a student that can tell them all can tell what the decoder needs. Centred, because
        all clips would point one way otherwise, and divided by four, which makes it about as long as other embeddings.
        """
        return (evidence - self.centre) / 4


@configurable
class EmbeddingConditioner(nn.Module):
    """An embedding of a space shared by audio and text → a few vectors for a decoder to attend to.

    Arguments
    ---------
    embed_dim : int
        D.
    width : int
        C, of the vectors.
    n_vectors : int
    bank_size : int
        How many texts' embeddings are kept, in float16.
    pull : float
        Temperature of the softmax over the bank, in units of cosine similarity.

    Notes
    -----
    Audio and text lie apart in such spaces (Liang et al., "Mind the Gap", NeurIPS 2022), so audio is drawn onto the
    texts: it becomes the mean of a bank of texts, weighted by the softmax of its cosines with them over `pull` (Li et
    al., "DeCap", ICLR 2023).

    Example
    -------
    >>> EmbeddingConditioner(embed_dim=8, width=16, bank_size=3)(torch.ones(2, 8)).shape
    torch.Size([2, 4, 16])
    """

    def __init__(self, embed_dim, width=256, n_vectors=4, bank_size=16384, pull=0.02):
        super().__init__()
        self.frame_dim, self.evidence_dim, self.bank_size, self.pull = width, embed_dim, bank_size, pull
        self.register_buffer("bank", torch.zeros(bank_size, embed_dim, dtype=torch.float16))
        self.vectors = nn.Linear(embed_dim, n_vectors * width)
        self.norm = nn.LayerNorm(width)

    def calibrate(self, bank):
        """Set the bank (bank_size, D): unit vectors, the mean of all texts taken away."""
        self.bank.copy_(bank)

    def forward(self, evidence):
        """Turn unit vectors (B, D) into vectors (B, n_vectors, width)."""
        return self.norm(self.vectors(evidence).unflatten(-1, (-1, self.frame_dim)))

    def from_audio(self, embeddings):
        """A teacher's audio embeddings (B, D) → evidence (B, D)."""
        bank = self.bank.to(embeddings.dtype)
        cosines = F.normalize(embeddings, dim=-1) @ bank.T
        return F.normalize((cosines / self.pull).softmax(dim=-1) @ bank, dim=-1)

    def clip_vector(self, evidence):
        """What stands for a clip in encoder-level distillation, (B, D): the evidence."""
        return evidence


@configurable
class TextCaptioner(nn.Module):
    """Evidence to words.

    Arguments
    ---------
    conditioner : TagConditioner or EmbeddingConditioner
    decoder : tinyclap.models.caption_decoder.CaptionDecoder
    tokenizer : tinyclap.tokenizer.WordTokenizer
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
            See :func:`tinyclap.decoding.beam_search`.
        allow_repeats : bool
            A caption may say the same word twice, whatever the word.

        Returns
        -------
        tinyclap.decoding.Hypotheses

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
    """A decoder, for :func:`tinyclap.decoding.beam_search`, that does not say a word twice.

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


def make_conditioner(condition, width, n_tags, label_dim, n_likeliest, embed_dim, bank_size):
    """The conditioner of a recipe's key ``condition``: see :class:`TagConditioner`, :class:`EmbeddingConditioner`."""
    if condition == "tags":
        return TagConditioner(n_tags, label_dim, width, n_likeliest)
    if condition == "embedding":
        return EmbeddingConditioner(embed_dim, width, bank_size=bank_size)
    raise ConfigError(f"condition {condition!r} is unknown; choose 'tags' or 'embedding'")
