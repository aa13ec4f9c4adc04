"""Training of a CLAP from scratch by its contrastive loss."""

from tinyclap.brains.base import RecipeBrain


class ClapBrain(RecipeBrain):
    """Trains both towers and the temperature on pairs of audio and caption.

    ``modules``: ``student`` (:class:`tinyclap.models.student.Clap`). Losses of ``terms`` take audio and text embeddings
    (B, D) and the inverse temperature (), as :class:`tinyclap.losses.ClapContrastiveLoss`.
    """

    def compute_forward(self, batch, stage):
        """:class:`tinyclap.models.student.ClapOutput` of a batch with ``wavs`` and ``texts``."""
        clap = self.modules.student if stage.name == "TRAIN" else self.evaluated_student()
        return clap(batch.wavs, batch.texts)

    def loss_terms(self, predictions, batch, stage):
        """The terms with a weight."""
        return {name: self.modules[name](*predictions) for name in self.terms}
