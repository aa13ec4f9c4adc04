"""Where numbers come from: the commit, the machine and the versions, as every record of a result says them."""

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

import tinyclap
from tinyclap.audio.cpu import processor


def git_state(folder):
    """Commit and cleanliness of the checkout that holds `folder`.

    Returns
    -------
    dict
        ``commit`` (40 hex digits or None) and ``dirty`` (bool or None outside a checkout).
    """

    def ask(*words):
        answer = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
        return answer.stdout.strip() if answer.returncode == 0 else None

    try:
        commit, status = ask("rev-parse", "HEAD"), ask("status", "--porcelain", "--untracked-files=no")
    except OSError:  # no git on this machine
        return {"commit": None, "dirty": None}
    return {"commit": commit or None, "dirty": None if status is None else bool(status)}


def _versions():
    packages = "torch torchaudio speechbrain transformers hyperpyyaml numpy soundfile soxr aac-metrics".split()
    found = {"python": platform.python_version(), "tinyclap": tinyclap.__version__}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def installed_packages():
    """What is installed, as ``name==version``, sorted by name.

    Returns
    -------
    list of str

    Example
    -------
    >>> any(line.startswith("torch==") for line in installed_packages())
    True
    """
    found = {(each.metadata["Name"] or "").lower(): each.version for each in metadata.distributions()}
    return [f"{name}=={version}" for name, version in sorted(found.items()) if name]


def processor_name(device="cpu"):
    """The name of what computes, for people.

    Arguments
    ---------
    device : str
        Such as ``cpu`` or ``cuda:0``.

    Returns
    -------
    str
        Of the GPU, or of the processor as Linux names it; elsewhere what Python knows, or the machine's kind.

    Example
    -------
    >>> bool(processor_name())
    True
    """
    if str(device).startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return processor()


def provenance(device):
    """Where the numbers of a run come from.

    Arguments
    ---------
    device : str
        What it runs on.

    Returns
    -------
    dict
        Commit, dirty flag, versions, device, the processor's name, number of threads and CPUs, date (UTC).
    """
    return {
        **git_state(Path(tinyclap.__file__).parent),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": str(device),
        "n_threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "processor": processor_name(device),
        "n_cpus": os.cpu_count(),
        "versions": _versions(),
    }
