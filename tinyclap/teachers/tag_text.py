"""The text side of the tag space: a sentence is a soft choice among a tagger's labels.

No audio–text training is involved. A tagger says which of its K labels it hears; a sentence encoder says which labels
a sentence means; both are vectors over the same K labels, and their product says how well they agree. The pieces:

* Every label is read as itself and as its comma-separated parts ("Rail transport", "Dog, canine" …): a sentence has to
  mean one of them.
* Frequent tags say little. A tag's probability is divided by its prior, the mean probability over unlabelled clips
  (the ratio p(tag | clip) / p(tag) is what a likelihood-based decision would use); the square root keeps one very
  certain tag from outvoting all else. So score = Σ_k √(p_k / (prior_k + floor)) · softmax_k(similarity / temperature).
"""

import re

import torch
import torch.nn.functional as F

from tinyclap.errors import ConfigError
from tinyclap.teachers.base import score
from tinyclap.teachers.sentences import DEFAULT_ENCODER, SentenceEncoder

DEFAULT_TEMPLATES = ("{}", "the sound of {}")


def label_readings(label):
    """A label and its parts, in lower case.

    Arguments
    ---------
    label : str
        As the tagger's table has it.

    Returns
    -------
    list of str
        The whole first, no duplicates.

    Example
    -------
    >>> label_readings("Vehicle horn, car horn, honking")
    ['vehicle horn, car horn, honking', 'vehicle horn', 'car horn', 'honking']
    """
    whole = label.lower().strip()
    parts = [part.strip() for part in re.split(r"[,()]", whole)]
    return list(dict.fromkeys([whole, *(part for part in parts if part)]))


class TagSpaceText:
    """Sentences → vectors over a tagger's labels.

    Arguments
    ---------
    labels : list of str, K of them
        In the tagger's order.
    prior : list of float, length K, optional
        Mean probability of each label over unlabelled clips, each in [0, 1]; without it no label is held frequent.
    sentence_encoder : str
        See :class:`tinyclap.teachers.sentences.SentenceEncoder`.
    temperature : float
        Of the softmax over labels, in units of cosine similarity.
    prior_floor : float
        Added to the prior, so that labels never heard do not rule.
    templates : sequence of str
        Wrapped around labels; a class name's own templates come from the recipe (these by default).

    Raises
    ------
    ConfigError
        `prior` has another length than `labels`.
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
        self.sentence_encoder = sentence_encoder
        self.embed_dim = len(self.labels)
        self._encode = None

    def _load(self):
        self._encode = SentenceEncoder(self.sentence_encoder)
        readings = [label_readings(label) for label in self.labels]
        self._owners = torch.tensor([k for k, of_label in enumerate(readings) for _ in of_label])
        self._readings = self._mean_over_templates([reading for of_label in readings for reading in of_label])

    def _mean_over_templates(self, names):
        return self._mean([[template.format(name) for template in self.default_templates] for name in names])

    def _mean(self, prompts):
        flat = self._encode([prompt for of_one in prompts for prompt in of_one])
        return torch.stack(
            [F.normalize(part.mean(dim=0), dim=-1) for part in flat.split([len(of_one) for of_one in prompts])]
        )

    def embed_classes(self, prompts):
        """One vector a class; a class's prompts are averaged as sentences, before they meet the labels.

        Arguments
        ---------
        prompts : list of list of str, N × K

        Returns
        -------
        torch.Tensor, shape (N, K_labels)
            ≥ 0; its product with √p is the score.
        """
        if self._encode is None:
            self._load()
        similarities = self._mean(prompts) @ self._readings.T
        best = torch.full((len(prompts), len(self.labels)), -torch.inf)
        best.scatter_reduce_(1, self._owners.expand(len(prompts), -1), similarities, reduce="amax")
        rows = torch.softmax(best / self.temperature, dim=-1)
        if self.prior is not None:
            rows = rows / (torch.tensor(self.prior, dtype=rows.dtype) + self.prior_floor).sqrt()
        return rows

    def embed_text(self, texts):
        """Sentences → (N, K_labels), each taken as it stands."""
        return self.embed_classes([[text] for text in texts])

    def score(self, audio, text):
        """Tag probabilities (B, K_labels) and text vectors (N, K_labels) → (B, N)."""
        return score(audio, text, self.score_kind)

    @property
    def config(self):
        """What rebuilds this text side, JSON-able."""
        return {
            "kind": "tag_space",
            "labels": self.labels,
            "prior": self.prior,
            "sentence_encoder": str(self.sentence_encoder),
            "temperature": self.temperature,
            "prior_floor": self.prior_floor,
            "templates": list(self.default_templates),
        }
