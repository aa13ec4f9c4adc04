"""Zero-shot classification: which class name's embedding is nearest to a clip's."""

import csv
import os
from pathlib import Path

import numpy as np
import speechbrain as sb
import torch

from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.metrics import accuracy, accuracy_by, bootstrap_interval
from tinyclap.prompts import make_prompts
from tinyclap.windows import as_waveforms


class ZeroShotBrain(sb.Brain):
    """Scores a model on labelled clips; trains nothing.

    ``modules``: ``model``, anything with the interface of ``tinyclap.teachers``. Class embeddings are computed once.
    After ``evaluate``, ``results`` holds what ``metrics.json`` gets, and ``predictions.csv`` is written.
    """

    required_hparams = ("output_folder", "prompt_templates", "prompt_underscores", "prompt_slashes", "bootstrap_seed")

    def __init__(self, modules=None, hparams=None, run_opts=None):
        missing = [key for key in self.required_hparams if key not in hparams]
        if missing:
            raise ConfigError(f"{type(self).__name__} needs the YAML keys: {', '.join(missing)}")
        super().__init__(modules, None, hparams, run_opts)

    def set_classes(self, classes):
        """Fix the classes, in evaluation order.

        Arguments
        ---------
        classes : list of str
        """
        self.classes = list(classes)

    def on_evaluate_start(self, max_key=None, min_key=None):
        """Refuse a model without weights; embed the class names once."""
        model = self.modules.model
        if not model.is_loaded:
            raise CheckpointError("nothing to score: the model's weights were not loaded")
        templates = self.hparams.prompt_templates
        self.prompts = make_prompts(
            self.classes,
            list(model.default_templates) if templates is None else templates,
            self.hparams.prompt_underscores,
            self.hparams.prompt_slashes,
        )
        self.class_rows = model.embed_classes(self.prompts).to(self.device)
        self.items, self.scores = [], []

    def compute_forward(self, batch, stage):
        """Scores of a batch of whole clips: (B, N)."""
        model = self.modules.model
        rows = torch.empty(len(batch["wav"]), self.class_rows.shape[-1], device=self.device)
        for rate in sorted(set(batch["rate"])):
            members = [index for index, own in enumerate(batch["rate"]) if own == rate]
            clips = [wav.to(self.device) for wav in as_waveforms([batch["wav"][index] for index in members])]
            rows[members] = model.embed_audio(clips, rate).to(rows.dtype)
        return model.score(rows, self.class_rows)

    def compute_objectives(self, predictions, batch, stage):
        """Keep the scores; the "loss" is the share of wrong answers."""
        self.items += batch["item"]
        self.scores.append(predictions.float().cpu())
        labels = [self.classes.index(item["label"]) for item in batch["item"]]
        return (predictions.argmax(dim=-1).cpu() != torch.tensor(labels)).float().mean()

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Work out the results and write the predictions."""
        scores = torch.cat(self.scores).numpy()
        labels = np.array([self.classes.index(item["label"]) for item in self.items])
        predictions = scores.argmax(axis=-1)
        correct = predictions == labels
        groups = [item.get("group") or item.get("freesound_id") or item["id"] for item in self.items]
        low, high = bootstrap_interval(correct, seed=self.hparams.bootstrap_seed)
        group_low, group_high = bootstrap_interval(correct, groups, seed=self.hparams.bootstrap_seed)
        self.results = {
            "metric": "zero-shot top-1 accuracy",
            "value": accuracy(predictions, labels),
            "interval_95": [low, high],
            "interval_95_by_recording": [group_low, group_high],
            "n_items": len(labels),
            "n_recordings": len(set(groups)),
            "n_classes": len(self.classes),
            "per_class": accuracy_by([item["label"] for item in self.items], correct),
            "per_fold": accuracy_by([item["fold"] for item in self.items], correct) if "fold" in self.items[0] else {},
            "classes": self.classes,
            "prompts": self.prompts,
            "score": self.modules.model.score_kind,
        }
        self._write_predictions(scores, predictions)

    def _write_predictions(self, scores, predictions):
        path = Path(self.hparams.output_folder) / "predictions.csv"
        part = f"{path}.part"
        with open(part, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(
                ["id", "fold", "label", "prediction", "correct", *(f"score:{name}" for name in self.classes)]
            )
            for item, row, best in zip(self.items, scores, predictions, strict=True):
                name = self.classes[best]
                hit = int(name == item["label"])
                values = [f"{value:.6g}" for value in row]
                writer.writerow([item["id"], item.get("fold", ""), item["label"], name, hit, *values])
        os.replace(part, path)
