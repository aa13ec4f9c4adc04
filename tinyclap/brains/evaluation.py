"""Base of the evaluation Brains: checked YAML keys, loaded weights, atomic tables."""

import csv
from pathlib import Path

import speechbrain as sb

from tinyclap.data.scoring import collate_clips
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.features.windows import as_waveforms
from tinyclap.files import atomic_path
from tinyclap.metrics.cost import complexity


class EvaluationBrain(sb.Brain):
    """Base of the Brains that score a model and train nothing.

    ``modules``: ``model``, whose weights are loaded. A subclass collects outputs in ``compute_forward`` and
    ``compute_objectives``, sets ``results`` (for ``metrics.json``) in ``on_stage_end``, and has ``summary``.
    Keys of a recipe's part ``scoring`` count as its own.
    """

    required_hparams = ("output_folder", "bootstrap_seed")

    def __init__(self, modules=None, hparams=None, run_opts=None):
        hparams = {**hparams.get("scoring", {}), **hparams}
        missing = [key for key in self.required_hparams if key not in hparams]
        if missing:
            raise ConfigError(f"{type(self).__name__} needs the YAML keys: {', '.join(missing)}")
        super().__init__(modules, None, hparams, run_opts)

    def start(self, meta):
        """Keep the data's `meta`, of :func:`tinyclap.data.scoring.make_test_set`, before ``evaluate``."""
        self.meta = meta

    def make_dataloader(self, dataset, stage, ckpt_prefix=None, **options):
        """SpeechBrain's loader of whole clips."""
        return super().make_dataloader(dataset, stage, ckpt_prefix, **{"collate_fn": collate_clips, **options})

    def on_evaluate_start(self, max_key=None, min_key=None):
        """Refuse a model without weights."""
        if not self.modules.model.is_loaded:
            raise CheckpointError("nothing to score: the model's weights were not loaded")

    def clips_by_rate(self, batch):
        """Group a batch of :func:`tinyclap.data.scoring.collate_clips` by sample rate.

        Yields
        ------
        (list of int, list of torch.Tensor, int): places in the batch, mono clips (T_i,) on the device, rate in Hz.
        """
        batch = batch.to(self.device)
        for rate in sorted(set(batch["rate"])):
            members = [index for index, own in enumerate(batch["rate"]) if own == rate]
            yield members, as_waveforms([batch["wav"][i] for i in members]), rate

    def complexity(self):
        """Cost of the model for ``metrics.json``; see :func:`tinyclap.metrics.cost.complexity`."""
        return complexity(self.modules.model)

    def summary(self):
        """The score in words, for the end of the log."""
        low, high = self.results["interval_95"]
        return f"{self.results['metric']} {self.results['value']:.4f} (95 % interval {low:.4f} to {high:.4f})"

    def write_table(self, name, rows):
        """Write rows, the head first, as a CSV of the output folder, atomically."""
        path = Path(self.hparams.output_folder) / name
        with atomic_path(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
