"""SpeechBrain's training loop for our recipes: reproducible steps, on which the host never waits for the device.

Every step is seeded by its place, so a resumed run repeats an unbroken one. Losses are fetched many steps at a time, or
when the progress bar is drawn. Gradients that are left at an epoch's end make a step; one that is not finite changes
nothing.
"""

import inspect
import logging
import math
import os
import time

import speechbrain as sb
import torch
from speechbrain.utils.distributed import if_main_process
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import record_function

from tinyclap.brains.logs import STEP_FIELDS, LossBar, Means, RunLogs, StepLog
from tinyclap.data.batches import EpochSampler, collate
from tinyclap.errors import ConfigError, TinyclapError

logger = logging.getLogger(__name__)


class StepBrain(sb.Brain):
    """Base of :class:`tinyclap.brains.base.RecipeBrain`, which has ``loss_terms``, terms and the weight average."""

    def __init__(self, modules=None, opt_class=None, hparams=None, run_opts=None, checkpointer=None):
        super().__init__(modules, opt_class, hparams, run_opts, checkpointer)
        self.logs, self.step_log, self.means = RunLogs(self.hparams.output_folder), StepLog(), Means()

    def init_optimizers(self):
        """Give the optimiser trainable parameters only, in its fused form where there is one."""
        trainable = [parameter for parameter in self.modules.parameters() if parameter.requires_grad]
        if not trainable:
            raise ConfigError("nothing to train: every parameter of the student is frozen")
        # temperatures and biases of losses: zero means nothing to them
        of_losses = {one for name in self.terms for one in self.modules[name].parameters()}
        decays_no_vector = self.remove_vector_weight_decay
        fixed = {one for one in trainable if one.ndim == 0 and one in of_losses or one.ndim <= 1 and decays_no_vector}
        groups = [{"params": [one for one in trainable if one not in fixed]}]
        if fixed:
            groups.append({"params": [one for one in trainable if one in fixed], "weight_decay": 0.0})
        may_fuse = "fused" in inspect.signature(self.opt_class).parameters and self.device_type in ("cpu", "cuda")
        self.optimizer = self.opt_class(groups, **({"fused": True} if may_fuse else {}))
        self.optimizers_dict = {"optimizer": self.optimizer}
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("optimizer", self.optimizer)

    def _compile(self):
        """With ``--compile``, compile the encoder alone: the STFT before it gains nothing, and breaks the graph."""
        if not self.compile or self.compile_module_keys is not None:
            super()._compile()
            return
        student = getattr(self.modules.student, "audio", self.modules.student)
        shapes = {"fullgraph": self.compile_using_fullgraph, "dynamic": self.compile_using_dynamic_shape_tracing}
        student.encoder.compile(mode=self.compile_mode, **shapes)

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

    def _fit_train(self, train_set, epoch, enable):
        self.steps_per_epoch = len(train_set)
        if self.steps_per_epoch == 0:
            raise ConfigError("fewer training examples than one batch holds; give a smaller --batch_size, or more data")
        # A run that was stopped between an epoch's last step and its validation has no step left to set the rate.
        self.lr = self._lr_at(epoch, max(self.step, 1))
        if epoch == 1 and self.step == 0:
            if self.train_sampler is not None:
                self.train_sampler.set_epoch(epoch)
            self.warm_up(train_set)
        self.started, self.n_clips, self.nonfinite_count = time.monotonic(), 0, 0
        if self.step == 0:
            self.means = Means()
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
        epoch = self.hparams.epoch_counter.current
        if should_step and self.average is not None and epoch >= (self.swa_from_epoch or 0):
            self.average.update_parameters(unwrapped(self.modules.student))
        self.n_clips += len(batch.id or next(iter(batch.values())))
        known = {"epoch": epoch, "step": self.step, "lr": self.lr, "clips": batch.id}
        if self.step_log.add(known, {"loss": loss, **self.last_terms}):
            self._write_steps()

    @torch.no_grad()
    def evaluate_batch(self, batch, stage):
        """SpeechBrain's, without waiting for the loss."""
        batch = batch.to(self.device)
        with self.evaluation_ctx:
            loss = self.compute_objectives(self.compute_forward(batch, stage), batch, stage)
        if self.last_terms:
            self.step_log.add({}, {"loss": loss, **self.last_terms})
        return loss.detach()

    def update_average(self, loss, avg_loss):
        """Running mean of the losses for SpeechBrain; here :attr:`means` has it, fetched many steps at a time."""
        return avg_loss

    def _mean_loss(self):
        """Mean loss of the epoch's steps so far, or None."""
        self._write_steps()
        return self.means.values().get("loss")

    def _count(self, rows):
        """Count losses of steps, but those that are not finite."""
        for row in rows:
            if math.isfinite(row["loss"]):
                self.means.add(row)

    def _write_steps(self):
        """Fetch the noted steps, log them and count them; raise where too many losses are not finite."""
        rows = self.step_log.fetch()
        bad = [row for row in rows if not math.isfinite(row["loss"])]
        clips = {row["step"]: row.pop("clips") for row in rows}
        self._count([{name: value for name, value in row.items() if name not in STEP_FIELDS} for row in rows])
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


def unwrapped(student):
    """The network inside DistributedDataParallel or torch.compile."""
    student = getattr(student, "module", student)
    return getattr(student, "_orig_mod", student)
