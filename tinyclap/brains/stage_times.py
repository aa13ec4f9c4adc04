"""Profile of a training step by stage, for ``train.py --profile True``; on a GPU it synchronises at each boundary."""

import logging
import time
from collections import defaultdict
from pathlib import Path

import speechbrain as sb
import torch

from tinyclap.files import read_json, write_json

logger = logging.getLogger(__name__)

STAGES = ("wait for data", "log-mel", "teacher", "forward", "loss", "backward", "optimiser", "after the step")


class StageTimes:
    """Times the stages of a Brain's training steps, but an epoch's first, which starts the workers.

    Arguments
    ---------
    brain : tinyclap.brains.RecipeBrain
    output_folder : str or os.PathLike. ``profile.json`` is written there: a list with one dict an epoch.
    reader : tinyclap.data.clip_reader.ClipReader, optional. Tells decoding from other waiting, where no workers do it.
    """

    def __init__(self, brain, output_folder, reader=None):
        self.brain, self.reader, self.path = brain, reader, Path(output_folder) / "profile.json"
        self.records = read_json(self.path, "delete it", kind=list) if self.path.exists() else []
        self._begin_epoch()

    def attach(self):
        """Wrap the Brain's methods; returns itself."""
        brain = self.brain
        self._around(brain, "on_fit_batch_start", before="wait for data")
        self._around(brain, "compute_forward", after="forward")
        self._around(brain, "compute_objectives", after="loss")
        self._around(brain, "optimizers_step", before="backward", after="optimiser")
        self._around(brain, "on_fit_batch_end", before="backward", after="after the step")
        self._around(brain, "on_stage_start", begins=True)
        self._around(brain, "on_stage_end", ends=True)
        student, teacher = brain.modules.student, brain.modules["teacher"] if "teacher" in brain.modules else None
        features = getattr(getattr(student, "module", student), "features", None)
        if features is not None:
            self._around(features, "forward", inside="log-mel")
        if hasattr(teacher, "embed_audio"):
            self._around(teacher, "embed_audio", inside="teacher")
        return self

    def _around(self, owner, name, before=None, after=None, inside=None, begins=False, ends=False):
        """Wrap one method: book the time up to it, in it, or in it but outside of what holds it."""
        method = getattr(owner, name)

        def timed(*arguments, **options):
            if begins and arguments[0] == sb.Stage.TRAIN:
                self._begin_epoch()
            if ends and arguments[0] == sb.Stage.TRAIN:
                self._end_epoch(arguments[2] if len(arguments) > 2 else options.get("epoch"))
            if before:
                self._book(before)
            if inside and self._is_training:
                self._book("forward")
            result = method(*arguments, **options)
            if inside and self._is_training:
                self._book(inside)
            if after:
                self._book(after)
            return result

        object.__setattr__(owner, name, timed)

    def _begin_epoch(self):
        self.seconds, self.n_steps, self._is_training = defaultdict(float), 0, True
        self._read_before = self.reader.seconds if self.reader else 0.0
        self._last = time.perf_counter()

    def _book(self, stage):
        if not self._is_training:
            return
        if self.brain.device_type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        if self.n_steps:
            self.seconds[stage] += now - self._last
        self._last = now
        if stage == "after the step":
            if not self.n_steps and self.reader:
                self._read_before = self.reader.seconds
            self.n_steps += 1

    def _end_epoch(self, epoch):
        self._is_training = False
        n_steps = self.n_steps - 1
        if n_steps < 1:
            logger.info("profile: an epoch of fewer than two steps has nothing to time")
            return
        ms = {stage: 1000 * self.seconds[stage] / n_steps for stage in STAGES}
        step_ms = sum(ms.values())
        record = {"epoch": epoch, "n_steps": n_steps, "step_ms": step_ms, "ms": ms}
        record["share_waiting_for_data"] = ms["wait for data"] / step_ms
        if self.reader:
            record["decode_ms_in_this_process"] = 1000 * (self.reader.seconds - self._read_before) / n_steps
        self.records.append(record)
        write_json(self.path, self.records)
        logger.info("%s", table(record))


def table(record):
    """One epoch's record of ``profile.json`` as a table.

    Example
    -------
    >>> ms = {"wait for data": 1.0, "forward": 3.0}
    >>> print(table({"epoch": 1, "n_steps": 9, "step_ms": 4.0, "ms": ms, "share_waiting_for_data": 0.25}))
    epoch 1, mean of 9 steps      ms  share
    wait for data               1.00   25 %
    forward                     3.00   75 %
    whole step                  4.00  100 %
    """
    step_ms = record["step_ms"]
    rows = [*record["ms"].items(), ("whole step", step_ms)]
    lines = [f"{stage:<25}{value:>7.2f} {value / step_ms:>5.0%}".replace("%", " %") for stage, value in rows]
    if "decode_ms_in_this_process" in record:
        lines.append(f"of the wait, decoding    {record['decode_ms_in_this_process']:>7.2f}")
    head = f"epoch {record['epoch']}, mean of {record['n_steps']} steps"
    return "\n".join([f"{head:<25}{'ms':>7}  share", *lines])
