"""Recordings for the commands."""

import os

import pytest
from cli_runs import BAD

from tests.fakes import write_audio


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Fifteen recordings, with names that scripts trip over, and three that are broken."""
    root = tmp_path_factory.mktemp("cli") / "recordings"
    for index in range(12):
        kind = {"rate": (8000, 44100, 16000)[index % 3], "channels": 1 + index % 2}
        write_audio(root / f"{index:02d}.wav", 0.5 + index % 3, pitch_hz=150 * (index + 1), seed=index, **kind)
    for index, name in enumerate(('é, "quoted".wav', "new\nline.wav", "with space.flac")):
        write_audio(root / "sub" / name, 0.7, 16000, seed=20 + index)
    for name, content in zip(BAD, (b"RIFF", b"<html>404</html>", b""), strict=True):
        (root / name).write_bytes(content)
    return root


@pytest.fixture(scope="module")
def good(folder):
    """Without the broken ones, in the order of the folder."""
    names = sorted(name for name in os.listdir(folder) if name.endswith("wav") and name not in BAD)
    below = sorted(name for name in os.listdir(folder / "sub") if f"sub/{name}" not in BAD)
    return [str(folder / name) for name in names] + [str(folder / "sub" / name) for name in below]
