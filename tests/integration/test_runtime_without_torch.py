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
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        start + blocked + "runpy.run_module('tinyclap.runtime', run_name='__main__')",
    ]
    return subprocess.run(command, cwd=bare, env={**os.environ}, capture_output=True, text=True, timeout=120)


def test_it_classifies_recordings_of_any_kind(bare):
    folder, _, _ = exported()
    paths = sorted(str(path) for path in recordings().glob("*.wav"))
    done = run_bare(bare, [str(folder), *paths, "--json", "--check", "--precision", "fp32"])
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["check"]["embedding"] < 2e-5
    assert list(said["audio"]) == paths
    assert all({name for name, _ in named} == set(LABELS) for named in said["audio"].values())


def test_an_error_is_one_line_and_no_traceback(bare):
    done = run_bare(bare, [str(exported()[0]), "nowhere.wav"])
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.strip() == "AudioError: nowhere.wav: no such file; check the path, or prepare the corpus again"


def test_loading_imports_neither_torch_nor_what_torch_would_bring():
    code = f"import sys, tinyclap.runtime as r; r.load({str(exported()[0])!r}); print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {"tinyclap.runtime.audio_model", "onnxruntime"} <= loaded
    assert not loaded & {
        *HEAVY,
        "tinyclap.features.log_mel",
        "tinyclap.features.windows",
        "tinyclap.features.resample",
        "tinyclap.checkpoints.state",
    }
