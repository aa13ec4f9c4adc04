"""Distillation: outputs of the student against targets of its teacher, by the terms of the recipe."""

import itertools

import torch
import torch.nn.functional as F
from torch.profiler import record_function

from tinyclap.brains.base import RecipeBrain
from tinyclap.brains.terms import read_terms
from tinyclap.errors import ConfigError
from tinyclap.models.student import AudioStudent

WARM_UP_BATCHES = 32


class DistillBrain(RecipeBrain):
    """Distils a student from the targets of its teacher, live or cached; audio alone is needed.

    ``modules``: ``student`` (:class:`tinyclap.models.student.AudioStudent`) and ``teacher``
    (:class:`tinyclap.data.targets.TeacherTargets`). A term's ``student`` is one of ``clip`` (B, D), ``frames``
    (B, F, C), ``pooled`` (their mean over time, (B, 1, C)), ``middle`` (B, C, F, M); its ``teacher`` is a column of the
    targets, ``pooled``, or ``texts``: the teacher's embeddings of the clips' captions, of a live teacher.

    The best epoch is that with the greatest mean ``cosine`` of both sides' ``clip`` in validation, or ``select_by``.
    Losses with running statistics are warmed up before the first step.
    """

    selections = ("cosine",)
    outputs = ("clip", "frames", "pooled", "middle")

    @classmethod
    def check(cls, hparams):
        """See :meth:`RecipeBrain.check`; a student that ``!name:`` builds later is checked when it is there."""
        super().check(hparams)
        student, teacher = hparams["modules"]["student"], hparams["modules"].get("teacher")
        targets = cls.targets_of(teacher)
        for name, term in read_terms(hparams["terms"]).items():
            for side, known in (("student", cls.outputs), ("teacher", targets)):
                given = f"the term {name!r} has {side}: {getattr(term, side)}"
                if getattr(term, side) not in known and set(known) <= {"references", "texts"}:
                    raise ConfigError(f"{given}, and there are no teacher targets; give --target_cache, or weight 0")
                if getattr(term, side) not in known:
                    raise ConfigError(f"{given}; choose one of {', '.join(known)}")
        cls.check_sides(hparams, student, teacher)

    @classmethod
    def targets_of(cls, teacher):
        """Names that a term's ``teacher`` may take."""
        if teacher is None:
            raise ConfigError(f"modules has no teacher, and {cls.__name__} learns from one")
        pooled = ("pooled",) if "frames" in teacher.columns else ()
        return (*teacher.columns, *pooled, "texts")

    @classmethod
    def check_sides(cls, hparams, student, teacher):
        """Refuse a student and a teacher that do not fit."""
        terms = read_terms(hparams["terms"])
        texts = [name for name, term in terms.items() if term.teacher == "texts" or bank_texts(term.loss)]
        if texts and teacher.is_cached:
            raise ConfigError(
                f"the term {texts[0]!r} needs the teacher's embeddings of texts, and a cache keeps none; give "
                "--target_cache null, so that the teacher runs in every step"
            )
        if not isinstance(student, torch.nn.Module):
            return  # built later
        if not isinstance(student, AudioStudent):
            raise ConfigError(
                f"student {type(student).__name__}: is no AudioStudent; give your encoder to tinyclap.models.student."
                "AudioStudent, or derive your student from that class"
            )
        maps = [name for name, term in terms.items() if term.student == "middle"]
        if maps and not hasattr(student.encoder, "n_middle"):
            raise ConfigError(f"the term {maps[0]!r}: the student's encoder gives no middle map; give it weight 0")
        for views in teacher.views:
            ours, theirs = student.sample_rate_hz, views.sample_rate_hz
            if ours != theirs and not teacher.has_log_mel:
                raise ConfigError(f"the student takes audio at {ours} Hz, the data comes at {theirs} Hz")
        if teacher.score_kind == "sqrt_dot" and student.output != "sigmoid":
            raise ConfigError(
                f"the {teacher.kind} teacher's space is that of tag probabilities, and this student gives none: use "
                "hparams/distill_real_audio.yaml, or the teacher's sentence space"
            )
        for name, term in terms.items():
            if term.student == "clip" and term.teacher in ("clip", "texts") and teacher.embed_dim is not None:
                cls._check_widths(name, term.loss, student.embed_dim, teacher)

    @staticmethod
    def _check_widths(name, loss, student_dim, teacher, key="embed_dim"):
        """Refuse a loss that cannot compare embeddings of these widths, by a dry run; `key` of the recipe mends it."""
        was_training = loss.training
        loss.eval()  # so that it neither updates statistics nor gathers rows of other ranks
        device = next((tensor.device for tensor in loss.state_dict().values()), "cpu")
        try:
            with torch.no_grad():
                loss(torch.ones(2, student_dim, device=device), torch.ones(2, teacher.embed_dim, device=device))
        except (RuntimeError, ValueError) as error:
            if student_dim == teacher.embed_dim and key == "embed_dim":
                raise ConfigError(f"the term {name!r}: {error}") from error
            raise ConfigError(
                f"the term {name!r}: the student's embedding has {student_dim} dimensions, the {teacher.kind} "
                f"teacher's {teacher.embed_dim}; give --{key} {teacher.embed_dim}, or a loss with a learnt map"
            ) from error
        finally:
            loss.train(was_training)

    def on_stage_start(self, stage, epoch=None):
        super().on_stage_start(stage, epoch)
        self.cosines = []

    def on_fit_start(self):
        """Embed the banks of texts of losses that have one, then as :class:`RecipeBrain`."""
        for term in self.terms.values():
            if bank_texts(term.loss):
                term.loss.set_bank(self.modules.teacher.embed_text(bank_texts(term.loss)))
        super().on_fit_start()

    def warm_up(self, train_set):
        """Settle the running statistics of losses on the teacher's targets of the first batches."""
        settled = [term for term in self.terms.values() if hasattr(term.loss, "warm_up")]
        batches = itertools.islice(train_set, WARM_UP_BATCHES) if settled else ()
        given = (self.targets(batch.to(self.device)) for batch in batches)
        targets = [[of_batch[term.teacher] for term in settled] for of_batch in given]
        for term, of_term in zip(settled, zip(*targets, strict=True), strict=True):
            term.loss.warm_up(of_term)

    def compute_forward(self, batch, stage):
        """Outputs of the student and targets of the teacher, each a dict by name."""
        student = self.modules.student if stage.name == "TRAIN" else self.evaluated_student()
        return self.outputs_of(student(batch.wavs, log_mel=batch.log_mel)), self.targets(batch)

    def outputs_of(self, encoding):
        """The outputs that terms name, by name, of an :class:`tinyclap.models.encoding.AudioEncoding`."""
        is_named = any(term.student == "pooled" for term in self.terms.values())
        pooled = {"pooled": encoding.frames.mean(dim=1, keepdim=True)} if is_named else {}
        return {**encoding._asdict(), **pooled}

    def targets(self, batch):
        """The targets that terms name, by name."""
        wanted = {term.teacher for term in self.terms.values()}
        # A teacher has a precision of its own.
        with record_function("teacher"), torch.autocast(self.device_type, enabled=False), torch.no_grad():
            targets = self.modules.teacher(batch)
            if "pooled" in wanted:
                targets["pooled"] = targets["frames"].mean(dim=1, keepdim=True)
            if "texts" in wanted:
                if batch.texts is None:
                    raise ConfigError("a term has teacher: texts, which needs a caption of every clip; some have none")
                targets["texts"] = self.modules.teacher.embed_text(batch.texts).to(self.device)
        return targets

    def loss_terms(self, predictions, batch, stage):
        """The terms with a weight; validation keeps cosines too."""
        outputs, targets = predictions
        ours, theirs = outputs["clip"], targets.get("clip")
        if stage.name == "VALID" and theirs is not None and theirs.shape == ours.shape:
            self.cosines.append(F.cosine_similarity(ours.float(), theirs.float(), dim=-1))
        sides = {name: (outputs[term.student], targets[term.teacher]) for name, term in self.terms.items()}
        return {name: self.modules[name](*pair) for name, pair in sides.items()}

    def validation_stats(self):
        """``cosine``: the mean cosine between student and teacher over the validation clips, in [−1, 1]."""
        return {"cosine": torch.cat(self.cosines).mean().item()} if self.cosines else {}


def bank_texts(loss):
    """The texts that a loss compares with, a list of str; mostly empty."""
    return loss.bank_texts() if hasattr(loss, "bank_texts") else []
