"""Distillation from a pool of examples with cached teacher targets."""

import torch
import torch.nn.functional as F

from tinyclap.brains.base import RecipeBrain


class PooledDistillBrain(RecipeBrain):
    """Distils a student on :mod:`tinyclap.data.pool`, without waveforms or a running teacher.

    ``modules``: ``student``, ``teacher`` (which only turns cached tags into targets of its space), ``distill_loss`` on
    embeddings, and the hints ``frame_hint`` on frames, ``pooled_hint`` on their mean over time, ``middle_hint`` on
    inner feature maps. A hint with weight 0 in ``loss_weights`` is not computed.
    """

    def __init__(self, modules=None, opt_class=None, hparams=None, run_opts=None, checkpointer=None):
        super().__init__(modules, opt_class, hparams, run_opts, checkpointer)
        self.cosines = []

    def compute_forward(self, batch, stage):
        """Student's encoding of the log-mel, and the batch, on the device."""
        batch = batch.to(self.device)
        student = self.modules.student if stage.name == "TRAIN" or self.average is None else self.average
        return student(log_mel=batch.log_mel), batch

    def loss_terms(self, predictions, batch, stage):
        """Four terms: ``distill`` and three hints."""
        encoding, batch = predictions
        target = getattr(self.modules.teacher, "_columns_of", lambda tags: {"clip": tags})(batch.target)["clip"]
        if stage.name == "VALID":
            self.cosines.append(F.cosine_similarity(encoding.clip.float(), target, dim=-1))
        terms = {"distill": self.modules.distill_loss(encoding.clip, target)}
        sides = {
            "frame_hint": (encoding.frames, batch.frames),
            "pooled_hint": (encoding.frames.mean(dim=1, keepdim=True), batch.frames.mean(dim=1, keepdim=True)),
            "middle_hint": (encoding.middle, batch.middle),
        }
        for name, (given, wanted) in sides.items():
            if self.hparams.loss_weights.get(name, 1.0) > 0:
                terms[name] = self.modules[name](given, wanted)
            else:
                terms[name] = torch.zeros((), device=self.device)
        return terms

    def validation_stats(self):
        """Mean cosine between student and teacher over the validation examples, in [−1, 1]."""
        cosine, self.cosines = torch.cat(self.cosines).mean().item(), []
        return {"cosine": cosine}
