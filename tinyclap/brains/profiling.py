"""Profile of training steps by torch.profiler, for ``train.py --profile True``."""

import logging
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from tinyclap.files import write_text

logger = logging.getLogger(__name__)


def profile_steps(brain, folder, n_steps=20):
    """Let a Brain profile up to `n_steps` steps of its first epoch: ``profile.txt`` and ``trace.json`` in `folder`."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    folder, run_epoch, fit_batch = Path(folder), brain._fit_train, brain.fit_batch

    def report(profiler):
        write_text(folder / "profile.txt", table(profiler.key_averages()))
        profiler.export_chrome_trace(str(folder / "trace.json"))
        logger.info("%s", (folder / "profile.txt").read_text(encoding="utf-8"))

    def recorded(**given):
        brain._fit_train = run_epoch
        plan = schedule(wait=1, warmup=1, active=n_steps, repeat=1)
        with profile(activities=activities, schedule=plan, on_trace_ready=report) as profiler:
            brain.fit_batch = lambda batch: (fit_batch(batch), profiler.step())[0]
            run_epoch(**given)
        brain.fit_batch = fit_batch

    brain._fit_train = recorded


def table(averages):
    """The stages of a step (ms on the host, and their share of it), then the 15 costliest operations."""
    ms = {event.key.split("#")[0]: event.cpu_time_total / 1000 for event in averages}
    (step,) = [event for event in averages if event.key.startswith("ProfilerStep")]
    stages = {name: ms.get(name, 0.0) / step.count for name in ("forward", "loss", "backward", "optimiser")}
    stages = {"wait for data": ms.get("enumerate(DataLoader)", 0.0) / step.count, **stages}
    whole = ms[step.key] / step.count
    stages |= {"other": whole - sum(stages.values()), "whole step": whole}
    stages["of the forward: teacher"] = ms.get("teacher", 0.0) / step.count
    lines = [f"{name:<26}{value:>9.2f} {100 * value / whole:>4.0f} %" for name, value in stages.items()]
    costliest = averages.table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=40)
    return "\n".join([f"{f'mean of {step.count} steps':<26}{'ms':>9}  share", *lines, "", costliest])
