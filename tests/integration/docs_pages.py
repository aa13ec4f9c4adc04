"""The code blocks of a documentation page, and the folder and processes that they run in; see test_docs_run.py."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from data_prep.soundscapes_synthesis import SYNTHESIZERS, synthesize

ROOT = Path(__file__).resolve().parents[2]
RATE = 44100
FENCE = re.compile(r"^```(?P<language>[\w+-]*)[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>(?:(?!-->).)+) -->\s*\Z", re.DOTALL)
IN_A_CHECKOUT = "<!-- runs in: a copy of the repository -->"
# What a checkout is, without what its runs leave in it.
CHECKOUT = ("tinyclap", "data_prep", "hparams", "recipes", "tests", "benchmarks", "weights")
SHIPPED = Path("tinyclap") / "shipped_models"
# A block that hangs is stopped; how long a block takes is not judged.
LIMIT_S = 600
# Runs Python blocks of one page in one namespace; a line of JSON comes in for each and goes out for each.
INTERPRETER = """
import json, sys, traceback
answers, sys.stdout, namespace = sys.stdout, sys.stderr, {"__name__": "__main__"}
for line in sys.stdin:
    block, error = json.loads(line), ""
    try:
        code = "\\n" * block["line"] + block["code"]
        exec(compile(code, block["page"], "exec"), namespace)
    except BaseException:
        error = traceback.format_exc()
    answers.write(json.dumps({"error": error}) + "\\n")
    answers.flush()
"""


class Block(NamedTuple):
    """A fenced block: its language, the line of its fence (from 1), its code, and why it is not run ("": it is)."""

    language: str
    line: int
    code: str
    not_run: str


def pages():
    """The README and the pages of docs/, without the API reference, which is made of docstrings."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks_of(text):
    """Every fenced block of a page, in order."""
    found = []
    for match in FENCE.finditer(text):
        before = NOT_RUN.search(text[: match.start()])
        reason = " ".join(before["reason"].split()) if before else ""
        found.append(Block(match["language"], text.count("\n", 0, match.start()) + 1, match["code"], reason))
    return found


def write_recordings(folder):
    """Sounds of 5 s, ``street.wav`` of 60 s with some of them in noise, and ``recordings/`` with all 20 classes."""
    for name, kind in {"dog": "dog_bark", "rain": "rain", "siren": "siren"}.items():
        _write(folder / f"{name}.wav", _sound(kind, 5.0, 0))
    street = 0.02 * np.random.default_rng(0).standard_normal(60 * RATE)
    for start_s, kind in ((5, "dog_bark"), (20, "siren"), (30, "rain"), (45, "church_bell"), (52, "dog_bark")):
        place = start_s * RATE
        street[place : place + 5 * RATE] += _sound(kind, 5.0, start_s)[: len(street) - place]
    _write(folder / "street.wav", street)
    (folder / "recordings").mkdir()
    for number, kind in enumerate(SYNTHESIZERS):
        _write(folder / "recordings" / f"{number:02d}_{kind}.wav", _sound(kind, 2.0, number))


def _sound(kind, duration_s, seed):
    sound = synthesize(kind, np.random.default_rng(seed), round(duration_s * RATE), RATE)
    return 0.3 * sound / np.abs(sound).max()


def _write(path, samples):
    soundfile.write(path, samples.astype(np.float32), RATE, subtype="PCM_16")


class PageRun:
    """One page's scratch folder, and the processes that have run its blocks so far.

    Arguments
    ---------
    page : pathlib.Path
    folder : pathlib.Path
        Empty; the blocks' working directory.
    """

    def __init__(self, page, folder):
        self.page, self.folder, self.text = page, folder, page.read_text(encoding="utf-8")
        self.blocks = blocks_of(self.text)
        self.root = ROOT
        if IN_A_CHECKOUT in self.text:
            self.root = folder
            copy_checkout(folder)
        write_recordings(folder)
        self._python, self._n_done, self._failed = None, 0, None

    def run_up_to(self, index):
        """Run the blocks that have not run yet, up to and with `index`; RuntimeError says which failed and how."""
        if self._failed is not None:
            raise RuntimeError(f"a block before this one failed: {self._failed}")
        while self._n_done <= index:
            block = self.blocks[self._n_done]
            self._n_done += 1
            if block.not_run or block.language not in ("bash", "python"):
                continue
            where = f"{self.page.name}:{block.line}"
            problem = self._bash(block) if block.language == "bash" else self._run_python(block)
            if problem:
                self._failed = where
                raise RuntimeError(f"{where} ({block.language})\n{block.code}\n{problem}")

    def close(self):
        """End the page's Python."""
        if self._python is not None:
            self._python.stdin.close()
            self._python.wait(LIMIT_S)
            self._python.stdout.close()

    def _environment(self):
        programs = self.folder.parent / f"{self.folder.name}_bin"
        if not programs.exists():
            programs.mkdir()
            command = programs / "tinyclap"
            command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tinyclap.cli.main "$@"\n', encoding="utf-8")
            command.chmod(0o755)
        path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
        quiet = {"MPLBACKEND": "Agg", "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
        return {**os.environ, **quiet, "PATH": path, "PYTHONPATH": str(self.root), "TINYCLAP_ROOT": str(self.root)}

    def _bash(self, block):
        words = ["bash", "-euo", "pipefail", "-c", block.code]
        try:
            done = subprocess.run(
                words, cwd=self.folder, env=self._environment(), capture_output=True, text=True, timeout=LIMIT_S
            )
        except subprocess.TimeoutExpired:
            return f"did not end within {LIMIT_S} s"
        return "" if done.returncode == 0 else f"status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"

    def _run_python(self, block):
        if self._python is None:
            words = [sys.executable, "-c", INTERPRETER]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self._python = subprocess.Popen(words, cwd=self.folder, env=self._environment(), **pipes)
        task = {"page": self.page.name, "line": block.line, "code": block.code}
        self._python.stdin.write(json.dumps(task) + "\n")
        self._python.stdin.flush()
        answer = self._python.stdout.readline()
        return json.loads(answer)["error"] if answer else f"Python ended with status {self._python.wait()}"


def copy_checkout(folder):
    """A working copy of the repository's code, so that a page may add files to it."""
    left_out = shutil.ignore_patterns("__pycache__", "results", SHIPPED.name)
    for name in CHECKOUT:
        shutil.copytree(ROOT / name, folder / name, ignore=left_out)
    (folder / SHIPPED).symlink_to(ROOT / SHIPPED)  # large, and nobody writes there
    for path in (*ROOT.glob("*.py"), *ROOT.glob("*.toml"), ROOT / "Makefile"):
        shutil.copy(path, folder)
