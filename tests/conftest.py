"""Fixtures that every test may use, and the options of the suite."""

import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
# some tests take helpers from others, which lie in the folders of other packages
sys.path[1:1] = [str(path) for path in sorted((ROOT / "tests" / "unit").iterdir()) if path.is_dir()]


def pytest_addoption(parser):
    """``--device cuda`` runs the device-aware tests on a GPU."""
    parser.addoption("--device", default="cpu", help="device of the tests that can run on any (cpu, cuda:0)")


@pytest.fixture
def device(pytestconfig):
    """The device asked for on the command line."""
    return torch.device(pytestconfig.getoption("device"))


@pytest.fixture(scope="session")
def shared_dir():
    """The folder of real audio and weights beside the checkout; tests that need it are skipped without it."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the folder 'shared' with real audio beside the checkout")
    return folder
