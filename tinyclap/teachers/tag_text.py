"""The text side of the tag space: a sentence is a softmax over a tagger's labels, with no audio–text training.

Each label has several readings, itself and its comma-separated parts, of which the most similar one counts. A tag's
probability is divided by its prior (its mean over unlabelled clips); the square root keeps one very certain tag from
outvoting all others: the score is Σ_k √(p_k / (prior_k + floor)) · softmax_k(similarity / temperature).
"""

import re
from functools import cached_property

import torch
import torch.nn.functional as F

from tinyclap.errors import ConfigError
from tinyclap.teachers.base import class_embeddings, score
from tinyclap.teachers.sentences import DEFAULT_ENCODER, SentenceEncoder

DEFAULT_TEMPLATES = ("{}", "the sound of {}")


def label_readings(label):
    """The readings of a label: itself and its parts, in lower case, without duplicates.

    Example
    -------
    >>> label_readings("Vehicle horn, car horn, honking")
    ['vehicle horn, car horn, honking', 'vehicle horn', 'car horn', 'honking']
    """
    whole = label.lower().strip()
    parts = (part.strip() for part in re.split(r"[,()]", whole))
    return list(dict.fromkeys([whole, *filter(None, parts)]))


class TagSpaceText:
    """Sentences → vectors over a tagger's labels.

    Arguments
    ---------
    labels : list of str. In the tagger's order.
    prior : list of float, optional. Mean probability of each label over unlabelled clips.
    sentence_encoder : str. See :class:`tinyclap.teachers.sentences.SentenceEncoder`.
    temperature : float. Of the softmax over labels, in units of cosine similarity.
    prior_floor : float. Added to the prior, so that labels that never occur do not dominate.
    templates : sequence of str. Of the labels; and of class names by default.
    """

    score_kind = "sqrt_dot"

    def __init__(
        self,
        labels,
        prior=None,
        sentence_encoder=DEFAULT_ENCODER,
        temperature=0.06,
        prior_floor=1e-3,
        templates=DEFAULT_TEMPLATES,
    ):
        if prior is not None and len(prior) != len(labels):
            raise ConfigError(f"the prior has {len(prior)} entries for {len(labels)} labels; fit it with this tagger")
        self.labels, self.temperature, self.prior_floor = list(labels), temperature, prior_floor
        self.prior, self.default_templates = prior, tuple(templates)
        self.sentence_encoder, self.embed_dim = sentence_encoder, len(self.labels)

    @cached_property
    def encoder(self):
        """The sentence encoder, read when it is first used."""
        return SentenceEncoder(self.sentence_encoder)

    @cached_property
    def readings(self):
        """All labels' readings: their embeddings (R, D), and the label that each is of (R,)."""
        readings = [(k, reading) for k, label in enumerate(self.labels) for reading in label_readings(label)]
        prompts = [[template.format(reading) for template in self.default_templates] for _, reading in readings]
        return self._mean(prompts), torch.tensor([k for k, _ in readings])

    def _mean(self, prompts):
        return F.normalize(class_embeddings(self.encoder, prompts, "dot"), dim=-1)

    def embed_classes(self, prompts):
        """One vector a class: list of list of str, N × K → (N, K_labels), ≥ 0; prompts are averaged as sentences."""
        readings, owners = self.readings
        best = torch.full((len(prompts), len(self.labels)), -torch.inf)
        best.scatter_reduce_(1, owners.expand(len(prompts), -1), self._mean(prompts) @ readings.T, reduce="amax")
        rows = torch.softmax(best / self.temperature, dim=-1)
        if self.prior is not None:
            rows = rows / (torch.tensor(self.prior, dtype=rows.dtype) + self.prior_floor).sqrt()
        return rows

    def embed_text(self, texts):
        """Embed N sentences: (N, K_labels)."""
        return self.embed_classes([[text] for text in texts])

    def score(self, audio, text):
        """Tag probabilities (B, K_labels) and text vectors (N, K_labels) → (B, N)."""
        return score(audio, text, self.score_kind)

    def text_side(self):
        """Its config, JSON-able."""
        found = {"kind": "tag_space", "labels": self.labels, "prior": self.prior}
        found |= {"sentence_encoder": str(self.sentence_encoder), "temperature": self.temperature}
        return {**found, "prior_floor": self.prior_floor, "templates": list(self.default_templates)}
