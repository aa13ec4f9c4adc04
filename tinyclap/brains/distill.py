"""Encoder-level distillation: the student matches its teacher's embeddings, from audio alone."""

import torch
import torch.nn.functional as F

from tinyclap.brains.base import RecipeBrain
from tinyclap.errors import ConfigError


class EmbeddingDistillBrain(RecipeBrain):
    """Distils an audio encoder of ours from a teacher of ``tinyclap.teachers``; its text tower does not run.

    ``modules``: ``student``, ``teacher``, ``distill_loss`` and, for the term ``text``, ``text_loss``, which contrasts
    the student with the teacher's embeddings of the clips' captions. Batches are those of
    ``tinyclap.data.stored_sets.collate_examples``: with teacher targets, or with audio for the teacher.
    """

    required_hparams = (*RecipeBrain.required_hparams, "sample_rate_hz")

    def __init__(self, modules=None, opt_class=None, hparams=None, run_opts=None, checkpointer=None):
        super().__init__(modules, opt_class, hparams, run_opts, checkpointer)
        student, teacher = self.modules.student, self.modules.teacher
        if student.embed_dim != teacher.embed_dim:
            raise ConfigError(
                f"the student's embedding has {student.embed_dim} dimensions, the {teacher.kind} teacher's "
                f"{teacher.embed_dim}; give --embed_dim {teacher.embed_dim}"
            )
        if student.sample_rate_hz != self.hparams.sample_rate_hz:
            raise ConfigError(
                f"the student listens at {student.sample_rate_hz} Hz, the data comes at {hparams['sample_rate_hz']} Hz"
            )
        if teacher.score_kind == "sqrt_dot" and student.output != "sigmoid":
            raise ConfigError(
                f"the {teacher.kind} teacher's space is that of tag probabilities, and this student gives none: use "
                "hparams/distill_real_audio.yaml, or the teacher's sentence space"
            )
        self.reads_text = hparams["loss_weights"].get("text", 0.0) > 0
        if self.reads_text and not hasattr(teacher, "embed_text"):
            raise ConfigError(
                "loss_weights has a term 'text', and a store holds no text: give --store_folder null, so that the "
                "teacher is asked in every step"
            )
        self.cosines = []

    def compute_forward(self, batch, stage):
        """Student and teacher embeddings of a batch: ((B, D), (B, D))."""
        batch = batch.to(self.device)
        student = self.modules.student if stage.name == "TRAIN" or self.average is None else self.average
        teacher_clip = batch.target
        if teacher_clip is None:
            teacher_clip = self.modules.teacher.embed_audio(batch.wav, self.hparams.sample_rate_hz)
        return student(batch.wav, log_mel=batch.log_mel).clip, teacher_clip

    def loss_terms(self, predictions, batch, stage):
        """The terms ``distill`` and, where it has a weight, ``text``; validation keeps cosines too."""
        student_clip, teacher_clip = predictions
        if stage.name == "VALID":
            self.cosines.append(F.cosine_similarity(student_clip.float(), teacher_clip.float(), dim=-1))
        terms = {"distill": self.modules.distill_loss(student_clip, teacher_clip)}
        return {**terms, "text": self._text_term(student_clip, batch.caption)} if self.reads_text else terms

    def _text_term(self, student_clip, captions):
        if captions is None:
            raise ConfigError("loss_weights has a term 'text', which needs a caption of every clip; some have none")
        rows = self.modules.teacher.embed_text(captions).to(student_clip.device)
        return self.modules.text_loss(student_clip, rows)

    def validation_stats(self):
        """Mean cosine between student and teacher over the validation clips, in [−1, 1]."""
        cosine, self.cosines = torch.cat(self.cosines).mean().item(), []
        return {"cosine": cosine}
