"""Several teachers of one space as one."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.errors import ConfigError
from tinyclap.losses.common import is_number
from tinyclap.teachers.base import FrozenTeacher

_PROBES = ("the sound of a dog barking", "rain", "a man speaks while music plays in the background")
_MIN_COSINE = 0.9999


class EnsembleTeacher(FrozenTeacher):
    """The weighted mean of several teachers of one space: runs of one recipe, or taggers of the same labels.

    Embeddings are L2-normalised, averaged and normalised again where scores are cosines; probabilities are averaged.
    All have the same text side: equal by its config, or by the embeddings of some sentences.

    Arguments
    ---------
    teachers : list of FrozenTeacher. One forward pass each; an example is in hparams/parts/teacher_ensemble.yaml.
    weights : list of float, optional. Positive; by default all are equal.
    """

    def __init__(self, teachers, weights=None):
        super().__init__("ensemble")
        weights = [1.0] * len(teachers) if weights is None else list(weights)
        if not teachers or len(weights) != len(teachers):
            raise ConfigError(f"an ensemble of {len(teachers)} teachers with {len(weights)} weights; give one of each")
        if not all(is_number(weight) and weight > 0 for weight in weights):
            raise ConfigError(f"an ensemble's weights are positive numbers, not {weights}; leave a teacher out instead")
        self.teachers, self.text_embedder = nn.ModuleList(teachers), teachers[0]
        self.shares = [weight / sum(weights) for weight in weights]

    @property
    def columns(self):
        """``clip``, and ``tags`` where all have them; feature maps of several networks have no mean."""
        return tuple(name for name in ("clip", "tags") if all(name in teacher.columns for teacher in self.teachers))

    def _load(self):
        for teacher in self.teachers:
            teacher.load()
        first, *others = self.teachers
        for number, teacher in enumerate(others, start=2):
            _require_one_space(first, teacher, f"teacher {number} of the ensemble ({teacher.kind})")
        self.embed_dim, self.score_kind = first.embed_dim, first.score_kind
        self.default_templates = first.default_templates
        self.sample_rate_hz = max(teacher.sample_rate_hz for teacher in self.teachers)

    def _targets(self, wavs, sample_rate_hz, columns):
        found = [teacher.targets(wavs, sample_rate_hz, list(columns)) for teacher in self.teachers]
        means = {}
        for name in columns:
            is_cosine = name == "clip" and self.score_kind == "cosine"
            normalise = partial(F.normalize, dim=-1) if is_cosine else nn.Identity()
            rows = zip(self.shares, (normalise(of_one[name]) for of_one in found), strict=True)
            means[name] = normalise(sum(share * of_one for share, of_one in rows))
        return means

    def set_prior(self, prior):
        """Set the mean probability (K,) of each tag over unlabelled clips, of taggers."""
        for teacher in self.teachers:
            teacher.set_prior(prior)

    def _to_bf16(self):
        for teacher in self.teachers:
            teacher.use_precision("bf16")

    def _decides(self):
        return {"teachers": [teacher.identity() for teacher in self.teachers], "weights": self.shares}


@torch.no_grad()
def _require_one_space(first, other, what):
    """Raise a ConfigError unless two teachers embed audio and texts into one space."""
    for name in ("embed_dim", "score_kind"):
        ours, theirs = getattr(first, name), getattr(other, name)
        if ours != theirs:
            raise ConfigError(f"{what} has {name} {theirs}, the first has {ours}; their spaces differ")
    if getattr(first, "label_names", None) != getattr(other, "label_names", None):
        raise ConfigError(f"{what} has other labels than the first; taggers of the same labels can be averaged")
    sides = first.text_side(), other.text_side()
    if None in sides:
        raise ConfigError(f"{what} or the first has no text side, so nothing tells whether they share a space")
    if sides[0] == sides[1]:
        return
    cosine = F.cosine_similarity(first.embed_text(_PROBES), other.embed_text(_PROBES), dim=-1).min().item()
    if cosine < _MIN_COSINE:
        other_texts = f"embeds texts otherwise than the first (cosine {cosine:.3f})"
        raise ConfigError(f"{what} {other_texts}; give teachers with the same text side")
