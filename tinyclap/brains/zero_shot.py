"""Zero-shot classification: scores between clip embeddings and label embeddings."""

from pathlib import Path

import numpy as np
import torch

from tinyclap.brains.evaluation import EvaluationBrain, recordings_of
from tinyclap.config.kept_dims import read_order
from tinyclap.errors import ConfigError
from tinyclap.metrics.classification import accuracy, accuracy_by, bootstrap_interval
from tinyclap.pruning import ranking as latent
from tinyclap.text.prompts import make_prompts


class ZeroShotBrain(EvaluationBrain):
    """Scores a model on labelled clips; trains nothing.

    ``modules``: ``model``, with the interface of ``tinyclap.teachers``. After ``evaluate``, ``results`` holds the
    content of ``metrics.json``, and ``predictions.csv`` is written. With ``ranking`` and ``kept_dims`` both sides keep
    only that many dimensions; cosines are then normalised again. With ``save_embeddings`` both sides are written too.
    """

    required_hparams = (
        *("output_folder", "prompt_templates", "prompt_underscores", "prompt_slashes", "bootstrap_seed"),
        *("ranking", "kept_dims", "save_embeddings"),
    )

    def start(self, meta):
        """Fix the classes, in evaluation order: ``classes`` of `meta`."""
        super().start(meta)
        self.classes = list(meta["classes"])

    def on_evaluate_start(self, max_key=None, min_key=None):
        super().on_evaluate_start(max_key, min_key)
        model = self.modules.model
        templates = self.hparams.prompt_templates
        if templates is None:
            templates = list(model.default_templates)
        spelling = self.hparams.prompt_underscores, self.hparams.prompt_slashes
        self.prompts = make_prompts(self.classes, templates, *spelling)
        class_rows = model.embed_classes(self.prompts).to(self.device)
        self.n_dims, self.kept = class_rows.shape[-1], self._kept_dims(class_rows.shape[-1])
        self.class_rows = class_rows[:, self.kept]
        self.scores, self.clip_rows = [], []

    def _kept_dims(self, n_dims):
        """The indices of the dimensions that are scored, or all of them as a slice."""
        ranking, n_kept = self.hparams.ranking, self.hparams.kept_dims
        if (ranking is None) != (n_kept is None):
            raise ConfigError("ranking and kept_dims go together: whose order, and how many of its first dimensions")
        return slice(None) if ranking is None else latent.check_kept(read_order(ranking), n_kept, n_dims)

    def compute_forward(self, batch, stage):
        """Scores of a batch of whole clips: (B, N)."""
        model = self.modules.model
        rows = torch.stack(self.by_rate(batch, model.embed_audio)).float()
        rows = rows[:, self.kept]
        if self.hparams.save_embeddings:
            self.clip_rows.append(rows.cpu())
        return model.score(rows, self.class_rows)

    def compute_objectives(self, predictions, batch, stage):
        """Keep the scores; the "loss" is the error rate."""
        self.items += batch["item"]
        self.scores.append(predictions.float().cpu())
        labels = [self.classes.index(item["label"]) for item in batch["item"]]
        return (predictions.argmax(dim=-1).cpu() != torch.tensor(labels)).float().mean()

    def on_stage_end(self, stage, stage_loss, epoch=None):
        scores = torch.cat(self.scores).numpy()
        labels = np.array([self.classes.index(item["label"]) for item in self.items])
        predictions = scores.argmax(axis=-1)
        correct = predictions == labels
        self.results = {
            "metric": "zero-shot top-1 accuracy",
            "value": accuracy(predictions, labels),
            "interval_95": list(bootstrap_interval(correct, seed=self.hparams.bootstrap_seed)),
            **self.over_recordings(self.items, correct),
            "n_classes": len(self.classes),
            "per_class": accuracy_by([item["label"] for item in self.items], correct),
            "per_fold": self._per_fold(correct),
            "classes": self.classes,
            "prompts": self.prompts,
            "score": self.modules.model.score_kind,
            "n_dims": self.n_dims,
            "kept_dims": self.class_rows.shape[-1],
        }
        head = ["id", "fold", "label", "prediction", "correct", *(f"score:{name}" for name in self.classes)]
        self.write_table("predictions.csv", [head, *map(self._row, self.items, scores, predictions)])
        if self.hparams.save_embeddings:
            self._save_embeddings(labels)

    def _per_fold(self, correct):
        """Accuracy of each fold; clips without a fold, such as an evaluation part's, are in none."""
        places = [place for place, item in enumerate(self.items) if "fold" in item]
        return accuracy_by([self.items[place]["fold"] for place in places], correct[places]) if places else {}

    def _save_embeddings(self, labels):
        """Write ``embeddings.npz``, so that other dimensions or prompts need no audio again."""
        latent.write_arrays(
            Path(self.hparams.output_folder) / latent.EMBEDDINGS,
            audio=torch.cat(self.clip_rows).numpy(),
            text=self.class_rows.float().cpu().numpy(),
            labels=labels,
            ids=np.array([str(item["id"]) for item in self.items]),
            folds=np.array([str(item.get("fold", "")) for item in self.items]),
            groups=np.array([str(group) for group in recordings_of(self.items)]),
            score_kind=np.array(self.modules.model.score_kind),
        )

    def _row(self, item, scores, best):
        name = self.classes[best]
        values = [f"{value:.6g}" for value in scores]
        return [item["id"], item.get("fold", ""), item["label"], name, int(name == item["label"]), *values]

    def summary(self):
        """Accuracy with its interval, clips, classes."""
        results = self.results
        low, high = results["interval_95"]
        return (
            f"{results['metric']} {100 * results['value']:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f}, "
            f"n = {results['n_items']}, {results['n_classes']} classes)"
        )
