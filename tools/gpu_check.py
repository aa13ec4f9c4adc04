#!/usr/bin/env python3
"""Check training on this machine's GPU: recipes of every kind in fp32 and bf16, against the CPU, and how fast they are.

    python tools/gpu_check.py [--device cuda:0] [--folder results/gpu_check]        at most 8 minutes
    python tools/gpu_check.py --tiny                                               on the CPU, as CI does

Trains from hparams/ on synthesised sounds: a CLAP, the live and the cached distillation of it, a captioner and a
captioner of that one. Stops a run dead and resumes it. Writes record.json: losses by device and precision, clips per
second beside the bare teacher's. The exit status is 1 where a loss of fp32 is not the CPU's, or a resumed run differs.
"""

import argparse
import contextlib
import csv
import logging
import re
import shutil
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import precompute  # noqa: E402
import train  # noqa: E402
from tinyclap.brains.steps import StepBrain  # noqa: E402
from tinyclap.errors import TinyclapError  # noqa: E402
from tinyclap.files import write_json  # noqa: E402
from tinyclap.teachers import make_teacher  # noqa: E402
from tinyclap.training.provenance import provenance  # noqa: E402

MAX_DIFFERENCE = {"fp32": 1e-3, "bf16": 5e-2}  # of the first step's loss from the CPU's in fp32, where it is above 1
EPOCHS = 2


class Stopped(Exception):
    """A run that is stopped dead."""


def recipes(folder, tiny):
    """Name → the words of its command line, in the order of training; a recipe's teacher comes before it."""
    n, size, seconds, width = (16, 8, 0.5, 0.2) if tiny else (512, 32, 2.0, 1.0)
    common = f"--n_workers {0 if tiny else 4} --noprogressbar --ckpt_interval_minutes 0 --number_of_epochs"
    n_epochs = 1 if tiny else EPOCHS
    scenes = (
        f"--soundscapes_folder {folder / 'scenes'} --n_soundscapes {n} --n_valid_soundscapes {min(n, 128)} "
        f"--n_events 1 --clip_duration_s {seconds}"
    )
    student = "--alpha 0.35 --t_zero 2 --embed_width null --head linear" if tiny else "--head linear --alpha 1.0"
    distil = (
        f"hparams/distill_phinet.yaml {common} {EPOCHS} {scenes} --batch_size {size} {student} --dropout 0 "
        f"--teacher checkpoint --teacher_weights {folder / 'clap-fp32'} --teacher.embed_dim 32"
    )
    captions = (
        f"hparams/distill_captioner_soundscapes.yaml {common} {n_epochs} --soundscapes_folder {folder / 'captions'} "
        f"--batch_size {size} --n_scenes {n} --n_valid_scenes {min(n, 32)} --examples_per_epoch {n} "
        f"--window_s {2 * seconds} --dropout 0 --encoder_dropout 0 --select_by loss"
    )
    return {
        "clap": f"hparams/train_clap.yaml {common} {n_epochs} {scenes} --batch_size {2 * size} --width {width} "
        "--embed_dim 32 --text_width 32 --text_layers 1 --hop_length 882",
        "live": distil,
        "cached": f"{distil} --target_cache {folder / 'targets'} --n_views 2",
        "captioner": captions,
        "captioner_kd": f"{captions} --teacher_weights {folder / 'captioner-fp32'} --teacher_dim 96 --target_cache "
        f"{folder / 'captioner_targets'} --n_unlabelled_scenes {n // 2} --terms.sequence.weight 1 "
        "--terms.encoder.weight 1",
    }


def run(words, folder, device, precision="fp32"):
    """Train, and read the run's logs: dict of losses and clips per second."""
    arguments = [*words.split(), "--device", device, "--precision", precision, "--output_folder", str(folder)]
    train.main(arguments)
    losses = read_losses(folder)
    rates = re.findall(r"clips_per_second: ([0-9.e+-]+)", (folder / "train_log.txt").read_text(encoding="utf-8"))
    if not (folder / "student" / "model.safetensors").is_file():
        raise TinyclapError(f"{folder}: no student was released")
    return {"losses": losses, "clips_per_second": float(rates[-1])}


def read_losses(folder):
    """The losses of a run's steps."""
    with open(folder / "train_steps.csv", newline="", encoding="utf-8") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def run_stopped(words, folder, device, at):
    """Train, stop dead before the step `at`, and train on: the losses of all steps."""
    start = StepBrain.on_fit_batch_start

    def stop(brain, batch, should_step):
        if (brain.hparams.epoch_counter.current, brain.step) == at:
            raise Stopped
        start(brain, batch, should_step)

    StepBrain.on_fit_batch_start = stop
    words = f"{words} --ckpt_interval_steps 1"
    try:
        with contextlib.suppress(Stopped):
            run(words, folder, device)
    finally:
        StepBrain.on_fit_batch_start = start
    return run(words, folder, device)["losses"]


def bare_teacher(folder, device, n_clips, seconds):
    """Clips per second of the teacher alone, on waveforms that lie on the device."""
    teacher = make_teacher("checkpoint", weights=str(folder / "clap-fp32")).load().to(device)
    wavs = torch.randn(n_clips, round(seconds * teacher.sample_rate_hz), device=device) / 10
    wait = torch.cuda.synchronize if wavs.is_cuda else lambda: None
    for n_batches in (3, 10):
        wait()
        started = time.perf_counter()
        for _ in range(n_batches):
            teacher.targets(wavs, teacher.sample_rate_hz, ["clip"])
        wait()
    return n_batches * n_clips / (time.perf_counter() - started)


def check(folder, device, tiny):
    """All runs, and the record."""
    began, record = time.monotonic(), {"runs": {}, "problems": []}
    names = recipes(folder, tiny)
    for name, words in names.items():
        if name == "cached":
            started = time.monotonic()
            precompute.main([*words.split(), "--device", device, "--output_folder", str(folder / "precompute")])
            record["precompute_seconds"] = time.monotonic() - started
        precisions = ("fp32",) if tiny and name != "live" else ("fp32", "bf16")
        for precision in precisions:
            record["runs"][f"{name} {precision}"] = run(words, folder / f"{name}-{precision}", device, precision)
        reference = record["runs"][f"{name} fp32"]["losses"]
        if device != "cpu":
            reference = run(words, folder / f"{name}-cpu", "cpu")["losses"]
        for precision in precisions:
            done = record["runs"][f"{name} {precision}"]
            done["first_step_difference"] = abs(done["losses"][0] - reference[0]) / max(abs(reference[0]), 1.0)
            done["mean_difference"] = abs(sum(done["losses"]) - sum(reference)) / len(reference)
            if not done["first_step_difference"] <= MAX_DIFFERENCE[precision]:
                record["problems"].append(
                    f"{name} {precision}: the first loss is {done['losses'][0]}, not {reference[0]}"
                )
    whole = record["runs"]["live fp32"]["losses"]
    resumed = run_stopped(names["live"], folder / "live-stopped", device, (2, len(whole) // EPOCHS - 1))
    pairs = zip(whole, resumed, strict=True)
    record["resume_difference"] = max(abs(ours - theirs) for ours, theirs in pairs)
    if record["resume_difference"] > (0.0 if device == "cpu" else 1e-2):
        record["problems"].append(f"the resumed run's losses differ by {record['resume_difference']}")
    size = (4, 0.5) if tiny else (32, 2.0)
    record["bare_teacher_clips_per_second"] = bare_teacher(folder, device, *size)
    return {**record, "seconds": time.monotonic() - began, **provenance(device)}


def table(record):
    """The record for people."""
    lines = [f"{'':<20}{'first loss':>12}{'last loss':>12}{'off the CPU':>13}{'clips/s':>10}"]
    for name, done in record["runs"].items():
        values = done["losses"][0], done["losses"][-1], done["first_step_difference"], done["clips_per_second"]
        lines.append(f"{name:<20}{values[0]:>12.4f}{values[1]:>12.4f}{values[2]:>13.1e}{values[3]:>10.1f}")
    lines.append(f"{'bare teacher':<20}{'':>37}{record['bare_teacher_clips_per_second']:>10.1f}")
    lines.append(f"resumed run: losses differ by {record['resume_difference']:.1e}; {record['seconds']:.0f} s in all")
    return "\n".join([*lines, *(f"PROBLEM {problem}" for problem in record["problems"])])


def main(arguments=None):
    """Check; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else None)
    parser.add_argument("--folder", default="results/gpu_check", help="of the runs, made anew (results/gpu_check)")
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes, on the CPU unless --device is given")
    options = parser.parse_args(arguments)
    device, folder = options.device or ("cpu" if options.tiny else None), Path(options.folder).absolute()
    if device is None:
        raise TinyclapError("no GPU here; give --tiny to check the script on the CPU, or --device")
    if folder.exists() and not (folder / "record.json").exists() and any(folder.iterdir()):
        raise TinyclapError(f"--folder {folder} holds something else than an earlier check; give a new one")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(folder / "record.json", {"state": "running"})
    with contextlib.chdir(ROOT), open(folder / "output.txt", "w", encoding="utf-8") as output:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            record = check(folder, device, options.tiny)
    logging.shutdown()
    write_json(folder / "record.json", record)
    print(table(record))
    print(folder / "record.json")
    return 1 if record["problems"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TinyclapError as error:
        sys.exit(f"{type(error).__name__}: {error}")
