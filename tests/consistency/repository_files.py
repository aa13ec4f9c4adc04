"""The files of the repository, for the tests that scan them."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ("train.py", "evaluate.py", "precompute.py", "export.py", "prune.py")


@cache
def python_files(*tops):
    """Python files under the given top-level folders, and the given top-level files, sorted."""
    files = []
    for top in tops:
        path = ROOT / top
        files += [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))
    return [path for path in files if path.exists() and "__pycache__" not in path.parts]


@cache
def tree(path):
    """The syntax tree of a Python file."""
    return ast.parse(path.read_text("utf-8"), filename=str(path))


def module_name(path):
    """The dotted name of a file: ``tinyclap/data/manifest.py`` is ``tinyclap.data.manifest``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def where(path, node=None):
    """``folder/file.py:12``, for messages."""
    line = f":{node.lineno}" if node is not None and hasattr(node, "lineno") else ""
    return f"{path.relative_to(ROOT)}{line}"


def yaml_files():
    """All files under hparams/: what can be launched, and the parts that they include."""
    return sorted((ROOT / "hparams").rglob("*.yaml"))


def launchable_yaml_files():
    """The YAML files directly under hparams/, which a person gives to train.py or evaluate.py."""
    return sorted((ROOT / "hparams").glob("*.yaml"))
