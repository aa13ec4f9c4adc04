"""Provenance of a result: commit, machine, versions of packages."""

import datetime
import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

import tinyclap
from tinyclap.audio.cpu import processor

_PACKAGES = "torch torchaudio speechbrain transformers hyperpyyaml numpy soundfile soxr aac-metrics".split()


def git_state(folder):
    """The checkout that holds `folder`: ``commit`` (40 hex digits) and ``dirty`` (bool); None outside a checkout."""

    def git(*words):
        try:
            answer = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
        except OSError:  # no git on this machine
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    status = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD") or None, "dirty": None if status is None else bool(status)}


@functools.cache
def installed_packages():
    """Installed packages, as ``name==version``, sorted by name: list of str."""
    found = {(each.metadata["Name"] or "").lower(): each.version for each in metadata.distributions()}
    return [f"{name}=={version}" for name, version in sorted(found.items()) if name]


def provenance(device):
    """Commit, versions, device, processor, numbers of threads and CPUs, and date (UTC) of a run on `device`: a dict."""
    versions = dict(package.split("==") for package in installed_packages())
    return {
        **git_state(Path(tinyclap.__file__).parent),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": str(device),
        "n_threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "processor": torch.cuda.get_device_name(device) if str(device).startswith("cuda") else processor(),
        "n_cpus": os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            "tinyclap": tinyclap.__version__,
            **{package: versions.get(package) for package in _PACKAGES},
        },
    }
