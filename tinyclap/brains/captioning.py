"""Training of captioners: reference captions, the teacher's captions and its clip embeddings.

Source: Xu et al., "Efficient Audio Captioning with Encoder-Level Knowledge Distillation", Interspeech 2024.
"""

import speechbrain as sb

from tinyclap.brains.base import RecipeBrain
from tinyclap.decoding.beam_search import beam_search
from tinyclap.errors import ConfigError
from tinyclap.losses import CaptionCrossEntropy, TokenKD
from tinyclap.metrics.captioning import cider_d
from tinyclap.training.average import WeightAverage

SELECTIONS = ("cider_d", "loss")


class CaptionDistillBrain(RecipeBrain):
    """Trains a captioner on labelled clips and on cached teacher targets of labelled and unlabelled ones.

    ``modules``: ``student`` (a Captioner) and, for the term ``encoder``, ``encoder_kd`` (an EncoderKDLoss). Terms:
    ``supervised`` (references), ``sequence`` (the teacher's caption), ``token`` (its word choices), ``encoder`` (its
    clip embedding); those of weight 0 are not computed. The decoder reads the teacher's caption once for ``sequence``
    and ``token``. The encoder runs once a batch over all clips (the public code runs it once for each kind of caption,
    and updates BatchNorm as often: its defect E4).

    Keys of the YAML beside RecipeBrain's: ``label_smoothing``; ``token_temperature`` (above 0; 1 takes the teacher's
    probabilities as they are); ``scheduled_sampling`` (fraction of input words that are the model's own by the end of
    training, rising linearly from 0); ``spec_augment`` (a module on log-mels (B, F, M), or null); ``swa_from_epoch``
    (weights are averaged from this epoch on, or null; not beside ``ema_decay``); ``select_by`` ("cider_d" of greedy
    captions of the validation clips, or "loss"); ``valid_beam``, ``max_words``.
    """

    required_hparams = (
        *RecipeBrain.required_hparams,
        *("label_smoothing", "token_temperature", "scheduled_sampling", "spec_augment", "swa_from_epoch"),
        *("select_by", "valid_beam", "max_words"),
    )

    def __init__(self, modules=None, opt_class=None, hparams=None, run_opts=None, checkpointer=None):
        super().__init__(modules, opt_class, hparams, run_opts, checkpointer)
        if self.hparams.select_by not in SELECTIONS:
            raise ConfigError(f"select_by={self.hparams.select_by!r}; choose one of {', '.join(SELECTIONS)}")
        if self.hparams.select_by == "cider_d":
            cider_d(["a dog", "rain"], [["a dog"], ["rain"]])  # raises now, not after an epoch, if it is not installed
        if self._weight("encoder") > 0 and "encoder_kd" not in self.modules:
            raise ConfigError("loss_weights has a term 'encoder', and modules no 'encoder_kd'")
        if not self.hparams.token_temperature > 0:
            raise ConfigError(f"token_temperature={self.hparams.token_temperature}; it is above 0")
        if not any(self._weight(term) > 0 for term in ("supervised", "sequence", "token", "encoder")):
            raise ConfigError("every term of loss_weights is 0: there is nothing to learn")
        tokenizer = self.evaluated_student().tokenizer
        self.pad_id, self.start_id, self.end_id = tokenizer.pad_id, tokenizer.start_id, tokenizer.end_id
        self.candidates, self.references = [], []

    def _weight(self, term):
        return self.hparams.loss_weights.get(term, 0.0)

    def make_average(self):
        """EMA by ``ema_decay``, SWA by ``swa_from_epoch``, or None."""
        if self.hparams.swa_from_epoch is None:
            return super().make_average()
        if self.hparams.ema_decay is not None:
            raise ConfigError("give ema_decay or swa_from_epoch, not both")
        return WeightAverage(self.modules.student, decay=None)

    def is_averaging(self):
        """Whether the present epoch's weights count in the average."""
        first = self.hparams.swa_from_epoch
        return first is None or self.hparams.epoch_counter.current >= first

    def compute_forward(self, batch, stage):
        """(CaptionerOutput, logits by term: ``supervised``, ``sequence``) of a CaptionBatch."""
        batch = batch.to(self.device)
        is_training = stage == sb.Stage.TRAIN
        student = self.modules.student if is_training else self.evaluated_student()
        log_mel, sampling = None, 0.0
        if is_training:
            if self.hparams.scheduled_sampling > 0:
                sampling = self.hparams.scheduled_sampling * self._progress()
            if self.hparams.spec_augment is not None:
                log_mel = self.hparams.spec_augment(getattr(student, "module", student).features(batch.wavs))
        captions = {"supervised": batch.ids} if self._weight("supervised") > 0 else {}
        if self._weight("sequence") > 0 or self._weight("token") > 0:
            captions["sequence"] = batch.teacher_ids
        captions = {term: ids for term, ids in captions.items() if ids is not None and len(ids) > 0}
        encoded, logits = student(
            [ids[:, :-1] for ids in captions.values()], batch.wavs, batch.n_samples, log_mel, sampling
        )
        if not is_training and self.hparams.select_by == "cider_d":
            self._caption(student, encoded, batch)
        return encoded, dict(zip(captions, logits, strict=True))

    def _progress(self):
        epochs = self.hparams.epoch_counter
        return min((epochs.current - 1 + self.step / self.steps_per_epoch) / epochs.limit, 1.0)

    def _caption(self, student, encoded, batch):
        state = student.decoder.begin(encoded.frames, encoded.n_frames)
        found = beam_search(
            student.decoder, state, self.start_id, self.end_id, self.hparams.valid_beam, self.hparams.max_words
        )
        self.candidates += [student.tokenizer.decode(ids) for ids in found.ids[:, 0].tolist()]
        self.references += batch.references

    def loss_terms(self, predictions, batch, stage):
        """The terms whose weight is above zero."""
        encoded, logits = predictions
        batch = batch.to(self.device)
        terms, absent = {}, encoded.clip.sum() * 0  # every step logs every term; validation clips lack teacher targets
        for term, ids in (("supervised", batch.ids), ("sequence", batch.teacher_ids)):
            if self._weight(term) > 0 and term not in logits:
                terms[term] = absent
            elif self._weight(term) > 0:
                # the teacher's words are smooth already (Kim & Rush)
                smoothing = self.hparams.label_smoothing if term == "supervised" else 0.0
                terms[term] = CaptionCrossEntropy(self.pad_id, smoothing)(logits[term], ids[:, 1:])
        if self._weight("token") > 0:
            if batch.choice_ids is not None:
                terms["token"] = TokenKD(self.hparams.token_temperature)(
                    logits["sequence"], (batch.choice_ids, batch.choice_probs)
                )
            elif stage == sb.Stage.TRAIN:
                raise ConfigError(
                    "the term 'token' needs the words that a teacher held possible, and the data has none; give "
                    '--teacher_options "{n_word_choices: 8}" and a store of its own (a captioner can, other kinds of '
                    "teachers cannot)"
                )
            else:
                terms["token"] = absent
        if self._weight("encoder") > 0:
            if batch.teacher_embedding is not None:
                terms["encoder"] = self.modules.encoder_kd(encoded.clip.float(), batch.teacher_embedding)
            elif stage == sb.Stage.TRAIN:
                raise ConfigError("the term 'encoder' needs a teacher's store, and the data has none")
            else:
                terms["encoder"] = absent
        return terms

    def validation_stats(self):
        """CIDEr-D on the validation clips, where it selects the best epoch."""
        if self.hparams.select_by != "cider_d":
            return {}
        value = cider_d(self.candidates, self.references)
        self.candidates, self.references = [], []
        return {"cider_d": value}

    def criterion(self, stats):
        """Minus CIDEr-D, or the loss."""
        return -stats["cider_d"] if self.hparams.select_by == "cider_d" else stats["loss"]
