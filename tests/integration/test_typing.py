"""mypy and pyright know the public modules and what the README and docs/ show; a misspelt method is an error."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from docs_pages import ROOT, blocks_of, pages

PUBLIC = (
    "tinyclap/__init__.py",
    "tinyclap/adapters",
    "tinyclap/audio/batch.py",
    "tinyclap/audio/clips.py",
    "tinyclap/audio/io.py",
    "tinyclap/config",
    "tinyclap/detection",
    "tinyclap/inference",
    "tinyclap/metrics/captioning.py",
    "tinyclap/metrics/classification.py",
    "tinyclap/metrics/leakage.py",
    "tinyclap/metrics/predictions.py",
    "tinyclap/published",
    "tinyclap/runtime",
    "tinyclap/search/index.py",
    "tinyclap/text/bank.py",
    "tinyclap/text/labels.py",
    "tinyclap/text/prompts.py",
    "tinyclap/text/scores.py",
)
# torch types what a module holds as Tensor or Module, which pyright refuses to call
NETWORKS = (
    "tinyclap/losses",
    "tinyclap/metrics/cost.py",
    "tinyclap/models/student.py",
    "tinyclap/teachers/__init__.py",
    "tinyclap/teachers/base.py",
)
MISSPELT = 'import tinyclap\n\ntinyclap.from_pretrained().clasify("dog.wav", ["dog"])\n'
UNKNOWN = "import tinyclap\n\ntinyclap.from_pretraind()\n"
GOOD = """\
import tinyclap

model: tinyclap.SoundModel = tinyclap.from_pretrained("tinyclap-phinet-m", n_threads=1)
named: list[list[tuple[str, float]]] = model.classify(["dog.wav", b"RIFF"], labels=["dog"], top=1, scores=True)
rows = model.embed({"array": [0.0], "sampling_rate": 16000})
first: float = float(rows[0, 0])
"""


def mypy(folder, *paths):
    """Errors by mypy, one a line."""
    pytest.importorskip("mypy", reason="checking types is for developers: pip install 'tinyclap[dev]'")
    options = ["--config-file", ROOT / "pyproject.toml", "--follow-imports=silent", "--no-error-summary"]
    words = [sys.executable, "-m", "mypy", *options, "--cache-dir", folder / "mypy", *paths]
    done = subprocess.run(
        words, cwd=ROOT, env={**os.environ, "MYPYPATH": str(ROOT)}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if ": error:" in line]


def pyright(folder, *paths):
    """Errors by pyright, one a line."""
    pytest.importorskip("pyright", reason="checking types is for developers: pip install 'tinyclap[dev]'")
    places = [os.path.relpath(ROOT / path, folder) for path in paths]
    kept = {"reportMissingImports": "none", "reportMissingModuleSource": "none", "pythonVersion": "3.11"}
    settings = {"include": places, "extraPaths": [str(ROOT)], **kept}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    words = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", folder]
    environment = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    try:
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
        found = json.loads(done.stdout)["generalDiagnostics"]
    except (subprocess.TimeoutExpired, ValueError) as error:
        pytest.skip(f"pyright does not run here; it fetches Node.js where there is none ({error})")
    places = [(each["file"], each["range"]["start"]["line"] + 1, each["message"]) for each in found]
    levels = [each["severity"] for each in found]
    return [
        f"{file}:{line}: {text}" for (file, line, text), level in zip(places, levels, strict=True) if level == "error"
    ]


CHECKERS = pytest.mark.parametrize("errors_of", [mypy, pyright])


@pytest.mark.slow
@CHECKERS
def test_public_modules_have_no_type_errors(errors_of, tmp_path):
    assert errors_of(tmp_path, *PUBLIC, *(NETWORKS if errors_of is mypy else ())) == []


@pytest.mark.slow
@CHECKERS
def test_what_pages_show_has_no_type_errors_and_what_is_misspelt_has(errors_of, tmp_path):
    for page in pages():
        lines = []
        for block in blocks_of(page.read_text("utf-8")):
            if block.language == "python":
                lines += [""] * (block.line - len(lines)) + block.code.splitlines()
        (tmp_path / f"page_{page.stem.lower()}.py").write_text("\n".join(lines) + "\n", "utf-8")
    for name, code in (("misspelt", MISSPELT), ("unknown", UNKNOWN), ("good", GOOD)):
        (tmp_path / f"{name}.py").write_text(code, "utf-8")
    found = errors_of(tmp_path, *sorted(tmp_path.glob("*.py")))
    wanted = [line for line in found if "misspelt" in line and "clasify" in line]
    wanted += [line for line in found if "unknown.py" in line and "from_pretraind" in line]
    assert len(wanted) == 2 and found and sorted(set(found) - set(wanted)) == []


def test_everything_public_is_annotated():
    files = [
        file
        for path in (*PUBLIC, *NETWORKS)
        for file in ([ROOT / path] if path.endswith(".py") else (ROOT / path).glob("*.py"))
    ]
    silent, n_functions = [], 0
    for file in files:
        for name, function in public_functions(ast.parse(file.read_text("utf-8"))):
            n_functions += 1
            arguments = function.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
            bare = [each.arg for each in every if each and each.annotation is None and each.arg not in ("self", "cls")]
            bare += [] if function.returns is not None else ["return"]
            silent += [f"{Path(file).relative_to(ROOT)}: {name}: {', '.join(bare)}"] if bare else []
    assert n_functions > 60 and silent == []


def test_completion_knows_the_model():
    jedi = pytest.importorskip("jedi", reason="completion is for developers: pip install 'tinyclap[dev]'")
    code = 'import tinyclap\n\ntinyclap.from_pretrained("x").cl'
    project = jedi.Project(str(ROOT), smart_sys_path=False, added_sys_path=[str(ROOT)])
    assert "classify" in [each.name for each in jedi.Script(code, project=project).complete()]


def public_functions(tree, prefix=""):
    """Functions and methods whose name begins with no underscore, and constructors."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and (node.name == "__init__" or not node.name.startswith("_")):
            yield prefix + node.name, node
