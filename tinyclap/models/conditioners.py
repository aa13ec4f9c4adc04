"""How evidence of what there is to hear becomes vectors for a caption decoder to attend to.

Evidence is one vector a clip that a text can stand for as well as a recording: the logits of a tagger's tags, or an
embedding of a space that audio and text share.
"""

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.config.registry import configurable
from tinyclap.errors import ConfigError

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


def make_conditioner(condition, width, n_tags, label_dim, n_likeliest, embed_dim, bank_size):
    """The conditioner of a recipe's key ``condition``.

    Arguments
    ---------
    condition : {"tags", "embedding"}
    width : int
        C, of its vectors.
    n_tags, label_dim, n_likeliest : int
        See :class:`TagConditioner`.
    embed_dim, bank_size : int
        See :class:`EmbeddingConditioner`.

    Returns
    -------
    TagConditioner or EmbeddingConditioner

    Raises
    ------
    ConfigError
        The condition is unknown.
    """
    if condition == "tags":
        return TagConditioner(n_tags, label_dim, width, n_likeliest)
    if condition == "embedding":
        return EmbeddingConditioner(embed_dim, width, bank_size=bank_size)
    raise ConfigError(f"condition {condition!r} is unknown; choose 'tags' or 'embedding'")
