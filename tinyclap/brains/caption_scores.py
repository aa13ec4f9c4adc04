"""Evaluation of captioning: metrics of a captioner's output against references."""

import logging
from statistics import fmean as mean

import torch

from tinyclap.brains.evaluation import EvaluationBrain
from tinyclap.metrics.captioning import METRICS, READY, TOKENIZER, available, score_captions, with_intervals
from tinyclap.metrics.cost import complexity, count_parameters
from tinyclap.text.tokenizer import caption_words

logger = logging.getLogger(__name__)

MAIN_METRIC = "cider_d"
# The columns of a DCASE submission.
SUBMISSION = ("file_name", "caption_predicted")
COST_CLIP_S = 10.0


class CaptionScoreBrain(EvaluationBrain):
    """Scores a captioner (``modules``: ``model``, a :class:`tinyclap.teachers.captioning.CaptioningTeacher`).

    Clips without references are captioned and not scored. After ``evaluate``, ``results`` holds the content of
    ``metrics.json``; ``predictions.csv`` (a row a clip: caption, value in each metric, references) and
    ``submission.csv`` (DCASE's columns) are written.

    Keys of the YAML: ``metrics`` (names among :data:`METRICS`; null: all that are installed, the
    others being named), ``bootstrap_seed``, ``output_folder``.
    """

    required_hparams = ("output_folder", "metrics", "bootstrap_seed")

    def start(self, meta):
        """Choose the metrics, and warn of missing ones before captioning begins."""
        super().start(meta)
        state = available(METRICS if self.hparams.metrics is None else self.hparams.metrics)
        self.metrics = tuple(dict.fromkeys([MAIN_METRIC, *(self.hparams.metrics or METRICS)]))
        for name in self.metrics:
            if state[name] != READY:
                logger.warning("no %s: it %s", name, state[name])
        self.captions = []

    def on_evaluate_start(self, max_key=None, min_key=None):
        super().on_evaluate_start(max_key, min_key)
        self.identity = self.modules.model.identity()

    def compute_forward(self, batch, stage):
        """Caption a batch of whole clips: list of str."""
        return self.by_rate(batch, self.modules.model.caption)

    def compute_objectives(self, predictions, batch, stage):
        self.items += batch["item"]
        self.captions += predictions
        return torch.zeros(())

    def on_stage_end(self, stage, stage_loss, epoch=None):
        references = [[text for text in item.get("captions", []) if caption_words(text)] for item in self.items]
        scored = [index for index, of_clip in enumerate(references) if of_clip]
        sides = [self.captions[index] for index in scored], [references[index] for index in scored]
        outcome = ({}, {}, {})
        records = {name: {"value": None, "missing": "no clip has a reference"} for name in self.metrics}
        if scored:
            outcome = score_captions(*sides, self.metrics, self.device)
            records = with_intervals(*sides, outcome, self.hparams.bootstrap_seed)
        main, per_clip = records[MAIN_METRIC], outcome[1]
        scores = None if main["value"] is None else per_clip[MAIN_METRIC]
        self.results = {"metric": MAIN_METRIC, "value": main["value"], "interval_95": main.get("interval_95")}
        self.results |= self.over_recordings([self.items[index] for index in scored], scores)
        self.results |= {**self._facts(sides[1]), "metrics": records}
        self._write(scored, per_clip)

    def _facts(self, references):
        """Counts of clips, references and words, and the model; `references` are those of the scored clips."""
        n_words = [len(caption_words(caption)) for caption in self.captions]
        n_references = [len(of_clip) for of_clip in references] or [0]
        return {
            "n_clips": len(self.items),
            "n_without_references": len(self.items) - len(references),
            "references_per_clip": {"mean": mean(n_references), "least": min(n_references), "most": max(n_references)},
            "idf": "document frequencies of the scored clips' own references, held fixed in the intervals",
            "tokenizer": TOKENIZER,
            "words_per_caption": mean(n_words),
            "n_empty_captions": n_words.count(0),
            "captioner": self.identity,
        }

    def _write(self, scored, per_clip):
        """``predictions.csv`` and ``submission.csv``, in the order of the data."""
        place = {index: rank for rank, index in enumerate(scored)}
        n_columns = max((len(item.get("captions", [])) for item in self.items), default=0)
        of_clips = [name for name in self.metrics if name != "vocab"]
        head = ["id", *SUBMISSION, *of_clips, *(f"caption_{number + 1}" for number in range(n_columns))]
        rows, submission = [head], [list(SUBMISSION)]
        for index, (item, caption) in enumerate(zip(self.items, self.captions, strict=True)):
            known = index in place
            values = [f"{per_clip[name][place[index]]:.6g}" if known and name in per_clip else "" for name in of_clips]
            texts = item.get("captions", [])
            rows.append([item["id"], item["wav"].name, caption, *values, *texts, *[""] * (n_columns - len(texts))])
            submission.append([item["wav"].name, caption])
        self.write_table("predictions.csv", rows)
        self.write_table("submission.csv", submission)

    def complexity(self):
        """Parameters of the captioner, and MACs of one caption of ten silent seconds."""
        model, words = self.modules.model, []

        def run(wavs, sample_rate_hz):
            words.extend(caption_words(model.caption([wavs[0].to(self.device)], sample_rate_hz)[0]))

        n_macs = complexity(model, COST_CLIP_S, run)["n_macs"]
        facts = {"n_macs": n_macs, "macs_clip_s": COST_CLIP_S, "macs_words": len(words)}
        return {"n_parameters": count_parameters(model), **facts}

    def summary(self):
        """The scores in words, and the missing metrics."""
        said, missing = [], []
        for name, record in self.results["metrics"].items():
            if record["value"] is None:
                missing.append(name)
            elif name == MAIN_METRIC:
                low, high = record["interval_95"]
                said.append(f"{name} {record['value']:.4f} (95 % interval {low:.4f} to {high:.4f})")
            else:
                said.append(f"{name} {record['value']:.4g}")
        said += [f"missing: {', '.join(missing)}"] if missing else []
        return f"{self.results['n_items']} of {self.results['n_clips']} clips scored: {', '.join(said)}"
