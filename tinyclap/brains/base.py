"""Base of the training Brains: terms of the loss, validation, checkpoints, release.

The best epoch is chosen by ``select_by``. Checkpoints come between steps of the optimiser.
"""

import logging
import math
import os
import time

import speechbrain as sb
import torch
from speechbrain.core import INTRA_EPOCH_CKPT_FLAG
from speechbrain.utils.distributed import if_main_process, run_on_main

from tinyclap.brains.checkpoints import recover_whole, save_whole
from tinyclap.brains.logs import Means, log_epoch
from tinyclap.brains.steps import StepBrain, unwrapped
from tinyclap.brains.terms import read_terms
from tinyclap.checkpoints.state import save_folder
from tinyclap.errors import CheckpointError, ConfigError, TinyclapError
from tinyclap.training.average import WeightAverage

logger = logging.getLogger(__name__)

_PARTS_OF_A_RUN = ("optimizer", "scaler", "brain", "average", "epoch_counter", "lr_annealing")


class RecipeBrain(StepBrain):
    """Base of the recipes' training Brains.

    ``modules`` holds the network to train as ``student`` and, where there is one, a frozen ``teacher``; the losses of
    ``terms`` (:func:`tinyclap.brains.terms.read_terms`) join them by their names. Every module with state but the
    teacher, the epoch counter, the schedule, the optimiser and the average are in the checkpoints.

    A subclass has ``compute_forward`` and ``loss_terms(predictions, batch, stage)``, a dict of named terms of shape ();
    the total is their weighted sum. Keys of the YAML that may be left out: ``select_by`` (``loss``, a term, or one of
    ``selections``: what the best epoch is chosen by), ``ema_decay`` or ``swa_from_epoch`` (weights are averaged, from
    this epoch on), ``train_logger`` (of SpeechBrain).
    """

    required_hparams = ("output_folder", "epoch_counter", "lr_annealing", "seed", "terms")
    selections = ()  # of select_by, beside "loss" and the terms, all of them maximised; the first is the default

    @classmethod
    def check(cls, hparams):
        """Refuse what cannot be trained, before any data is read; `hparams` is the loaded YAML.

        Raises
        ------
        ConfigError
        """
        missing = [key for key in cls.required_hparams if key not in hparams]
        if missing:
            raise ConfigError(f"{cls.__name__} needs the YAML keys: {', '.join(missing)}")
        terms = read_terms(hparams["terms"])
        taken = sorted(set(terms) & {*hparams["modules"], *_PARTS_OF_A_RUN})
        if taken:
            raise ConfigError(f"a term is called {taken[0]!r}, as another part of the run is; give it another name")
        known = (*cls.selections, "loss", *terms)
        if (hparams.get("select_by") or "loss") not in known:
            raise ConfigError(f"select_by: {hparams['select_by']!r} is unknown; choose one of {', '.join(known)}")
        if hparams.get("ema_decay") is not None and hparams.get("swa_from_epoch") is not None:
            raise ConfigError("give ema_decay or swa_from_epoch, not both")
        student = hparams["modules"].get("student")
        if student is None:
            raise ConfigError("modules has no student: there is nothing to train")
        if getattr(student, "folded", False):
            raise ConfigError("the student is folded: it has no norms left to train with; give the one it came from")

    def __init__(self, modules=None, opt_class=None, hparams=None, run_opts=None, checkpointer=None):
        self.check({**hparams, "modules": modules})
        self.terms = read_terms(hparams["terms"])
        losses = {name: term.loss for name, term in self.terms.items()}
        for loss in losses.values():  # of captions, whose words are the student's
            if hasattr(loss, "pad_id") and hasattr(modules["student"], "tokenizer"):
                loss.pad_id = modules["student"].tokenizer.pad_id
        super().__init__({**modules, **losses}, opt_class, hparams, run_opts, checkpointer)
        self.select_by = hparams.get("select_by") or (*self.selections, "loss")[0]
        # Depthwise convolutions of a batch run about 1.5 times as fast in this order on CPUs, and no slower on GPUs.
        self.modules.student.to(memory_format=torch.channels_last)
        decay, self.swa_from_epoch = hparams.get("ema_decay"), hparams.get("swa_from_epoch")
        is_averaging = decay is not None or self.swa_from_epoch is not None
        self.average = WeightAverage(self.modules.student, decay).to(self.device) if is_averaging else None
        parts = {name: module for name, module in self.modules.items() if name != "teacher" and module.state_dict()}
        parts |= {name: getattr(self.hparams, name) for name in ("epoch_counter", "lr_annealing")}
        if self.average is not None:
            parts["average"] = self.average
        if self.checkpointer is not None:
            self.checkpointer.add_recoverables(parts)

    def evaluated_student(self):
        """The network that is validated and released: the weight average where there is one."""
        if self.average is not None and (self.average.decay is not None or int(self.average.n_averaged) > 0):
            return self.average.module
        return unwrapped(self.modules.student)

    def on_fit_start(self):
        """Recover the newest whole checkpoint, and drop what was logged after it."""
        self._compile()
        self._wrap_distributed()
        self.init_optimizers()
        recover_whole(self.checkpointer)
        # In the middle of epoch e the counter stands at e - 1 and the step is not zero; after its end at e and zero.
        epoch = self.hparams.epoch_counter.current + (self.step > 0)
        if if_main_process():
            self._count(self.logs.truncate(epoch, self.step))

    def compute_objectives(self, predictions, batch, stage):
        """The weighted sum of the terms, whose values are kept for the log."""
        terms = self.loss_terms(predictions, batch, stage)
        self.last_terms = {name: term.detach() for name, term in terms.items()}
        weighted = [self.terms[name].weight * term for name, term in terms.items()]
        return sum(weighted[1:], weighted[0]) if weighted else torch.zeros((), device=self.device)

    def on_stage_start(self, stage, epoch=None):
        if stage != sb.Stage.TRAIN:
            self.means = Means()

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Log the stage; after validation, step the schedule and save a checkpoint, keeping the best and the last."""
        if stage == sb.Stage.TRAIN:
            self._write_steps()
            self.train_stats, self.train_seconds = self.means.values(), time.monotonic() - self.started
            return
        for row in self.step_log.fetch():
            self.means.add(row)
        if stage == sb.Stage.VALID:
            self._end_epoch(epoch, mean_over_ranks({**self.means.values(), **self.validation_stats()}, self.device))

    def _end_epoch(self, epoch, stats):
        if not all(map(math.isfinite, stats.values())):
            raise TinyclapError(
                f"epoch {epoch}: the validation gives {stats}: the run diverged, and nothing of this epoch is kept; "
                "lower --lr, or leave out the clips that warnings name"
            )
        if self.select_by not in stats:
            raise ConfigError(f"select_by: {self.select_by} is not computed in validation, only {', '.join(stats)}")
        valid_loss = stats.get("loss", self.criterion(stats))  # a captioner without references has none
        self.hparams.lr_annealing.on_epoch_end(valid_loss)
        record = {"epoch": epoch, "lr": self.lr, "train": self.train_stats, "valid": stats}
        if if_main_process():
            self.logs.add_epoch(record)
        meta = {**stats, "epoch": epoch, "valid_loss": valid_loss, "criterion": self.criterion(stats)}
        self._save_whole(meta, min_keys=["criterion"])
        self._report(record)

    def _report(self, record):
        """A line on an epoch, and the numbers for SpeechBrain's loggers."""
        epoch, n_epochs = record["epoch"], self.hparams.epoch_counter.limit
        best = self.checkpointer.find_checkpoint(min_key="criterion").meta
        seconds = time.monotonic() - self.started
        clips_per_second = self.n_clips * int(os.environ.get("WORLD_SIZE", 1)) / self.train_seconds
        train, valid = (
            ", ".join(f"{key} {value:.4f}" for key, value in record[part].items()) for part in ("train", "valid")
        )
        logger.info(
            f"epoch {epoch} of {n_epochs}: {seconds:.1f} s, {clips_per_second:.0f} clips/s, lr {self.lr:.2e}; "
            f"train {train}; valid {valid}; best so far: epoch {best['epoch']}, {self.select_by} "
            f"{best[self.select_by]:.4f}"
        )
        if epoch == n_epochs > 1 and best["epoch"] == 1:
            logger.warning(
                "the first of %d epochs is the best by %s: training made it no better", epoch, self.select_by
            )
        if getattr(self.hparams, "train_logger", None) is not None:
            log_epoch(self.hparams.train_logger, record, seconds=seconds, clips_per_second=clips_per_second)

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time, steps_since_ckpt):
        return self._is_whole_step() and super()._should_save_intra_epoch_ckpt(last_ckpt_time, steps_since_ckpt)

    def _save_intra_epoch_ckpt(self):
        self._write_steps()
        mark = {INTRA_EPOCH_CKPT_FLAG: True}
        self._save_whole(mark, end_of_epoch=False, ckpt_predicate=lambda kept: INTRA_EPOCH_CKPT_FLAG in kept.meta)

    def _save_whole(self, meta, **options):
        """Save a checkpoint, unless the student is no number any more."""
        check_finite(unwrapped(self.modules.student), "the student diverged, and the checkpoint before it stays")
        save_whole(self.checkpointer, meta, **options)

    def criterion(self, stats):
        """What the best checkpoint minimises; `stats` maps names to floats."""
        return -stats[self.select_by] if self.select_by in self.selections else stats[self.select_by]

    def validation_stats(self):
        """More numbers of the validation, name → float."""
        return {}

    def recover_best(self):
        """Load the checkpoint with the minimum :meth:`criterion`, or raise; its name, epoch, loss and criterion."""
        if self.checkpointer is None:
            raise CheckpointError("no checkpointer, so no checkpoint: nothing to score")
        best = recover_whole(self.checkpointer, min_key="criterion")
        if best is None:
            folder = self.checkpointer.checkpoints_dir
            raise CheckpointError(f"no checkpoint in {folder}; train first: nothing to score")
        shown = {key: best.meta[key] for key in ("valid_loss", "criterion")}
        return {"checkpoint": best.path.name, "epoch": self.hparams.epoch_counter.current, **shown}

    def release(self, folder, extra):
        """Write the best checkpoint as JSON and safetensors into `folder`; `extra` joins its ``config.json``."""
        best = self.recover_best()
        check_finite(self.evaluated_student(), "the student diverged, and is not released")
        run_on_main(save_folder, args=[self.evaluated_student(), folder, {**extra, "selected": best}])

    def on_evaluate_start(self, max_key=None, min_key=None):
        self.recover_best()


def check_finite(module, what):
    """Raise a CheckpointError where a weight or statistic of a module is not finite."""
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{name} is not finite: {what}; lower --lr, or leave out clips that warnings name")


def mean_over_ranks(stats, device):
    """Numbers by name, averaged over the processes of a run, so that all decide alike."""
    if not torch.distributed.is_initialized():
        return stats
    values = torch.tensor(list(stats.values()), device=device, dtype=torch.float64)
    torch.distributed.all_reduce(values)
    return dict(zip(stats, (values / torch.distributed.get_world_size()).tolist(), strict=True))
