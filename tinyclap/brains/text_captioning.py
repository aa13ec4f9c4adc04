"""Training of a captioner on text alone: each caption is decoded from evidence derived from its own text."""

import torch

from tinyclap.brains.base import RecipeBrain
from tinyclap.losses import CaptionCrossEntropy


class TextCaptioningBrain(RecipeBrain):
    """Trains a TextCaptioner.

    ``modules``: ``student`` (a TextCaptioner), ``teacher`` (not run) and ``evidence`` (of
    :mod:`tinyclap.teachers.text_evidence`), drawn anew each time a caption is used. Losses of ``terms`` take logits and
    the ids of the next words, as :class:`tinyclap.losses.CaptionCrossEntropy`. Words outside the vocabulary are input,
    never targets.
    """

    def compute_forward(self, batch, stage):
        """Logits (B, L - 1, V) of a batch with ``ids``, ``style`` and ``facts``, from random evidence."""
        if stage.name == "TRAIN":
            return self.modules.student(batch.ids[:, :-1], self.modules.evidence(*batch.facts), batch.style)
        with torch.random.fork_rng():
            torch.manual_seed(self.hparams.seed)  # validation draws the same in every epoch
            evidence = self.modules.evidence(*batch.facts)
        return self.evaluated_student()(batch.ids[:, :-1], evidence, batch.style)

    def loss_terms(self, predictions, batch, stage):
        """The terms with a weight, of the next words; in validation without label smoothing."""
        tokenizer = self.evaluated_student().tokenizer
        targets = batch.ids[:, 1:]
        targets = targets.masked_fill(targets == tokenizer.unk_id, tokenizer.pad_id)
        losses = {name: self.modules[name] for name in self.terms}
        if stage.name != "TRAIN":  # without label smoothing
            plain = CaptionCrossEntropy(tokenizer.pad_id)
            losses = {name: plain if isinstance(loss, CaptionCrossEntropy) else loss for name, loss in losses.items()}
        return {name: loss(predictions, targets) for name, loss in losses.items()}

    def release(self, folder, extra):
        """Write the best checkpoint, and the identity of the evidence."""
        super().release(folder, {**extra, "listener": self.modules.evidence.identity()})
