"""An AudioSet tagger and a sentence encoder as one teacher: a shared space with no audio–text training.

The tagger is a MobileNetV3 of EfficientAT (Schmid et al., "Efficient Large-Scale Audio Tagging via Transformer-to-CNN
Knowledge Distillation", ICASSP 2023; weights MIT). There are two spaces:

* ``"tag"``: a clip is its K tag probabilities, a text a softmax over its similarity to the labels (:mod:`.tag_text`);
* ``"sentence"``: a clip is the probability-weighted mean of its likeliest labels' sentence embeddings, minus the mean
  over all labels; a text is its sentence embedding minus that mean; cosine.
"""

import csv
from pathlib import Path

import torch
import torch.nn.functional as F

from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.features.windows import WindowPolicy
from tinyclap.files import sha256_of
from tinyclap.published.networks import load_published
from tinyclap.published.table import PUBLISHED
from tinyclap.teachers.base import TowerTeacher
from tinyclap.teachers.calibration import read_calibration
from tinyclap.teachers.sentences import DEFAULT_ENCODER, SentenceEncoder
from tinyclap.teachers.tag_text import DEFAULT_TEMPLATES, TagSpaceText

LABELS_FILE = "class_labels_indices.csv"


def read_labels(path):
    """The tagger's labels in its order, from AudioSet's ``class_labels_indices.csv`` (index, mid, display_name)."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: int(row["index"]))
        return [row["display_name"] for row in rows]
    except (OSError, KeyError, ValueError) as error:
        columns = f"the file {LABELS_FILE} of AudioSet has the columns index, mid, display_name"
        raise CheckpointError(f"{path}: cannot read the tagger's labels ({error}); {columns}") from error


class TaggerTeacher(TowerTeacher):
    """A tagger and a sentence encoder.

    Arguments
    ---------
    weights : str or os.PathLike. State dict of an EfficientAT "mn" network.
    width : float. Its width: 0.4 for mn04, 1.0 for mn10.
    labels : str or os.PathLike, optional. Table of labels; None: ``class_labels_indices.csv`` beside the weights.
    space : str. ``"tag"`` or ``"sentence"``.
    sentence_encoder, temperature, prior_floor, templates : See :class:`tinyclap.teachers.tag_text.TagSpaceText`.
    prior : str or os.PathLike, optional. JSON file of :class:`.calibration.TagCalibration`; tag space only.
    n_likeliest : int. Sentence space: the number of labels that make up a clip.
    min_s : float. Shorter clips are tiled to this length, in seconds: taggers are trained on 10 s.
    """

    columns = ("clip", "frames", "middle", "tags")

    def __init__(
        self,
        weights,
        width=0.4,
        labels=None,
        space="tag",
        sentence_encoder=DEFAULT_ENCODER,
        temperature=0.06,
        prior=None,
        prior_floor=1e-3,
        templates=DEFAULT_TEMPLATES,
        n_likeliest=10,
        min_s=2.0,
    ):
        super().__init__("tagger")
        if space not in ("tag", "sentence"):
            raise ConfigError(f"tagger teacher: space={space!r}; choose 'tag' or 'sentence'")
        self.weights, self.width, self.labels, self.space = weights, width, labels, space
        self.sentence_encoder, self.temperature = sentence_encoder, temperature
        self.prior, self.prior_floor, self.n_likeliest = prior, prior_floor, n_likeliest
        self.default_templates = tuple(templates)
        self.policy = WindowPolicy(window_s=10.0, short="native", min_s=min_s)
        self.score_kind = "sqrt_dot" if space == "tag" else "cosine"
        self.sample_rate_hz = 32000

    def _load(self):
        self.model = load_published("efficientat-mn", path=self.weights, width=self.width)
        self.label_names = read_labels(self.labels or Path(self.weights).with_name(LABELS_FILE))
        self.embed_dim = len(self.label_names)
        n_tags = self.model.audio.encoder.classifier[-1].out_features
        if self.embed_dim != n_tags:
            given = f"{self.embed_dim} labels for a tagger of {n_tags} tags"
            raise CheckpointError(f"{given}; give its own {LABELS_FILE} by labels")
        prior = None if self.prior is None else read_calibration(self.prior)
        if prior is not None and prior["weights_sha256"] != self._sha256():
            raise CheckpointError(f"{self.prior} was made with other tagger weights; delete it to make it again")
        if self.space == "tag":
            options = self.sentence_encoder, self.temperature, self.prior_floor, self.default_templates
            self.text_embedder = TagSpaceText(self.label_names, None if prior is None else prior["prior"], *options)
        else:
            self.encoder = SentenceEncoder(self.sentence_encoder)
            rows = self.encoder([name.lower() for name in self.label_names])
            self.register_buffer("label_mean", rows.mean(dim=0))
            self.register_buffer("label_rows", rows - self.label_mean)
            self.embed_dim = rows.shape[1]

    def _sha256(self):
        return sha256_of(PUBLISHED["efficientat-mn"].at(self.weights))

    def set_prior(self, prior):
        """Set the mean probability (K,) of each tag over unlabelled clips."""
        self._require_loaded()
        if self.text_embedder is not None:
            self.text_embedder.prior = list(prior)

    def _rows(self, encoding):
        return self.tower.encoder.tag_logits(encoding.clip).sigmoid()

    def _is_normalized(self):
        return False

    def _targets(self, wavs, sample_rate_hz, columns):
        found = super()._targets(wavs, sample_rate_hz, columns)
        found["tags"] = found["clip"]
        if self.space == "sentence":
            likeliest, index = found["tags"].topk(min(self.n_likeliest, found["tags"].shape[-1]), dim=-1)
            rows = (likeliest[..., None] * self.label_rows[index]).sum(dim=1) / likeliest.sum(dim=-1, keepdim=True)
            found["clip"] = F.normalize(rows, dim=-1)
        return found

    @torch.no_grad()
    def embed_text(self, texts):
        """Embed N sentences: (N, D)."""
        if self.space == "tag":
            return super().embed_text(texts)
        self._require_loaded()
        return F.normalize(self.encoder(list(texts)) - self.label_mean.cpu(), dim=-1)

    def text_side(self):
        """The config of its text side; in the tag space without the tagger's weights."""
        self._require_loaded()
        if self.space == "tag":
            return super().text_side()
        labels = None if self.labels is None else str(self.labels)
        found = {"kind": "tagger", "weights": str(self.weights), "width": self.width, "labels": labels}
        found |= {"space": self.space, "sentence_encoder": str(self.sentence_encoder)}
        return {**found, "templates": list(self.default_templates)}

    def _decides(self):
        found = {"space": self.space, "width": self.width, "min_s": self.policy.min_s, "weights_sha256": self._sha256()}
        if self.space == "sentence":
            found |= {"sentence_encoder": str(self.sentence_encoder), "n_likeliest": self.n_likeliest}
        return found
