"""Training of a captioner on text alone: each caption is decoded from evidence derived from its own text."""

import torch

from tinyclap.brains.base import RecipeBrain
from tinyclap.losses import CaptionCrossEntropy


class TextCaptioningBrain(RecipeBrain):
    """Trains a TextCaptioner.

    ``modules``: ``student`` (a TextCaptioner), ``teacher`` (not run) and ``evidence`` (of
    :mod:`tinyclap.teachers.text_evidence`), drawn anew each time a caption is used. The one term is ``words``. Words
    outside the vocabulary are input, never targets. Key of the YAML beside RecipeBrain's: ``label_smoothing``.
    """

    required_hparams = (*RecipeBrain.required_hparams, "label_smoothing")

    def compute_forward(self, batch, stage):
        """Logits (B, L - 1, V) of a :class:`tinyclap.data.caption_texts.CaptionTextBatch`, from random evidence."""
        batch = batch.to(self.device)
        if stage.name == "TRAIN":
            return self.modules.student(batch.ids[:, :-1], self.modules.evidence(*batch.facts), batch.style)
        with torch.random.fork_rng():
            torch.manual_seed(self.hparams.seed)  # validation draws the same in every epoch
            evidence = self.modules.evidence(*batch.facts)
        return self.evaluated_student()(batch.ids[:, :-1], evidence, batch.style)

    def loss_terms(self, predictions, batch, stage):
        """One term, ``words``: cross-entropy of the next word; in validation without label smoothing."""
        tokenizer = self.evaluated_student().tokenizer
        targets = batch.ids[:, 1:].to(self.device)
        targets = targets.masked_fill(targets == tokenizer.unk_id, tokenizer.pad_id)
        smoothing = self.hparams.label_smoothing if stage.name == "TRAIN" else 0.0
        return {"words": CaptionCrossEntropy(tokenizer.pad_id, smoothing)(predictions, targets)}

    def release(self, folder, extra):
        """Write the best checkpoint, and the identity of the evidence."""
        super().release(folder, {**extra, "listener": self.modules.evidence.identity()})
