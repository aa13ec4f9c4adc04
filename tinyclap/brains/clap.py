"""Training of a CLAP from scratch by its contrastive loss."""

from tinyclap.brains.base import RecipeBrain


class ClapBrain(RecipeBrain):
    """Trains both towers and the temperature on pairs of audio and caption. ``modules``: ``student``, ``clap_loss``."""

    def compute_forward(self, batch, stage):
        """Audio embeddings (B, D), text embeddings (B, D) and the logit scale ()."""
        batch = batch.to(self.device)
        clap = self.modules.student if stage.name == "TRAIN" or self.average is None else self.average
        return clap(batch.wav.data, batch.caption)

    def loss_terms(self, predictions, batch, stage):
        """One term, ``contrastive``."""
        return {"contrastive": self.modules.clap_loss(*predictions)}
