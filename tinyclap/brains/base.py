"""Base of the training Brains: terms of the loss, exact logs, resuming, release.

On top of SpeechBrain's ``Brain``: every step is seeded by its place, so a resumed run repeats an unbroken one; losses
are fetched many steps at a time, or when the progress bar shows them; gradients that are left at an epoch's end make a
step, and checkpoints come between steps of the optimiser; a step with a gradient that is not finite is left out; the
best epoch is chosen by ``select_by``.
"""

import inspect
import logging
import math
import os
import time

import speechbrain as sb
import torch
from speechbrain.core import INTRA_EPOCH_CKPT_FLAG
from speechbrain.utils.distributed import if_main_process, run_on_main
from speechbrain.utils.optimizers import rm_vector_weight_decay
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import record_function

from tinyclap.brains.progress import LossBar, epoch_line, log_epoch
from tinyclap.brains.run_logs import STEP_FIELDS, RunLogs
from tinyclap.brains.step_log import Means, StepLog
from tinyclap.brains.terms import read_terms
from tinyclap.brains.whole_checkpoints import drop_half_saved, recover_whole, save_whole
from tinyclap.checkpoints.state import save_folder
from tinyclap.data.batches import EpochSampler, collate
from tinyclap.errors import CheckpointError, ConfigError, TinyclapError
from tinyclap.training.average import WeightAverage

logger = logging.getLogger(__name__)


class RecipeBrain(sb.Brain):
    """Base of the recipes' training Brains.

    ``modules`` holds the network to train as ``student`` and, where there is one, a frozen ``teacher``; the losses of
    ``terms`` (:func:`tinyclap.brains.terms.read_terms`) join them by their names. Every module with state but the
    teacher, the epoch counter, the schedule, the optimiser and the average are in the checkpoints.

    A subclass has ``compute_forward`` and ``loss_terms(predictions, batch, stage)``, a dict of named terms of shape ();
    the total is their weighted sum. Keys of the YAML that may be left out: ``select_by`` (``loss``, a term, or one of
    ``selections``: what the best epoch is chosen by), ``ema_decay``, ``train_logger`` (of SpeechBrain).
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
        taken = sorted(set(terms) & {*hparams["modules"], "optimizer", "brain", "average", "epoch_counter"})
        if taken:
            raise ConfigError(f"a term is called {taken[0]!r}, as another part of the run is; give it another name")
        select_by = hparams.get("select_by") or cls.default_selection()
        known = (*cls.selections, "loss", *terms)
        if select_by not in known:
            raise ConfigError(f"select_by: {select_by!r} is unknown; choose one of {', '.join(known)}")
        student = hparams["modules"].get("student")
        if student is None:
            raise ConfigError("modules has no student: there is nothing to train")
        if getattr(student, "folded", False):
            raise ConfigError("the student is folded: it has no norms left to train with; give the one it came from")

    @classmethod
    def default_selection(cls):
        """The value of ``select_by`` where the YAML has none."""
        return cls.selections[0] if cls.selections else "loss"

    def __init__(self, modules=None, opt_class=None, hparams=None, run_opts=None, checkpointer=None):
        self.check({**hparams, "modules": modules})
        self.terms = read_terms(hparams["terms"])
        losses = {name: term.loss for name, term in self.terms.items()}
        super().__init__({**modules, **losses}, opt_class, hparams, run_opts, checkpointer)
        self.select_by = hparams.get("select_by") or self.default_selection()
        # Depthwise convolutions of a batch run about 1.5 times as fast in this order on CPUs, and no slower on GPUs.
        self.modules.student.to(memory_format=torch.channels_last)
        self.recovered, self.average = False, self.make_average()
        self.logs, self.step_log, self.means = RunLogs(self.hparams.output_folder), StepLog(), Means()
        self._register()

    def _register(self):
        """Give the checkpointer everything that has a state."""
        parts = {name: module for name, module in self.modules.items() if name != "teacher" and module.state_dict()}
        parts |= {name: getattr(self.hparams, name) for name in ("epoch_counter", "lr_annealing")}
        if self.average is not None:
            parts["average"] = self.average.to(self.device)
        for name, part in parts.items():
            if self.checkpointer is not None and name not in self.checkpointer.recoverables:
                self.checkpointer.add_recoverable(name, part)

    def make_average(self):
        """The average of the student's weights, validated and released in its place, or None."""
        decay = getattr(self.hparams, "ema_decay", None)
        return None if decay is None else WeightAverage(self.modules.student, decay)

    def is_averaging(self):
        """Whether the average takes the present step's weights."""
        return True

    def evaluated_student(self):
        """The network that is validated and released: the weight average where there is one."""
        if self.average is not None and (self.average.decay is not None or int(self.average.n_averaged) > 0):
            return self.average.module
        return _unwrapped(self.modules.student)

    # Starting and stopping ------------------------------------------------------------------------------------------

    def init_optimizers(self):
        """Give the optimiser trainable parameters only, in its fused form where there is one."""
        trainable = [parameter for parameter in self.modules.parameters() if parameter.requires_grad]
        if not trainable:
            raise ConfigError("nothing to train: every parameter of the student is frozen")
        groups = rm_vector_weight_decay(self.modules) if self.remove_vector_weight_decay else trainable
        may_fuse = "fused" in inspect.signature(self.opt_class).parameters and self.device_type in ("cpu", "cuda")
        self.optimizer = self.opt_class(groups, **({"fused": True} if may_fuse else {}))
        self.optimizers_dict = {"optimizer": self.optimizer}
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("optimizer", self.optimizer)

    def on_fit_start(self):
        """Recover the newest whole checkpoint, and drop what was logged after it."""
        self._compile()
        self._wrap_distributed()
        self.init_optimizers()
        for name in drop_half_saved(self.checkpointer):
            logger.warning("%s was being saved when the run was stopped: it is thrown away", name)
        recover_whole(self.checkpointer)
        # In the middle of epoch e the counter stands at e - 1 and the step is not zero; after its end at e and zero.
        epoch = self.hparams.epoch_counter.current + (self.step > 0)
        for row in self.logs.truncate(epoch, self.step) if if_main_process() else ():
            self.means.add(row)

    def _compile(self):
        """With ``--compile``, compile the encoder alone: the STFT before it gains nothing, and breaks the graph."""
        if not self.compile or self.compile_module_keys is not None:
            super()._compile()
            return
        student = getattr(self.modules.student, "audio", self.modules.student)
        student.encoder.compile(
            mode=self.compile_mode,
            fullgraph=self.compile_using_fullgraph,
            dynamic=self.compile_using_dynamic_shape_tracing,
        )

    def _wrap_distributed(self):
        """Wrap what is trained. On CPUs without SyncBatchNorm, which PyTorch has for GPUs only."""
        if not (self.distributed_launch and self.device_type == "cpu"):
            super()._wrap_distributed()
            return
        for name, module in self.modules.items():
            if any(parameter.requires_grad for parameter in module.parameters()):
                self.modules[name] = DistributedDataParallel(module, find_unused_parameters=self.find_unused_parameters)

    def make_dataloader(self, dataset, stage, ckpt_prefix="dataloader-", **options):
        """SpeechBrain's loader of :class:`tinyclap.data.batches.Batch`, pinned on CUDA, its workers kept."""
        defaults = {"collate_fn": collate, "pin_memory": self.device_type == "cuda"}
        if options.get("num_workers"):
            defaults["persistent_workers"] = True
        return super().make_dataloader(dataset, stage, ckpt_prefix, **{**defaults, **options})

    def _train_loader_specifics(self, dataset, options):
        """An order of (seed, epoch), and this process' share of it."""
        options = dict(options)
        ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.train_sampler = EpochSampler(len(dataset), self.hparams.seed, options.pop("shuffle", True), *ranks)
        return {**options, "sampler": self.train_sampler}

    # Training -------------------------------------------------------------------------------------------------------

    def _fit_train(self, train_set, epoch, enable):
        self.steps_per_epoch = len(train_set)
        if self.steps_per_epoch == 0:
            raise ConfigError("fewer training examples than one batch holds; give a smaller --batch_size, or more data")
        # A run that was stopped between an epoch's last step and its validation has no step left to set the rate.
        self.lr = self._lr_at(epoch, max(self.step, 1))
        if epoch == 1 and self.step == 0:
            self.train_sampler.set_epoch(epoch)
            self.warm_up(train_set)
        self.started, self.n_clips, self.is_bad = time.monotonic(), 0, False
        options = {"initial": self.step, "dynamic_ncols": True, "disable": not enable}
        with LossBar(train_set, self._mean_loss, colour=self.tqdm_barcolor["train"], **options) as bar:
            super()._fit_train(bar, epoch, False)

    def warm_up(self, train_set):
        """Called once before the first step of a fresh run, with the loader of the training set."""

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
        return self.hparams.lr_annealing.lr_at(min(progress, 1.0))

    def fit_batch(self, batch):
        """SpeechBrain's step, but the host does not wait for the loss.

        Gradients of fewer than ``grad_accumulation_factor`` batches at an epoch's end make a step of their own.
        """
        should_step = self._is_whole_step()
        batch = batch.to(self.device)
        self.on_fit_batch_start(batch, should_step)
        with self.no_sync(not should_step):
            with self.training_ctx:
                with record_function("forward"):
                    outputs = self.compute_forward(batch, sb.Stage.TRAIN)
                with record_function("loss"):
                    loss = self.compute_objectives(outputs, batch, sb.Stage.TRAIN)
            with record_function("backward"):
                self.scaler.scale(loss / self.grad_accumulation_factor).backward()
        if should_step:
            with record_function("optimiser"):
                self.optimizers_step()
        self.on_fit_batch_end(batch, outputs, loss, should_step)
        return loss.detach()

    def _is_whole_step(self):
        return self.step % self.grad_accumulation_factor == 0 or self.step == self.steps_per_epoch

    def optimizers_step(self):
        """Clip the gradient of all parameters together, and step; a gradient that is not finite changes nothing."""
        self.scaler.unscale_(self.optimizer)
        trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(trained, self.max_grad_norm if self.max_grad_norm > 0 else math.inf)
        if not self.scaler.is_enabled():  # with fp16 the scaler leaves such steps out
            if self.optimizer.defaults.get("fused"):
                self.optimizer.found_inf = (~torch.isfinite(norm)).float()  # the host does not wait
            elif not torch.isfinite(norm):
                self.optimizer.zero_grad(set_to_none=True)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer_step += 1

    def on_fit_batch_end(self, batch, outputs, loss, should_step):
        """Update the weight average, and note the step."""
        if should_step and self.average is not None and self.is_averaging():
            self.average.update_parameters(_unwrapped(self.modules.student))
        self.n_clips += len(batch.id or next(iter(batch.values())))
        known = {"epoch": self.hparams.epoch_counter.current, "step": self.step, "lr": self.lr, "clips": batch.id}
        if self.step_log.add(known, {"loss": loss, **self.last_terms}):
            self._write_steps()

    def compute_objectives(self, predictions, batch, stage):
        """The weighted sum of the terms, whose values are kept for the log."""
        terms = self.loss_terms(predictions, batch, stage)
        self.last_terms = {name: term.detach() for name, term in terms.items()}
        return sum(self.terms[name].weight * term for name, term in terms.items())

    def update_average(self, loss, avg_loss):
        """Running mean of the losses for SpeechBrain; here :attr:`means` has it, fetched many steps at a time."""
        return avg_loss

    def _mean_loss(self):
        """Mean loss of the epoch's steps so far, or None."""
        self._write_steps()
        return self.means.values().get("loss")

    def _write_steps(self):
        """Fetch the noted steps, log them and count them; raise where too many losses are not finite."""
        rows = self.step_log.fetch()
        bad = [row for row in rows if not math.isfinite(row["loss"])]
        clips = {row["step"]: row.pop("clips") for row in rows}
        for row in rows:
            self.means.add({name: value for name, value in row.items() if name not in STEP_FIELDS})
        for row in bad:
            shown = ", ".join(map(str, (clips[row["step"]] or ())[:8]))
            logger.warning("step %d of epoch %d: the loss is not finite; clips %s …", row["step"], row["epoch"], shown)
        if rows and if_main_process():
            self.logs.add_steps(rows)
        self.nonfinite_count += len(bad)
        if bad and self.nonfinite_count > self.nonfinite_patience:
            raise TinyclapError(
                f"{self.nonfinite_count} losses of epoch {rows[-1]['epoch']} were not finite; lower --lr, or leave out "
                f"the clips that the warnings name (term by term in {self.logs.steps})"
            )

    # Validation, checkpoints ----------------------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate_batch(self, batch, stage):
        """SpeechBrain's, without waiting for the loss."""
        batch = batch.to(self.device)
        with self.evaluation_ctx:
            loss = self.compute_objectives(self.compute_forward(batch, stage), batch, stage)
        self.step_log.add({}, {"loss": loss, **self.last_terms})
        return loss.detach()

    def on_stage_start(self, stage, epoch=None):
        if stage != sb.Stage.TRAIN or self.step == 0:
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
            raise ConfigError(
                f"select_by: {self.select_by} is not computed in validation, which has {', '.join(stats)}"
            )
        self.hparams.lr_annealing.on_epoch_end(stats["loss"])
        record = {"epoch": epoch, "lr": self.lr, "train": self.train_stats, "valid": stats}
        if if_main_process():
            self.logs.add_epoch(record)
        meta = {**stats, "epoch": epoch, "valid_loss": stats["loss"], "criterion": self.criterion(stats)}
        self._save_whole(meta, min_keys=["criterion"])
        best = self.checkpointer.find_checkpoint(min_key="criterion").meta
        clips_per_second = self.n_clips * int(os.environ.get("WORLD_SIZE", 1)) / self.train_seconds
        best = {"epoch": best["epoch"], "by": self.select_by, "value": best[self.select_by]}
        seconds = time.monotonic() - self.started
        logger.info(epoch_line(record, self.hparams.epoch_counter.limit, seconds, clips_per_second, best))
        if epoch == self.hparams.epoch_counter.limit > 1 and best["epoch"] == 1:
            logger.warning(
                "the first of %d epochs is the best by %s: training made it no better", epoch, self.select_by
            )
        if getattr(self.hparams, "train_logger", None) is not None:
            meta = {"epoch": epoch, "lr": self.lr, "seconds": seconds, "clips_per_second": clips_per_second}
            log_epoch(self.hparams.train_logger, meta, self.train_stats, stats)

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time, steps_since_ckpt):
        return self._is_whole_step() and super()._should_save_intra_epoch_ckpt(last_ckpt_time, steps_since_ckpt)

    def _save_intra_epoch_ckpt(self):
        self._write_steps()
        mark = {INTRA_EPOCH_CKPT_FLAG: True}
        self._save_whole(mark, end_of_epoch=False, ckpt_predicate=lambda kept: INTRA_EPOCH_CKPT_FLAG in kept.meta)

    def _save_whole(self, meta, **options):
        """Save a checkpoint, unless the student is no number any more."""
        check_finite(_unwrapped(self.modules.student), "the student diverged, and the checkpoint before it stays")
        save_whole(self.checkpointer, meta, **options)

    def criterion(self, stats):
        """What the best checkpoint minimises; `stats` maps names to floats."""
        value = stats[self.select_by]
        return -value if self.select_by in self.selections else value

    def validation_stats(self):
        """More numbers of the validation, name → float."""
        return {}

    # Release --------------------------------------------------------------------------------------------------------

    def recover_best(self):
        """Load the checkpoint with the minimum :meth:`criterion`, or raise; its name, epoch, loss and criterion."""
        if self.checkpointer is None:
            raise CheckpointError("no checkpointer, so no checkpoint: nothing to score")
        best = recover_whole(self.checkpointer, min_key="criterion")
        if best is None:
            raise CheckpointError(
                f"no checkpoint in {self.checkpointer.checkpoints_dir}; train first: nothing to score"
            )
        self.recovered = True
        shown = {key: best.meta[key] for key in ("valid_loss", "criterion")}
        return {"checkpoint": best.path.name, "epoch": self.hparams.epoch_counter.current, **shown}

    def release(self, folder, extra):
        """Write the best checkpoint as JSON and safetensors into `folder`; `extra` joins its ``config.json``."""
        best = self.recover_best()
        check_finite(self.evaluated_student(), "the student diverged, and is not released")
        run_on_main(save_folder, args=[self.evaluated_student(), folder, {**extra, "selected": best}])

    def on_evaluate_start(self, max_key=None, min_key=None):
        if not self.recovered:
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


def _unwrapped(student):
    """The network inside DistributedDataParallel or torch.compile."""
    student = getattr(student, "module", student)
    return getattr(student, "_orig_mod", student)
