"""An exported folder runs where nothing is installed but the base package, onnxruntime and tokenizers."""

import json
import os
import re
import subprocess
import sys
from importlib import metadata

import pytest

pytest.importorskip("onnx", reason="exporting is an extra: pip install 'tinyclap[export]'")
pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")

from tests.conftest import ROOT  # noqa: E402
from tests.unit.small_export import LABELS, exported, recordings  # noqa: E402

# install_requires, and the extra "runtime"
INSTALLED = ["numpy", "soundfile", "soxr", "tqdm", "onnxruntime", "tokenizers"]
HEAVY = ["torch", "torchaudio", "transformers", "speechbrain", "safetensors", "onnx", "pandas", "scipy"]


def with_requirements(names):
    """The names of distributions and of all that they need."""
    found, waiting = {}, list(names)
    while waiting:
        name = re.split(r"[^A-Za-z0-9._-]", waiting.pop())[0]
        if name.lower() in found:
            continue
        found[name.lower()] = distribution = metadata.distribution(name)
        waiting += [needed for needed in distribution.requires or () if "extra ==" not in needed and ";" not in needed]
    return found


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A folder that holds the packages of such an installation, by links, and the checkout's tinyclap."""
    folder = tmp_path_factory.mktemp("site-packages")
    (folder / "tinyclap").symlink_to(ROOT / "tinyclap")
    for distribution in with_requirements(INSTALLED).values():
        for file in distribution.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (folder / top).exists():
                (folder / top).symlink_to(distribution.locate_file(top))
    return folder


def run_bare(bare, arguments):
    """Run Python with the standard library and that folder alone; returns the finished process."""
    # -S and -I leave out site-packages and the environment; the folder is then the only one
    start = f"import runpy, sys; sys.path.append({str(bare)!r}); sys.argv = {['x', *arguments]!r}; "
    blocked = f"import importlib.util; assert not [n for n in {HEAVY!r} if importlib.util.find_spec(n)]; "
    code = start + blocked + "runpy.run_module('tinyclap', run_name='__main__')"
    command = [sys.executable, "-I", "-S", "-c", code]
    return subprocess.run(command, cwd=bare, env={**os.environ}, capture_output=True, text=True, timeout=120)


def test_it_classifies_recordings_of_any_kind(bare):
    folder, _, _ = exported()
    paths = sorted(str(path) for path in recordings().glob("*.wav"))
    options = ["--all", "--format", "jsonl", "--precision", "fp32", "--model", str(folder)]
    done = run_bare(bare, ["classify", *paths, *options])
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["file"] for row in rows] == paths and all(set(row["scores"]) == set(LABELS) for row in rows)


def test_an_error_is_one_line_and_no_traceback(bare):
    done = run_bare(bare, ["classify", "nowhere.wav", "--model", str(exported()[0])])
    assert done.returncode not in (0, None) and done.stdout == ""
    assert "nowhere.wav" in done.stderr and done.stderr.count("\n") == 1


def test_loading_imports_neither_torch_nor_what_torch_would_bring():
    code = (
        f"import sys, numpy as np, tinyclap.runtime as r; model = r.load({str(exported()[0])!r})\n"
        "model.embed(np.zeros(16000), 16000); print(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {"tinyclap.runtime.audio_model", "onnxruntime"} <= loaded
    assert not loaded & {
        *HEAVY,
        "tinyclap.features.front_ends",
        "tinyclap.features.windows",
        "tinyclap.features.resample",
        "tinyclap.checkpoints.state",
    }
