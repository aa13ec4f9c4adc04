"""Training of captioners: reference captions, the teacher's captions, word choices and clip embeddings.

Source: Xu et al., "Efficient Audio Captioning with Encoder-Level Knowledge Distillation", Interspeech 2024.
"""

from torch import nn

from tinyclap.brains.distill import DistillBrain
from tinyclap.brains.terms import read_terms
from tinyclap.data.captions import check_options
from tinyclap.decoding.beam_search import beam_search
from tinyclap.errors import ConfigError
from tinyclap.metrics.captioning import cider_d

AUDIO_ONLY = ("average", "add")
_IDS = {"reference_logits": "ids", "teacher_logits": "teacher_ids"}  # column of the words that the decoder reads
_FIELDS = {"references": "ids", "teacher_captions": "teacher_ids", "token_choices": "token_ids"}


class CaptioningBrain(DistillBrain):
    """Trains a captioner on labelled clips and on cached teacher targets of labelled and unlabelled ones.

    ``modules``: ``student`` (:class:`tinyclap.models.captioner.Captioner`) and, where a term needs one, ``teacher``
    (:class:`tinyclap.data.targets.TeacherTargets`). A term's ``student`` may also be ``reference_logits`` (B, L, V) of
    the labelled clips, or ``teacher_logits`` (B + U, L, V), and its ``teacher`` then ``references``,
    ``teacher_captions`` (ids of the words to predict) or ``token_choices`` (the teacher's most probable words). The
    encoder runs once a batch (the public code runs it once for each kind of caption: its defect E4), and the decoder
    reads the teacher's caption once.

    The best epoch is that with the greatest ``cider_d`` of the validation clips' captions, or ``select_by``. Keys of
    the YAML beside RecipeBrain's: ``scheduled_sampling`` (fraction of input words that are the model's own by the end
    of training, rising linearly from 0), ``spec_augment`` (a module on log-mels (B, F, M), or null), ``valid_beam``,
    ``max_words``, and ``audio_only_loss``: "average" over labelled and unlabelled rows, or "add" the unlabelled rows'
    loss, as published.
    """

    required_hparams = (
        *DistillBrain.required_hparams,
        *("scheduled_sampling", "spec_augment", "valid_beam", "max_words", "audio_only_loss"),
    )
    selections = ("cider_d",)
    outputs = ("clip", "frames", "pooled", *_IDS)

    @classmethod
    def targets_of(cls, teacher):
        """Names that a term's ``teacher`` may take."""
        columns = [] if teacher is None else list(teacher.columns)
        words = {"caption": "teacher_captions", "token_choices": "token_choices"}
        pooled = ["pooled"] if "frames" in columns else []
        return ("references", *(words.get(column, column) for column in columns if column != "log_mel"), *pooled)

    @classmethod
    def check_sides(cls, hparams, student, teacher):
        """Refuse keys that mean nothing, and embeddings that a loss does not take."""
        check_options({**getattr(hparams.get("make_datasets"), "keywords", {}), "targets": teacher})
        if hparams["audio_only_loss"] not in AUDIO_ONLY:
            raise ConfigError(
                f"audio_only_loss: {hparams['audio_only_loss']!r} is unknown; choose one of {', '.join(AUDIO_ONLY)}"
            )
        if not 0 <= hparams["scheduled_sampling"] <= 1:
            raise ConfigError(f"scheduled_sampling: {hparams['scheduled_sampling']}; it is a fraction in [0, 1]")
        if (hparams.get("select_by") or "cider_d") == "cider_d":
            cider_d(["a dog", "rain"], [["a dog"], ["rain"]])  # raises now, not after an epoch, if it is not installed
        for name, term in read_terms(hparams["terms"]).items():
            wanted = "reference_logits" if term.teacher == "references" else "teacher_logits"
            if (term.teacher in _FIELDS or term.student in _IDS) and term.student != wanted:
                raise ConfigError(f"the term {name!r} has teacher: {term.teacher}, which goes with student: {wanted}")
            is_clip = term.student == "clip" and term.teacher == "clip"
            if is_clip and isinstance(student, nn.Module) and teacher.embed_dim is not None:  # else not built, or read
                cls._check_widths(name, term.loss, student.caption_dim, teacher, key="teacher_dim")

    def on_stage_start(self, stage, epoch=None):
        super().on_stage_start(stage, epoch)
        self.candidates, self.references = [], []

    def compute_forward(self, batch, stage):
        """Outputs of the student and targets of the teacher, each a dict by name."""
        is_training = stage.name == "TRAIN"
        student = self.modules.student if is_training else self.evaluated_student()
        log_mel, sampling = None, 0.0
        if is_training and self.hparams.scheduled_sampling > 0:
            epochs = self.hparams.epoch_counter
            progress = (epochs.current - 1 + self.step / self.steps_per_epoch) / epochs.limit
            sampling = self.hparams.scheduled_sampling * min(progress, 1.0)
        if is_training and self.hparams.spec_augment is not None:
            log_mel = self.hparams.spec_augment(getattr(student, "module", student).features(batch.wavs))
        named = {term.student for term in self.terms.values()}
        read = {name: batch.get(column) for name, column in _IDS.items() if name in named}
        read = {name: ids for name, ids in read.items() if ids is not None and len(ids) > 0}
        words = [ids[:, :-1] for ids in read.values()]
        encoded, logits = student(words, batch.wavs, batch.n_samples, log_mel, sampling)
        if not is_training and self.select_by == "cider_d":
            self._caption(student, encoded, batch)
        return {**self.outputs_of(encoded), **dict(zip(read, logits, strict=True))}, self.targets(batch)

    def _caption(self, student, encoded, batch):
        tokenizer, state = student.tokenizer, student.decoder.begin(encoded.frames, encoded.n_frames)
        ends = tokenizer.start_id, tokenizer.end_id
        found = beam_search(student.decoder, state, *ends, self.hparams.valid_beam, self.hparams.max_words)
        self.candidates += [tokenizer.decode(ids) for ids in found.ids[:, 0].tolist()]
        self.references += batch.references

    def targets(self, batch):
        """The targets that terms name and the batch has, by name; validation clips have references alone."""
        targets = {}
        for name in {term.teacher for term in self.terms.values()}:
            column = batch.get({**_FIELDS, "pooled": "frames"}.get(name, name))
            if column is None or len(column) == 0:
                continue
            if name in ("references", "teacher_captions"):
                column = column[:, 1:]
            elif name == "token_choices":
                column = column, batch.token_probs
            targets[name] = column.mean(dim=1, keepdim=True) if name == "pooled" else column
        return targets

    def loss_terms(self, predictions, batch, stage):
        """The terms with a weight; in validation those alone whose targets there are."""
        outputs, targets = predictions
        terms = {}
        for name, term in self.terms.items():
            if term.teacher in targets and term.student in outputs:
                n_rows = batch.n_labelled if term.teacher != "references" else None
                terms[name] = self._term(name, outputs[term.student], targets[term.teacher], n_rows)
            elif stage.name == "TRAIN" and term.teacher != "references":
                raise ConfigError(
                    f"the term {name!r} needs {term.teacher} of the teacher, and the data has none; give a "
                    "--target_cache whose columns have it, or the term a weight of 0"
                )
            elif stage.name == "TRAIN":
                terms[name] = outputs["clip"].sum() * 0  # a batch of audio alone; every step logs every term
        return terms

    def _term(self, name, student, teacher, n_labelled):
        """A term over all rows, or over the labelled ones plus over the others."""
        loss, n_rows = self.modules[name], len(student)
        if self.hparams.audio_only_loss == "average" or n_labelled in (None, 0, n_rows):
            return loss(student, teacher)
        parts = slice(None, n_labelled), slice(n_labelled, None)
        return sum(loss(student[part], _rows(teacher, part)) for part in parts)

    def validation_stats(self):
        """``cider_d`` on the validation clips, where it selects the best epoch."""
        return {"cider_d": cider_d(self.candidates, self.references)} if self.select_by == "cider_d" else {}


def _rows(teacher, part):
    return tuple(column[part] for column in teacher) if isinstance(teacher, tuple) else teacher[part]
