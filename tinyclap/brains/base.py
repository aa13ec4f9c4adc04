"""Base of the training Brains: checked YAML keys, exact logs, resuming, release.

On top of SpeechBrain's ``Brain``: an evaluation without a checkpoint raises; numbers are logged in full precision;
every step is seeded by its place, so a resumed run repeats an unbroken one; losses are fetched many steps at a time;
accumulated gradients make a step at an epoch's end, and checkpoints come between steps of the optimiser; checkpoints
that a killed run left incomplete are removed.
"""

import csv
import inspect
import json
import logging
import math
import os
from pathlib import Path

import speechbrain as sb
import torch
from speechbrain.core import INTRA_EPOCH_CKPT_FLAG
from speechbrain.utils.distributed import if_main_process, run_on_main
from torch.nn.parallel import DistributedDataParallel

from tinyclap.brains.step_log import StepLog
from tinyclap.brains.whole_checkpoints import drop_half_saved, save_whole
from tinyclap.checkpoints.state import save_folder
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.training.average import WeightAverage

logger = logging.getLogger(__name__)

_STEP_FIELDS = ("epoch", "step", "lr", "loss")  # of train_steps.csv; what follows are the loss's terms


class RecipeBrain(sb.Brain):
    """Base of the recipes' training Brains.

    ``modules`` holds the network to train as ``student`` and, where there is one, a frozen ``teacher``. A subclass has
    ``compute_forward`` and ``loss_terms(predictions, batch, stage)``, a dict of named terms of shape (); the total is
    their sum weighted by ``loss_weights`` of the YAML (1 by default).
    """

    required_hparams = ("output_folder", "epoch_counter", "lr_schedule", "seed", "ema_decay", "loss_weights")

    def __init__(self, modules=None, opt_class=None, hparams=None, run_opts=None, checkpointer=None):
        missing = [key for key in self.required_hparams if key not in hparams]
        if missing:
            raise ConfigError(f"{type(self).__name__} needs the YAML keys: {', '.join(missing)}")
        if getattr(modules["student"], "folded", False):
            raise ConfigError(
                "the student is folded: it has no norms left to train with; give the student it was folded from"
            )
        super().__init__(modules, opt_class, hparams, run_opts, checkpointer)
        # Depthwise convolutions of a batch run about 1.5 times as fast in this order on CPUs, and no slower on GPUs.
        self.modules.student.to(memory_format=torch.channels_last)
        self.recovered = False
        self.average = self.make_average()
        if self.average is not None:
            self.checkpointer.add_recoverable("average", self.average.to(self.device))
        self.terms_sum, self.n_terms, self.step_log = {}, 0, StepLog()

    def make_average(self):
        """The average of the student's weights, validated and released in its place, or None."""
        if self.hparams.ema_decay is None:
            return None
        return WeightAverage(self.modules.student, self.hparams.ema_decay)

    def is_averaging(self):
        """Whether the average takes the present step's weights."""
        return True

    def init_optimizers(self):
        """Give the optimiser trainable parameters only, in its fused form where there is one."""
        trainable = [parameter for parameter in self.modules.parameters() if parameter.requires_grad]
        may_fuse = "fused" in inspect.signature(self.opt_class).parameters and self.device_type in ("cpu", "cuda")
        self.optimizer = self.opt_class(trainable, **({"fused": True} if may_fuse else {}))
        self.optimizers_dict = {"optimizer": self.optimizer}
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("optimizer", self.optimizer)

    def on_fit_start(self):
        """Recover the newest complete checkpoint, and drop steps logged after it."""
        for name in drop_half_saved(self.checkpointer):
            logger.warning("%s was being saved when the run was stopped: it is thrown away", name)
        super().on_fit_start()
        self._truncate_logs()

    def _wrap_distributed(self):
        """Wrap what is trained. On CPUs without SyncBatchNorm, which PyTorch has for GPUs only."""
        if not (self.distributed_launch and self.device_type == "cpu"):
            super()._wrap_distributed()
            return
        for name, module in self.modules.items():
            if any(parameter.requires_grad for parameter in module.parameters()):
                self.modules[name] = DistributedDataParallel(module, find_unused_parameters=self.find_unused_parameters)

    def _fit_train(self, train_set, epoch, enable):
        self.steps_per_epoch = len(train_set)
        if self.steps_per_epoch == 0:
            raise ConfigError("fewer training examples than one batch holds; give a smaller --batch_size, or more data")
        # A run that was stopped between an epoch's last step and its validation has no step left to set the rate.
        self.lr = self._lr_at(epoch, max(self.step, 1))
        super()._fit_train(train_set, epoch, enable)

    def on_fit_batch_start(self, batch, should_step):
        """Seed the step by its place, and set its learning rate."""
        epoch = self.hparams.epoch_counter.current
        rank = int(os.environ.get("RANK", 0))
        torch.manual_seed((self.hparams.seed * 1_000_003 + epoch * 1_000_000 + self.step) * 64 + rank)
        self.lr = self._lr_at(epoch, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr

    def _lr_at(self, epoch, step):
        progress = (epoch - 1 + (step - 1) / self.steps_per_epoch) / self.hparams.epoch_counter.limit
        return self.hparams.lr_schedule.lr_at(min(progress, 1.0))

    def fit_batch(self, batch):
        """SpeechBrain's step, but the host does not wait for the loss.

        Gradients of fewer than ``grad_accumulation_factor`` batches at an epoch's end make a step of their own.
        """
        should_step = self._is_whole_step()
        self.on_fit_batch_start(batch, should_step)
        with self.no_sync(not should_step):
            with self.training_ctx:
                outputs = self.compute_forward(batch, sb.Stage.TRAIN)
                loss = self.compute_objectives(outputs, batch, sb.Stage.TRAIN)
            self.scaler.scale(loss / self.grad_accumulation_factor).backward()
        if should_step:
            self.optimizers_step()
        self.on_fit_batch_end(batch, outputs, loss, should_step)
        return loss.detach()

    def _is_whole_step(self):
        return self.step % self.grad_accumulation_factor == 0 or self.step == self.steps_per_epoch

    def on_fit_batch_end(self, batch, outputs, loss, should_step):
        """Update the weight average, and note the step."""
        if should_step and self.average is not None and self.is_averaging():
            self.average.update_parameters(_unwrapped(self.modules.student))
        known = {"epoch": self.hparams.epoch_counter.current, "step": self.step, "lr": self.lr}
        if self.step_log.add(known, {"loss": loss, **self.last_terms}):
            self._write_steps()

    def update_average(self, loss, avg_loss):
        """Running mean of the losses; in training, :meth:`_write_steps` computes it."""
        return self.avg_train_loss if self.is_training_stage else super().update_average(loss, avg_loss)

    def _write_steps(self):
        """Fetch the noted steps, log them, update the means, and raise where too many losses are not finite."""
        rows = self.step_log.fetch()
        for row in rows:
            if math.isfinite(row["loss"]):
                self.avg_train_loss -= self.avg_train_loss / row["step"]
                self.avg_train_loss += row["loss"] / row["step"]
            else:
                self.nonfinite_count += 1
                logger.warning("the loss of step %d of epoch %d is not finite", row["step"], row["epoch"])
            self._add_terms({name: value for name, value in row.items() if name not in _STEP_FIELDS})
        if rows and if_main_process():
            self._append_rows("train_steps.csv", rows)
        if self.nonfinite_count > self.nonfinite_patience:
            raise ValueError(
                f"{self.nonfinite_count} losses of epoch {rows[-1]['epoch']} were not finite; lower --lr, or see in "
                "train_steps.csv which term it is"
            )

    def _add_terms(self, terms):
        self.n_terms += 1
        for name, value in terms.items():
            self.terms_sum[name] = self.terms_sum.get(name, 0.0) + value

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time, steps_since_ckpt):
        return self._is_whole_step() and super()._should_save_intra_epoch_ckpt(last_ckpt_time, steps_since_ckpt)

    def _save_intra_epoch_ckpt(self):
        self._write_steps()  # the checkpoint knows the mean of their losses
        mark = {INTRA_EPOCH_CKPT_FLAG: True}
        save_whole(self.checkpointer, mark, False, ckpt_predicate=lambda kept: INTRA_EPOCH_CKPT_FLAG in kept.meta)

    def compute_objectives(self, predictions, batch, stage):
        """The weighted sum of the terms, whose values are kept for the log."""
        terms = self.loss_terms(predictions, batch, stage)
        weights = self.hparams.loss_weights
        unknown = {name for name, weight in weights.items() if weight} - set(terms)
        if unknown:
            raise ConfigError(f"loss_weights names {sorted(unknown)}; the terms are {sorted(terms)}")
        self.last_terms = {name: term.detach() for name, term in terms.items()}
        if stage != sb.Stage.TRAIN:
            self._add_terms({name: term.item() for name, term in self.last_terms.items()})
        return sum(weights.get(name, 1.0) * term for name, term in terms.items())

    def on_stage_start(self, stage, epoch=None):
        self.is_training_stage = stage == sb.Stage.TRAIN
        if stage != sb.Stage.TRAIN or self.step == 0:
            self.terms_sum, self.n_terms = {}, 0

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Log the stage; after validation, step the schedule and save a checkpoint, keeping the best and the last."""
        if stage == sb.Stage.TRAIN:
            self._write_steps()
            self.train_stats = {"loss": self.avg_train_loss, **self._term_means()}
            return
        means = self._term_means()
        if stage == sb.Stage.VALID:
            stats = {"loss": float(stage_loss), **means, **self.validation_stats()}
            self.hparams.lr_schedule.on_epoch_end(stats["loss"])
            if if_main_process():
                record = {"epoch": epoch, "lr": self.lr, "train": self.train_stats, "valid": stats}
                with open(self._path("history.jsonl"), "a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
            shown = ", ".join(f"{name} {value:.4f}" for name, value in stats.items())
            logger.info(
                "epoch %d of %d: lr %.2e, train loss %.4f, valid %s",
                epoch,
                self.hparams.epoch_counter.limit,
                self.lr,
                self.train_stats["loss"],
                shown,
            )
            meta = {"valid_loss": stats["loss"], **stats, "criterion": self.criterion(stats)}
            save_whole(self.checkpointer, meta, min_keys=["criterion"])

    def _term_means(self):
        return {name: total / max(self.n_terms, 1) for name, total in self.terms_sum.items()}

    def criterion(self, stats):
        """What the best checkpoint minimises: the validation loss by default. `stats` maps names to floats."""
        return stats["loss"]

    def validation_stats(self):
        """More numbers of the validation, name → float."""
        return {}

    def evaluated_student(self):
        """The network that is validated and released: the weight average where there is one."""
        if self.average is not None and (self.hparams.ema_decay is not None or int(self.average.n_averaged) > 0):
            return self.average.module
        return _unwrapped(self.modules.student)

    def recover_best(self):
        """Load the checkpoint with the minimum :meth:`criterion`, or raise; its name, epoch, loss and criterion."""
        if self.checkpointer is None:
            raise CheckpointError("no checkpointer, so no checkpoint: nothing to score")
        best = self.checkpointer.recover_if_possible(min_key="criterion")
        if best is None:
            raise CheckpointError(
                f"no checkpoint in {self.checkpointer.checkpoints_dir}; train first: nothing to score"
            )
        self.recovered = True
        epoch = self.hparams.epoch_counter.current
        shown = {key: best.meta[key] for key in ("valid_loss", "criterion")}
        return {"checkpoint": best.path.name, "epoch": epoch, **shown}

    def release(self, folder, extra):
        """Write the best checkpoint as JSON and safetensors into `folder`; `extra` joins its ``config.json``."""
        best = self.recover_best()
        run_on_main(save_folder, args=[self.evaluated_student(), folder, {**extra, "selected": best}])

    def on_evaluate_start(self, max_key=None, min_key=None):
        if not self.recovered:
            self.recover_best()

    def _path(self, name):
        return Path(self.hparams.output_folder) / name

    def _append_rows(self, name, rows):
        path = self._path(name)
        is_new = not path.exists() or path.stat().st_size == 0
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            if is_new:
                writer.writeheader()
            writer.writerows(rows)

    def _truncate_logs(self):
        """Drop what was logged after the checkpoint that is resumed from."""
        if not if_main_process():
            return
        # In the middle of epoch e the counter stands at e - 1 and the step is not zero; after its end at e and zero.
        known = (self.hparams.epoch_counter.current + (self.step > 0), self.step)
        steps, history = self._path("train_steps.csv"), self._path("history.jsonl")
        if steps.exists():
            with open(steps, newline="", encoding="utf-8") as file:
                lines = file.read().splitlines(keepends=True)
            kept = [line for line in lines[1:] if line.endswith("\n") and self._is_known(line, known)]
            steps.write_text("".join([*lines[:1], *kept]), encoding="utf-8")
            for row in csv.DictReader([*lines[:1], *kept]) if self.step > 0 else ():
                if int(row["epoch"]) == known[0]:  # for the means of the interrupted epoch
                    self._add_terms({name: float(value) for name, value in row.items() if name not in _STEP_FIELDS})
        if history.exists():
            records = [line for line in history.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
            done = self.hparams.epoch_counter.current
            kept = [line + "\n" for line in records if json.loads(line)["epoch"] <= done]
            history.write_text("".join(kept), encoding="utf-8")

    def _is_known(self, line, known):
        epoch, step = (int(word) for word in line.split(",")[:2])
        return (epoch, step) <= known if self.step > 0 else epoch <= known[0]


def _unwrapped(student):
    """The network inside DistributedDataParallel or torch.compile."""
    student = getattr(student, "module", student)
    return getattr(student, "_orig_mod", student)
