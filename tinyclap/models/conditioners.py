"""Conditions of the text-trained captioner: a tagger's logits or a shared embedding → vectors for cross-attention."""

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.config.registry import configurable
from tinyclap.errors import ConfigError

_MIN_PROBABILITY = 1e-7  # of a tag: where its logit ends


@configurable
class TagConditioner(nn.Module):
    """Tag logits (B, K) → one vector for each of the most salient tags, and one for their mean.

    Arguments
    ---------
    n_tags, label_dim, width : int. K, width of the labels' sentence embeddings, and C of the vectors.
    n_likeliest : int. Tags to attend to.
    prior_floor : float. Added to the tags' priors.

    Notes
    -----
    Salience is p / √(prior + floor). A tag's vector is the sum of maps of its label's sentence embedding, of its logit
    and its salience, and of a learnt vector; the last one is the mean of the labels' embeddings, weighted by salience.
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
        """Set the labels' sentence embeddings (K, label_dim), mean probabilities and mean logits (K,)."""
        self.label_rows.copy_(label_rows)
        self.prior.copy_(prior)
        self.centre.copy_(centre)

    def forward(self, evidence):
        """(B, K) → (B, n_likeliest + 1, width)."""
        salience = torch.log(evidence.sigmoid() + 1e-4) - 0.5 * torch.log(self.prior + self.prior_floor)
        salience, shown = salience.topk(self.n_likeliest, dim=-1)
        logits = evidence.gather(1, shown).clamp(-8, 4)  # anything below is absence
        rows = self.label_rows[shown]
        tags = self.meaning(rows) + self.own(shown) + self.strength(torch.stack([logits / 4, salience / 3], dim=-1))
        mean = (salience.softmax(dim=-1)[..., None] * rows).sum(dim=1, keepdim=True)
        return self.norm(torch.cat([tags, self.summary(mean)], dim=1))

    def from_audio(self, probabilities):
        """A tagger's probabilities (B, K) → evidence (B, K)."""
        return torch.logit(probabilities.clamp(_MIN_PROBABILITY, 1 - _MIN_PROBABILITY))

    def clip_vector(self, evidence):
        """Centred logits (B, K), the clip vector of encoder-level distillation; a quarter, to be as long as others."""
        return (evidence - self.centre) / 4


@configurable
class EmbeddingConditioner(nn.Module):
    """An embedding of a space shared by audio and text → `n_vectors` vectors.

    Arguments
    ---------
    embed_dim, width, n_vectors : int. D, C of the vectors, and their number.
    bank_size : int. Text embeddings that are kept, in float16.
    pull : float. Temperature of the softmax over the bank.

    Notes
    -----
    Audio embeddings lie apart from texts (Liang et al., "Mind the Gap", NeurIPS 2022), so they are projected: the mean
    of a bank of text embeddings, weighted by the softmax of cosine / `pull` (Li et al., "DeCap", ICLR 2023).
    """

    def __init__(self, embed_dim, width=256, n_vectors=4, bank_size=16384, pull=0.02):
        super().__init__()
        self.frame_dim, self.evidence_dim, self.bank_size, self.pull = width, embed_dim, bank_size, pull
        self.register_buffer("bank", torch.zeros(bank_size, embed_dim, dtype=torch.float16))
        self.vectors = nn.Linear(embed_dim, n_vectors * width)
        self.norm = nn.LayerNorm(width)

    def calibrate(self, bank):
        """Set the text embeddings (bank_size, D): centred, then L2-normalised."""
        self.bank.copy_(bank)

    def forward(self, evidence):
        """L2-normalised embeddings (B, D) → (B, n_vectors, width)."""
        return self.norm(self.vectors(evidence).unflatten(-1, (-1, self.frame_dim)))

    def from_audio(self, embeddings):
        """A teacher's audio embeddings (B, D) → evidence (B, D)."""
        bank = self.bank.to(embeddings.dtype)
        cosines = F.normalize(embeddings, dim=-1) @ bank.T
        return F.normalize((cosines / self.pull).softmax(dim=-1) @ bank, dim=-1)

    def clip_vector(self, evidence):
        """The evidence (B, D) itself, the clip vector of encoder-level distillation."""
        return evidence


def make_conditioner(condition, width, n_tags, label_dim, n_likeliest, embed_dim, bank_size):
    """A conditioner by name.

    Arguments
    ---------
    condition : {"tags", "embedding"}
    width, n_tags, label_dim, n_likeliest : int. See :class:`TagConditioner`.
    embed_dim, bank_size : int. See :class:`EmbeddingConditioner`.
    """
    if condition == "tags":
        return TagConditioner(n_tags, label_dim, width, n_likeliest)
    if condition == "embedding":
        return EmbeddingConditioner(embed_dim, width, bank_size=bank_size)
    raise ConfigError(f"condition {condition!r} is unknown; choose 'tags' or 'embedding'")
