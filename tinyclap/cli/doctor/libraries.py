"""Python, tinyclap itself, and the libraries: installed, within bounds, importable, and once only."""

import importlib.util
import json
import platform
import re
import shlex
import shutil
import sys
from importlib import metadata
from pathlib import Path

from tinyclap import __version__
from tinyclap.cli.doctor.finding import FAULT, OK, PURPOSES, WARNING, Finding
from tinyclap.cli.doctor.imports import TRIALS, try_imports
from tinyclap.cli.doctor.requirements import fits, installed_version, pip, requirements, wanted
from tinyclap.cli.doctor.torch_pair import build_of, check_pair, explain

# Modules that no extra names, or under another name than their distribution's.
_DISTRIBUTION = {"aac_metrics": "aac-metrics"}
_INDIRECT = {"openvino": (), "safetensors": ("train", "export")}
# What aac-metrics, in turn, imports.
_UNDER_METRICS = ("torch", "torchaudio", "transformers")
_SYSTEM_LIBRARY = {"soundfile": "sndfile"}


def purposes_of(module):
    """Which purposes need a module: tuple of str, by the extras of tinyclap's own metadata."""
    entry = requirements().get(_DISTRIBUTION.get(module, module))
    if entry is None:
        return _INDIRECT.get(module, ())
    if "" in entry["extras"]:
        return PURPOSES
    return tuple(purpose for purpose in PURPOSES if purpose in entry["extras"])


def check_python():
    """Whether this Python can run tinyclap: list of Finding."""
    asked = "3.11"
    if sys.version_info < tuple(map(int, asked.split("."))):
        mend = f"python{asked} -m venv tinyclap-env && tinyclap-env/bin/pip install tinyclap"
        return [Finding("Python", FAULT, platform.python_version(), f"tinyclap needs {asked} or later", mend)]
    bits = "64 bit" if sys.maxsize > 2**32 else "32 bit"
    return [Finding("Python", OK, f"{platform.python_version()}, {bits}, {sys.executable}")]


def check_tinyclap():
    """Whether there is one tinyclap, the one that is running: list of Finding."""
    running = Path(importlib.util.find_spec("tinyclap").origin).parent.parent.resolve()
    places = {_place(each) for each in metadata.distributions() if (each.metadata["Name"] or "").lower() == "tinyclap"}
    found = f"{__version__} in {running}"
    if not places:
        why = "it is run from a folder and is not installed, so what it needs is not known to pip"
        return [Finding("tinyclap", WARNING, found, why, pip("-e", str(running)))]
    others = sorted(str(place) for place in places if place != running)
    findings = [Finding("tinyclap", OK, found)]
    if others:
        why = "which of them runs depends on the folder and on PYTHONPATH; what pip says is true of one alone"
        away = shlex.join([sys.executable, "-m", "pip", "uninstall", "-y", "tinyclap"])
        mend = f"{away} && {pip('-e', str(running))}"
        findings = [Finding("tinyclap", WARNING, f"{found}, and another in {', '.join(others)}", why, mend)]
    return findings + _check_command()


def _place(distribution):
    """Where an installed distribution's code lies: for an editable one, its checkout."""
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable") and origin["url"].startswith("file://"):
        return Path(origin["url"].removeprefix("file://")).resolve()
    return Path(distribution.locate_file("")).resolve()


def _check_command():
    """Whether the command `tinyclap` that a shell finds belongs to this Python."""
    command = shutil.which("tinyclap")
    if command is None:
        return []
    first = Path(command).read_bytes()[:500].splitlines()[:1]
    interpreter = first[0].decode(errors="replace").removeprefix("#!").strip() if first else ""
    if not interpreter.startswith("/") or Path(interpreter).parent == Path(sys.executable).parent:
        return []
    why = f"the command runs {interpreter}, and this report is about {sys.executable}"
    mend = f"{interpreter} -m tinyclap.cli.main doctor"
    return [Finding("command tinyclap", WARNING, f"{command} belongs to another Python", why, mend)]


def stops(module):
    """Which purposes a module stops when it cannot be imported: tuple of str."""
    return tuple(dict.fromkeys((*purposes_of(module), *(["metrics"] if module in _UNDER_METRICS else []))))


def check_libraries(asked, limit_s, all_installed=False):
    """Each library: installed where it is needed, within tinyclap's bounds, and importable.

    Arguments
    ---------
    asked : sequence of str
        Purposes.
    limit_s : float
        Seconds that one import may take.
    all_installed : bool
        Also try those that none of the purposes needs: torch alone takes seconds.

    Returns
    -------
    list of Finding
    """
    here = [name for name in TRIALS if importlib.util.find_spec(name) is not None]
    optional = ["openvino"] if "runtime" in asked else []
    tried = [name for name in here if all_installed or name in optional or set(stops(name)) & set(asked)]
    trials = try_imports(tried, limit_s)
    findings = [_absent(name) for name in TRIALS if name not in here and set(purposes_of(name)) & set(asked)]
    broken = set()
    for name, trial in trials.items():
        findings.append(_check_one(name, trial, broken))
        if not trial.works:
            broken.add(name)
    pair = check_pair() if "torch" in trials else []
    return findings + [each for each in pair if "torchaudio" not in broken] + _check_duplicates()


def _absent(name):
    needed_by = purposes_of(name)
    distribution = _DISTRIBUTION.get(name, name)
    extra = "" if len(needed_by) == len(PURPOSES) else f" for {', '.join(needed_by)}"
    return Finding(name, FAULT, "not installed", f"tinyclap needs it{extra}", pip(wanted(distribution)), needed_by)


def _check_one(name, trial, broken):
    """The finding of an installed library: its version against the bounds, and its import."""
    distribution = _DISTRIBUTION.get(name, name)
    version = installed_version(distribution) or "no metadata"
    if name in ("torch", "torchaudio"):
        version = build_of(name)[0]
    needed_by = stops(name)
    bounds = requirements().get(distribution, {"bounds": ""})["bounds"]
    if bounds and version[0].isdigit() and not fits(version, bounds):
        why = f"tinyclap is made for {distribution}{bounds}"
        if name == "torch":
            why += "; torchaudio takes a torch of its own CUDA major alone"
        pair = ["torchaudio"] if name == "torch" and build_of("torchaudio")[0] else []
        mend = pip(*(wanted(each) for each in (distribution, *pair)))
        found = version if trial.works else f"{version}: {_short(trial.error)}"
        return Finding(name, FAULT, found, why, mend, needed_by)
    if trial.works:
        return Finding(name, OK, f"{version}{_remark(name, trial.detail)}", needed_by=needed_by)
    why, mend = explain(name, trial.error, broken) or _explain_any(name, distribution, trial.error)
    return Finding(name, FAULT, f"{version}: {_short(trial.error)}", why, mend, needed_by)


def _remark(name, detail):
    if name == "soundfile":
        library, *formats = detail.split()
        lacking = [each for each in ("WAV", "FLAC", "OGG", "MP3") if each not in formats]
        return f", libsndfile {library}, " + (f"without {' '.join(lacking)}" if lacking else "WAV FLAC OGG MP3")
    return f", {detail}" if name in ("onnxruntime", "openvino") and detail else ""


def _explain_any(name, distribution, error):
    """Why, and the command, for an import that failed for a cause of no special kind."""
    if "still not imported" in error:
        mend = f"{sys.executable} -X importtime -c 'import {name}'"
        return "a broken installation, a slow disk or a lock; this shows where it stays", mend
    if "numpy" in error and re.search(r"dtype size|_ARRAY_API|NumPy 1\.x|multiarray", error):
        return "it was built for another numpy", pip("--force-reinstall", wanted("numpy"), distribution)
    if name in _SYSTEM_LIBRARY and re.search(r"library not found|cannot load library", error):
        return "its wheel without the library came here", pip("--force-reinstall", "--no-deps", wanted(distribution))
    missing = re.search(r"No module named '([\w.]+)'", error)
    if missing and importlib.util.find_spec(missing[1].split(".")[0]) is None:
        return f"{missing[1]}, which it needs, is not installed", pip(wanted(distribution), missing[1].split(".")[0])
    version = installed_version(distribution)
    exact = f"{distribution}=={version}" if version else wanted(distribution)
    return "it is installed and cannot be imported", pip("--force-reinstall", "--no-deps", exact)


def _short(error, n_characters=300):
    line = " ".join(error.split())
    return line if len(line) <= n_characters else line[:n_characters] + " …"


def _check_duplicates():
    """Distributions that are installed twice in one folder: what an interrupted pip leaves."""
    versions = {}
    for each in metadata.distributions():
        name = (each.metadata["Name"] or "").lower().replace("_", "-")
        if name in requirements():
            versions.setdefault((name, str(each.locate_file(""))), set()).add(each.version)
    return [
        Finding(
            name,
            WARNING,
            f"{' and '.join(sorted(found))} are both noted in {place}",
            "an installation that was interrupted; files of both may be there",
            pip("--force-reinstall", "--no-deps", wanted(name)),
        )
        for (name, place), found in versions.items()
        if len(found) > 1
    ]
