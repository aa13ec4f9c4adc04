"""The loop over tasks: each in a child, as many at a time as asked for, in an order that their needs allow."""

import datetime
import json
import os
import shutil
import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import children

N_LAST_LINES = 25


@dataclass
class _Running:
    task: object
    process: object
    log: Path
    began: float


class Runner:
    """Runs tasks and says how it goes.

    Arguments
    ---------
    output : pathlib.Path
        The folder of all that is written.
    n_jobs : int
        Tasks at a time. Two with the same target cache are never among them.
    keep_going : bool
        Whether to go on after a failure, with what does not need the failed task.
    """

    def __init__(self, output, n_jobs=1, keep_going=False):
        self.output, self.n_jobs, self.keep_going = output, n_jobs, keep_going
        self.failed = {}
        self.began = time.monotonic()

    def run(self, tasks):
        """Run what is not done; returns how many tasks failed or could not begin for a failed one."""
        todo = [task for task in tasks if not task.is_done(self.output)]
        print(f"{len(tasks)} tasks, {len(tasks) - len(todo)} of them done before", flush=True)
        done = {task.hash for task in tasks} - {task.hash for task in todo}
        self.n_todo, self.n_over = len(todo), 0
        self.cost_todo, self.cost_over = sum(map(_cost, todo)), 0.0
        for task in tasks:
            if task.hash in done:
                self._copy(task)
        context, running = children.fork_server(), []
        try:
            while todo or running:
                self._begin(context, todo, running, done)
                if not running:
                    continue
                wait([one.process.sentinel for one in running])
                for one in [one for one in running if not one.process.is_alive()]:
                    running.remove(one)
                    if self._end(one):
                        done.add(one.task.hash)
                    elif not self.keep_going:
                        todo.clear()
                        self._stop(running)
        finally:
            self._stop(running)
        if self.failed:
            print(f"{len(self.failed)} failed: {', '.join(self.failed.values())}", flush=True)
        return len(self.failed)

    def _begin(self, context, todo, running, done):
        """Start what can start; what needs a failed task fails with it."""
        for task in list(todo):
            bad = [need.label for need in task.needs.values() if need.hash in self.failed]
            if bad:
                todo.remove(task)
                self._fail(task, f"{task.label}: needs {bad[0]}, which failed")
            elif len(running) < self.n_jobs and self._can_start(task, running, done):
                todo.remove(task)
                folder = self.output / task.folders[0]
                log = folder / "task.log"
                words = task.command(self.output, os.environ)
                running.append(_Running(task, children.start(context, words, log), log, time.monotonic()))

    def _can_start(self, task, running, done):
        shared = any(task.caches & one.task.caches for one in running)
        return not shared and all(need.hash in done for need in task.needs.values())

    def _end(self, one):
        """Note how a task ended; returns whether it did well."""
        seconds = time.monotonic() - one.began
        task, status = one.task, one.process.exitcode
        if status == 0 and task.kind == "score" and not (self.output / task.folders[0] / "metrics.json").is_file():
            status = "0, but it wrote no metrics.json"
        if status != 0:
            last = one.log.read_text(encoding="utf-8", errors="replace").splitlines()[-N_LAST_LINES:]
            print("\n".join(f"    {line}" for line in last))
            self._fail(task, f"{task.label}: exit status {status}; all it said: {one.log}")
            return False
        note = {"hash": task.hash, "kind": task.kind, "row": task.row_id, "seed": task.seed, "words": task.words}
        date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        _write(self.output / task.folders[0] / "task.json", {**note, "seconds": round(seconds, 1), "date": date})
        self._copy(task)
        self._progress(task, f"done in {_duration(seconds)}")
        return True

    def _copy(self, task):
        """Give a score to the further rows that ask for the same."""
        for folder in task.folders[1:]:
            if not task.is_done(self.output, folder):
                target = self.output / folder
                shutil.copytree(self.output / task.folders[0], target, dirs_exist_ok=True, ignore=_note_last)
                shutil.copy(self.output / task.folders[0] / "task.json", target)

    def _fail(self, task, text):
        self.failed[task.hash] = task.label
        self._progress(task, "FAILED")
        print(f"failed: {text}", flush=True)

    def _progress(self, task, verdict):
        self.n_over += 1
        self.cost_over += _cost(task)
        elapsed = time.monotonic() - self.began
        left = elapsed * (self.cost_todo - self.cost_over) / self.cost_over
        times = f"{_duration(elapsed)} gone, about {_duration(left)} to go"
        print(f"[{self.n_over}/{self.n_todo}] {task.label}: {verdict} ({times})", flush=True)

    def _stop(self, running):
        for one in running:
            one.process.terminate()
        for one in running:
            one.process.join()
        running.clear()


def _note_last(_, names):
    """What a copy leaves out at first: the note that says it is whole."""
    return {"task.json"} & set(names)


def _cost(task):
    """Expected hours; a task that a row's cost does not name is short."""
    return task.hours or 0.005


def _duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def _write(path, content):
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, path)
