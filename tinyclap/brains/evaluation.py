"""Base of the evaluation Brains: checked YAML keys, loaded weights, intervals over recordings, atomic tables."""

import csv
from pathlib import Path

import speechbrain as sb

from tinyclap.data.scoring import collate_clips
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.features.windows import as_waveforms
from tinyclap.files import atomic_path
from tinyclap.metrics.classification import bootstrap_interval
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
        self.meta, self.items = meta, []

    def make_dataloader(self, dataset, stage, ckpt_prefix=None, **options):
        """SpeechBrain's loader of whole clips."""
        return super().make_dataloader(dataset, stage, ckpt_prefix, **{"collate_fn": collate_clips, **options})

    def on_evaluate_start(self, max_key=None, min_key=None):
        """Refuse a model without weights."""
        if not self.modules.model.is_loaded:
            raise CheckpointError("nothing to score: the model's weights were not loaded")

    def by_rate(self, batch, run):
        """``run(clips, sample_rate_hz)`` of a batch's clips (T_i,), those of one rate together: list in their order."""
        batch = batch.to(self.device)
        outputs = [None] * len(batch["rate"])
        for rate in sorted(set(batch["rate"])):
            members = [index for index, own in enumerate(batch["rate"]) if own == rate]
            clips = as_waveforms([batch["wav"][index] for index in members])
            for index, output in zip(members, run(clips, rate), strict=True):
                outputs[index] = output
        return outputs

    def over_recordings(self, items, per_clip):
        """Counts of `items`, and the interval over whole recordings of their scores; None has none."""
        groups, seed = recordings_of(items), self.hparams.bootstrap_seed
        interval = None if per_clip is None else list(bootstrap_interval(per_clip, groups, seed=seed))
        return {"interval_95_by_recording": interval, "n_items": len(items), "n_recordings": len(set(groups))}

    def complexity(self):
        """Cost of the model for ``metrics.json``; see :func:`tinyclap.metrics.cost.complexity`."""
        return complexity(self.modules.model)

    def write_table(self, name, rows):
        """Write rows, the head first, as a CSV of the output folder, atomically."""
        path = Path(self.hparams.output_folder) / name
        with atomic_path(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)


def recordings_of(items):
    """The recording of each clip, by which slices of one are told."""
    return [item.get("group") or item.get("freesound_id") or item["id"] for item in items]
