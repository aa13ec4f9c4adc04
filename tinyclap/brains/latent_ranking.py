"""Ranking of a model's embedding dimensions by their activation on its training clips."""

import contextlib
from pathlib import Path

import torch

from tinyclap.brains.evaluation import EvaluationBrain
from tinyclap.config.kept_dims import RANKING, read_order
from tinyclap.errors import ConfigError
from tinyclap.files import write_json
from tinyclap.pruning import ranking as latent
from tinyclap.text.scores import audio_side


class LatentRankingBrain(EvaluationBrain):
    """Embeds whole training clips and ranks the dimensions; trains nothing.

    ``modules``: ``model``, with the interface of ``tinyclap.teachers``. After ``evaluate`` the output folder holds
    ``ranking.json`` (the order, the most important dimension first) and ``moments.npz``: moments of clip embeddings as
    scored (:func:`tinyclap.text.scores.audio_side`) and, where the audio tower ends in ``projection_class``, of the
    inside of that head over the windows of the clips: ``pre_norm_mean`` (D,) and ``pre_norm_second_moment`` (D, D) of
    the LayerNorm's input, ``hidden_mean`` and ``hidden_std`` of its GELU units. Pruning of the head uses them.
    """

    required_hparams = ("output_folder", "statistic", "projection_class", "bootstrap_seed")

    def on_evaluate_start(self, max_key=None, min_key=None):
        """Refuse a model without weights, or without the stored order; begin to watch the head."""
        super().on_evaluate_start(max_key, min_key)
        if self.hparams.statistic not in latent.STATISTICS:
            choices = ", ".join(latent.STATISTICS)
            raise ConfigError(f"statistic {self.hparams.statistic!r} is unknown; choose one of {choices}")
        self.stored = read_order(self.modules.model.weights) if self.hparams.statistic == "stored" else None
        self.moments, self.inside = latent.Moments(), {}
        self._watching = contextlib.ExitStack()
        for module in self.modules.model.modules():
            if isinstance(module, self.hparams.projection_class):
                self._watch(module)

    def _watch(self, head):
        """Collect moments inside a head; a text tower's never runs."""
        found = {"hidden": latent.Moments(), "pre_norm": latent.Moments()}
        self.inside[id(head)] = found

        def note_hidden(module, inputs, first):
            found["hidden"].add(torch.nn.functional.gelu(first).detach().double().cpu().numpy())

        def note_input(module, inputs):
            found["pre_norm"].add(inputs[0].detach().double().cpu().numpy())

        self._watching.callback(head.linear1.register_forward_hook(note_hidden).remove)
        self._watching.callback(head.layer_norm.register_forward_pre_hook(note_input).remove)

    def compute_forward(self, batch, stage):
        """Embeddings of a batch of whole clips, as scored: (B, D)."""
        model = self.modules.model
        rows = torch.stack(self.by_rate(batch, model.embed_audio)).double().cpu()
        return torch.from_numpy(audio_side(rows.numpy(), model.score_kind))

    def compute_objectives(self, predictions, batch, stage):
        self.moments.add(predictions.numpy())
        return torch.zeros(())

    def on_stage_end(self, stage, stage_loss, epoch=None):
        self._watching.close()
        model, statistic, moments = self.modules.model, self.hparams.statistic, self.moments.result()
        importance = moments[latent.STATISTICS[statistic]]
        order = latent.order_of(importance) if self.stored is None else self.stored
        weights_sha256 = None
        with contextlib.suppress(ConfigError):  # of a model that has no identity
            weights_sha256 = model.identity().get("weights_sha256")
        folder = Path(self.hparams.output_folder)
        latent.write_arrays(folder / latent.MOMENTS, **moments, **self._inside_moments())
        record = {
            "format": latent.FORMAT,
            "ranking": statistic,
            "order": order,
            "importance": importance.tolist(),
            "n_clips": self.moments.n,
            "corpora": self.meta["corpora"],
            "model": {"kind": model.kind, "weights": str(model.weights), "weights_sha256": weights_sha256},
            "normalised": model.score_kind == "cosine",
            "score": model.score_kind,
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / RANKING, record)
        quarter = max(1, len(order) // 4)
        self.results = {
            "metric": f"share of the {statistic} activation in the first quarter of the dimensions",
            "value": float(importance[order[:quarter]].sum() / max(importance.sum(), 1e-12)),
            "n_items": self.moments.n,
            "n_dims": len(order),
            "statistic": statistic,
            "score": model.score_kind,
        }

    def _inside_moments(self):
        """Moments of the head that ran; empty where there is none."""
        ran = [found for found in self.inside.values() if found["pre_norm"].n]
        if len(ran) != 1:  # no such head, or an ensemble of them, of which none alone is the model's
            return {}
        kept = {"pre_norm": ("mean", "second_moment"), "hidden": ("mean", "std")}
        moments = {part: found.result() for part, found in ran[0].items()}
        return {f"{part}_{name}": moments[part][name] for part, names in kept.items() for name in names}

    def summary(self):
        """How uneven the dimensions are, in words."""
        results = self.results
        return (
            f"{results['n_dims']} dimensions ranked over {results['n_items']} clips; the first quarter holds "
            f"{100 * results['value']:.1f} % of the {results['statistic']} activation"
        )
