"""Heavy libraries stay where they belong, and files stay short enough to read."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from repository_files import ROOT, SCRIPTS, module_name, python_files, tree, where

# file -> why it is longer than MAX_LINES
MAX_LINES = 400
LONG_FOR_A_CAUSE = {}

CODE = ("tinyclap", "data_prep", *SCRIPTS)


def test_imports_run_one_way():
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_only_checkpoints_calls_torch_load_and_nothing_unpickles():
    n_calls, wrong = 0, []
    for path in python_files(*CODE, "recipes"):
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call):
                continue
            n_calls += 1
            called = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called == "torch.load":
                if module_name(path) != "tinyclap.checkpoints.state":
                    wrong.append(f"{where(path, node)} calls torch.load")
                elif keywords.get("weights_only") != "True":
                    wrong.append(f"{where(path, node)} calls torch.load without weights_only=True")
            if keywords.get("allow_pickle") == "True":
                wrong.append(f"{where(path, node)} allows pickles")
    assert n_calls >= 100, f"the scan found {n_calls} calls only"
    assert not wrong, "\n".join(dict.fromkeys(wrong))


def loaded_after(statement):
    """Names of the modules that Python holds after running one statement in a process of its own."""
    code = f"{statement}\nimport sys\nprint(' '.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_importing_tinyclap_loads_nothing_heavy():
    loaded = loaded_after("import tinyclap")
    assert "tinyclap" in loaded
    heavy = {"torch", "transformers", "speechbrain", "torchaudio", "hyperpyyaml", "pandas", "scipy", "matplotlib"}
    assert not loaded & heavy


@pytest.mark.parametrize(
    "module", ["tinyclap.published.networks", "tinyclap.checkpoints.state", "tinyclap.models.student"]
)
def test_inference_needs_neither_speechbrain_nor_torchaudio(module):
    loaded = loaded_after(f"import {module}")
    assert module in loaded and "torch" in loaded
    assert not loaded & {"speechbrain", "torchaudio", "hyperpyyaml", "pandas"}


def test_reading_audio_needs_no_torch():
    loaded = loaded_after("import tinyclap.audio.io, tinyclap.data.manifest")
    assert "tinyclap.audio.io" in loaded
    assert not loaded & {"torch", "speechbrain", "torchaudio", "transformers"}


def test_no_print_no_bare_except_no_assert_in_the_package():
    n_nodes, wrong = 0, []
    for path in python_files("tinyclap"):
        for node in ast.walk(tree(path)):
            n_nodes += 1
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "quit"):
                wrong.append(f"{where(path, node)}: {node.func.id}(); log, or return a value")
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                wrong.append(f"{where(path, node)}: bare except; name the error")
            if isinstance(node, ast.Assert):
                wrong.append(f"{where(path, node)}: assert; raise one of tinyclap.errors")
    assert n_nodes >= 1000, f"the scan found {n_nodes} nodes only"
    assert not wrong, "\n".join(dict.fromkeys(wrong))


def test_no_file_is_longer_than_a_person_reads():
    files = [path for path in python_files("tinyclap", "data_prep", "recipes", "tests", "setup.py", *SCRIPTS)]
    files += [path for top in ("hparams", "recipes") for path in sorted((ROOT / top).rglob("*.*")) if path.is_file()]
    texts = [path for path in files if path.suffix in (".py", ".yaml", ".sh", ".md")]
    assert len(texts) >= 15
    long = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in texts}
    long = {name: n_lines for name, n_lines in long.items() if n_lines > MAX_LINES and name not in LONG_FOR_A_CAUSE}
    assert not long, f"split by idea (limit {MAX_LINES} lines), or name the cause: {long}"
    stale = [name for name in LONG_FOR_A_CAUSE if not (ROOT / name).exists()]
    assert not stale, f"LONG_FOR_A_CAUSE names files that are gone: {stale}"
