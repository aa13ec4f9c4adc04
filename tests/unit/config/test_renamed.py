"""Imports that 0.1 documented keep working."""

import importlib
import subprocess
import sys

import pytest

import tinyclap
from tinyclap.config.renamed import RENAMED


@pytest.mark.parametrize("old", sorted(RENAMED))
def test_an_old_module_name_gives_the_module_and_a_warning(old, monkeypatch):
    monkeypatch.delitem(sys.modules, f"tinyclap.{old}", raising=False)
    with pytest.warns(DeprecationWarning, match=RENAMED[old]):
        module = importlib.import_module(f"tinyclap.{old}")
    assert module is importlib.import_module(f"tinyclap.{RENAMED[old]}")
    assert module.__spec__.name == f"tinyclap.{RENAMED[old]}"


def test_packages_give_what_the_modules_of_their_names_gave():
    from tinyclap.audio import probe, read_audio
    from tinyclap.checkpoints import load_folder, load_student, read_state_dict, sha256_of, strict_load
    from tinyclap.features import LogMel, log_mel
    from tinyclap.losses import CosineLoss, make_loss
    from tinyclap.metrics import accuracy, bootstrap_interval
    from tinyclap.published import load_published

    found = [probe, read_audio, load_folder, load_student, read_state_dict, sha256_of, strict_load, LogMel, log_mel]
    assert all(map(callable, [*found, make_loss, CosineLoss, accuracy, bootstrap_interval, load_published]))


def test_an_unknown_name_is_still_an_import_error():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("tinyclap.nonsense")
    with pytest.raises(AttributeError, match="clasify"):
        tinyclap.clasify  # noqa: B018


def test_the_package_lists_what_it_offers_and_loads_nothing_for_it():
    code = "import sys, tinyclap; print(dir(tinyclap)); print([m for m in ('numpy', 'torch') if m in sys.modules])"
    listed, loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert {"SoundModel", "from_pretrained", "load_published", "__version__"} <= set(eval(listed))
    assert loaded == "[]" and "lazy_names" not in listed
