"""``tinyclap doctor``: check this installation, and print the command that fixes each problem.

Nothing here imports torch, numpy or another library into its own process: a broken one must not break the report.
"""

import collections
import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import tinyclap
from tinyclap.cli.common import DONE, FAILED
from tinyclap.config.shipped import shipped_folder, shipped_names
from tinyclap.errors import TinyclapError
from tinyclap.files import cache_folder, read_json

DESCRIPTION = """Check Python, the libraries (versions, and whether each can be imported), the pair of torch and
torchaudio, models and caches by their checksums, and the disks. Each problem comes with the command
that fixes it. Nothing is changed, and the network is not used."""
EXAMPLES = """examples:
  tinyclap doctor --for runtime              torch is not looked at
  tinyclap doctor --space 20000 --folder /data/run
  tinyclap doctor --json | jq -r '.findings[] | select(.status == "error") | .fix'

exit status: 0 without errors (there may be warnings), 1 with."""
OK, WARNING, ERROR = "ok", "warning", "error"
_SIGNS = {"runtime": "onnxruntime", "train": "speechbrain", "export": "onnxscript", "metrics": "aac-metrics"}
_SPACE_MB = {"runtime": 100, "train": 5000, "export": 500, "metrics": 3000}  # usual for results and caches
_HASHED_BYTES = 1 << 30  # of each cache, without --all-checksums
_PAIR = ("torch", "torchaudio")
_CPU_INDEX = ("--index-url", "https://download.pytorch.org/whl/cpu")
_IMPORTS = {"transformers": "from transformers import BertModel"}  # else the distribution's name
# status is "ok", "warning" or "error"; fix is the command for it
Finding = collections.namedtuple("Finding", "part status found why fix", defaults=("", ""))


def add_arguments(parser):
    """Add the options of the command."""
    what = "what the installation is for (default: each whose libraries are installed)"
    add = parser.add_argument
    add("--for", dest="purposes", nargs="+", choices=_SIGNS, default=[], help=what)
    add("--space", type=int, metavar="MB", help="what must be free in --folder")
    add("--folder", default=".", help="where results will be written (default: here)")
    add("--all-checksums", action="store_true", help="also hash fetched files beyond 1 GB")
    add("--timeout", type=float, default=120.0, metavar="S", help="for one import (default: 120)")
    add("--json", action="store_true", help="everything as one JSON object")


def run(options):
    """Check, report, and return the exit status."""
    purposes = options.purposes or [name for name, sign in _SIGNS.items() if version_of(sign)] or ["runtime"]
    findings = [*check_installation(), *check_libraries(purposes, options.timeout), *check_shipped()]
    findings += check_caches(1 << 62 if options.all_checksums else _HASHED_BYTES) + check_disks(
        purposes, options.space, options.folder
    )
    counts = {f"n_{status}s": sum(each.status == status for each in findings) for status in (ERROR, WARNING)}
    if options.json:
        report = {"purposes": purposes, **counts, "findings": [each._asdict() for each in findings]}
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
    else:
        lines = [f"checked for: {', '.join(purposes)}"]
        for each in sorted(findings, key=lambda each: (OK, WARNING, ERROR).index(each.status)):
            lines.append(f"{each.status:8} {each.part:22} {each.found}")
            lines += [f"         {name}: {text}" for name, text in (("why", each.why), ("fix", each.fix)) if text]
        lines.append(f"{counts['n_errors']} errors, {counts['n_warnings']} warnings")
        sys.stdout.write("\n".join(lines) + "\n")
    return FAILED if counts["n_errors"] else DONE


def check_installation():
    """Python and tinyclap itself: list of Finding."""
    place = Path(tinyclap.__file__).parents[1]
    known = version_of("tinyclap") is not None
    rest = () if known else ("it is not installed, so what it needs is not known", pip("-e", str(place)))
    python = f"{sys.version.split()[0]}, {sys.executable}"
    return [Finding("Python", OK, python), Finding("tinyclap", OK if known else WARNING, str(place), *rest)]


def requirements(purposes):
    """What the base install and these extras need, by tinyclap's own metadata: dict of distribution to bounds."""
    found = {}
    for line in (version_of("tinyclap") and metadata.requires("tinyclap")) or []:
        name, bounds = re.match(r"([\w.-]+)(?:\[[^]]*])?\s*\(?([^;)]*)", line).groups()
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", line)
        if extra is None or extra[1] in purposes:
            found[name.lower().replace("_", "-")] = bounds.strip()
    return found


def version_of(distribution):
    """The installed version of a distribution, or None."""
    return next((each.version for each in metadata.distributions(name=distribution)), None)


def check_libraries(purposes, limit_s=120.0):
    """Each library that is needed: installed, within bounds, importable; torch and torchaudio as a pair."""
    needed, findings, bounded = requirements(purposes), [], None
    try:
        from packaging.specifiers import SpecifierSet as bounded
    except ImportError:
        findings.append(Finding("versions", WARNING, "not checked: packaging is missing", fix=pip("packaging")))
    here = {name: version_of(name) for name in needed if version_of(name)}
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"importing {len(here)} libraries …\n")
    errors = import_errors(here, limit_s)
    broken = [name for name in here if errors[name]]
    for name, bounds in needed.items():
        found, rest = here.get(name, "not installed"), ()
        if name not in here or (bounded and not bounded(bounds).contains(here[name], prereleases=True)):
            rest = (f"tinyclap needs {name}{bounds}", pip(name + bounds))
        elif errors[name]:
            found, rest = f"{found}: {errors[name]}", explain(name, errors[name], broken)
        findings.append(Finding(name, ERROR if rest else OK, found, *rest))
    return findings + (check_pair(build_of("torch"), build_of("torchaudio")) if "torchaudio" in needed else [])


def import_errors(distributions, limit_s):
    """What goes wrong when each library is imported, "" for nothing: dict. One that fails is tried alone, too."""
    code = "import os, sys\nfor line in sys.argv[1:]: exec(line); os.write(1, b'\\0\\n')"
    paths = os.pathsep.join(place or os.getcwd() for place in sys.path)
    env = os.environ | {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    errors, left = {}, list(distributions)
    while left:
        lines = (_IMPORTS.get(name, f"import {name.replace('-', '_')}") for name in left)
        words = [sys.executable, "-P", "-c", code, *lines]
        try:
            done = subprocess.run(words, capture_output=True, timeout=limit_s, env=env)
            lines = done.stderr.decode(errors="replace").strip().splitlines() if done.returncode > 0 else []
            out, error = done.stdout, (lines or [f"the process ended with status {done.returncode}"])[-1][:300]
        except subprocess.TimeoutExpired as late:
            out, error = late.stdout or b"", f"still not imported after {limit_s:g} s"
        n_right = out.count(b"\0\n")
        errors |= dict.fromkeys(left[:n_right], "") if n_right else {left[0]: error}
        left = left[n_right or 1 :]
    return errors


def explain(name, error, broken):
    """Why an import failed, and the command that fixes it; `broken` are all distributions that failed."""
    cause = next((other for other in ("torch", "torchaudio") if other in broken and other != name), None)
    if cause and name in ("torchaudio", "transformers", "speechbrain", "aac-metrics"):
        return f"it imports {cause}, which fails: fix that first", ""
    missing = re.search(r"No module named '(\w+)", error)
    if missing and importlib.util.find_spec(missing[1]) is None:
        return f"{missing[1]}, which it needs, is not installed", pip(missing[1])
    if name in ("torch", "torchaudio"):
        index = _CPU_INDEX if (build_of("torch") or "??")[1] is None else ()
        return "a part of torch is missing, or they do not fit", pip("--force-reinstall", *index, *_PAIR)
    return "the installation is broken", pip("--force-reinstall", "--no-deps", f"{name}=={version_of(name)}")


def build_of(module):
    """Version and CUDA (None: CPU alone) that torch or torchaudio was built for, without importing it; or None."""
    spec = importlib.util.find_spec(module)
    path = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    if path is None or not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    version, cuda = (re.search(rf"^{key}\b[^=\n]*=\s*['\"]([^'\"]+)", text, re.M) for key in ("__version__", "cuda"))
    tag = re.search(r"\+cu(\d+)(\d)$", version[1]) if version else None
    return version[1] if version else "unknown", cuda[1] if cuda else f"{tag[1]}.{tag[2]}" if tag else None


def check_pair(torch, torchaudio):
    """Whether builds from :func:`build_of` go together: torchaudio ≥ 2.11.1 needs a torch of its own CUDA major."""
    if torch is None or torchaudio is None or torchaudio[1] is None:
        return []
    if torch[1] is not None and torch[1].split(".")[0] == torchaudio[1].split(".")[0]:
        return []
    found = f"torch {torch[0]} for CUDA {torch[1]}, torchaudio {torchaudio[0]} for CUDA {torchaudio[1]}"
    why = "torchaudio fails, and with it speechbrain, and transformers by another message (BertModel)"
    fix = pip("--force-reinstall", *(("--no-deps", *_CPU_INDEX, "torchaudio") if torch[1] is None else _PAIR))
    return [Finding("torch and torchaudio", ERROR, found, why, fix)]


def check_shipped():
    """The files of the models that come with the package, by their checksums: list of Finding."""
    findings = []
    for name in shipped_names():
        folder = shipped_folder(name)
        try:
            files = read_json(folder / "config.json")["files"]
            wrong = [file for file, sha256 in files.items() if not _is(folder / file, sha256)]
        except (TinyclapError, KeyError, OSError) as error:
            wrong = [str(error)]
        found = f"{', '.join(wrong)}: missing or changed" if wrong else f"{len(files)} files, checksums right"
        rest = ("it cannot be opened", pip("--force-reinstall", "--no-deps", "tinyclap")) if wrong else ()
        findings.append(Finding(f"model {name}", ERROR if wrong else OK, found, *rest))
    return findings


def check_caches(limit_bytes=_HASHED_BYTES):
    """Fetched files, smallest first, by the checksums beside them or in their names: list of Finding."""
    sums = [(path, path.read_text(errors="replace").split()) for path in cache_folder().rglob("*.md5")]
    own = [(path.with_suffix(""), path, words[0]) for path, words in sums if words]
    links = hub_cache().glob("*/snapshots/**/*")
    hub = [(path.resolve(), path, path.resolve().name) for path in links if path.is_symlink()]
    findings = []
    for folder, files in (cache_folder(), own), (hub_cache(), hub):
        wrong, n_read, left = [], 0, limit_bytes
        for path, beside, checksum in sorted(files, key=lambda file: _size(file[0])):
            left -= _size(path)
            if left >= 0 and len(checksum) in (32, 40, 64):
                n_read += 1
                wrong += [] if _is(path, checksum) else [str(path), str(beside)]
        right = Finding(f"cache {folder}", OK, f"{n_read} of {len(files)} files hashed, checksums right")
        changed = f"not the published files, which removed are fetched again: {', '.join(wrong[::2])}"
        fix = shlex.join(["rm", "-f", *wrong])
        findings.append(right._replace(status=ERROR, found=changed, fix=fix) if wrong else right)
    return findings


def check_disks(purposes, space_mb=None, folder="."):
    """Room, and the right to write, for results and caches: list of Finding."""
    usual_mb, findings = max(map(_SPACE_MB.get, purposes)), []
    for wanted, needed_mb in (Path(folder), space_mb or usual_mb), (cache_folder(), usual_mb), (hub_cache(), usual_mb):
        place = next(path for path in (wanted.absolute(), *wanted.absolute().parents) if path.is_dir())
        free_mb, can_write = shutil.disk_usage(place).free >> 20, os.access(place, os.W_OK)
        found = f"{free_mb:,} MB free" + ("" if can_write else ", and it cannot be written")
        is_wrong = not can_write or (free_mb < needed_mb and needed_mb == space_mb)
        status = ERROR if is_wrong else WARNING if free_mb < needed_mb else OK
        fix = f"du -xh --max-depth=2 {shlex.quote(str(place))} | sort -h | tail  # or set TINYCLAP_CACHE, HF_HUB_CACHE"
        rest = () if status == OK else (f"{needed_mb:,} MB are needed", fix)
        findings.append(Finding(f"disk of {wanted}", status, found, *rest))
    return findings


def hub_cache():
    """The cache folder of huggingface_hub."""
    home = os.environ.get("HF_HOME", os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface"))
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return Path(os.path.expandvars(named)).expanduser()


def pip(*words):
    """The command that installs something for this very Python, by uv where it has no pip."""
    if importlib.util.find_spec("pip") is None and shutil.which("uv"):
        return shlex.join(["uv", "pip", "install", "--python", sys.executable, *words])
    return shlex.join([sys.executable, "-m", "pip", "install", *words])


def _size(path):
    return path.stat().st_size if path.is_file() else 0


def _is(path, checksum):
    """Whether a file has this MD5, SHA-256 or git's SHA-1, told apart by their length."""
    made = hashlib.new({32: "md5", 40: "sha1", 64: "sha256"}[len(checksum)], usedforsecurity=False)
    made.update(b"blob %d\0" % _size(path) if len(checksum) == 40 else b"")
    with open(path if path.is_file() else os.devnull, "rb") as file:
        return hashlib.file_digest(file, lambda: made).hexdigest() == checksum
