"""What the metrics of captions need beside Python, and whether it is here: Java, its programs, and two networks.

Nothing is downloaded and nothing heavy is imported to find out. Things are looked for where aac-metrics looks:
``AAC_METRICS_JAVA_PATH`` (by default ``java``), ``AAC_METRICS_CACHE_PATH`` (``~/.cache``), ``FENSE_DATA`` (torch's hub
folder), and the cache of the Hugging Face hub.
"""

import importlib.util
import os
import re
import subprocess
from pathlib import Path

# In this order they are worked out: parts before what is made of them.
METRICS = (
    "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d", "meteor", "spice", "fer", "sbert_sim",
    "spider", "spider_fl", "fense", "vocab",
)  # fmt: skip
# What is worked out from others.
MADE_OF = {"spider": ("cider_d", "spice"), "spider_fl": ("cider_d", "spice", "fer"), "fense": ("sbert_sim", "fer")}
READY = "ready"

SENTENCE_MODEL = "sentence-transformers/paraphrase-TinyBERT-L6-v2"
FLUENCY_MODEL = "echecker_clotho_audiocaps_base"
METEOR_FILES = ("meteor-1.5.jar", "data/paraphrase-en.gz")
SPICE_FILES = ("spice-1.0.jar", "lib/stanford-corenlp-3.6.0.jar", "lib/stanford-corenlp-3.6.0-models.jar")
_FETCH = "run `aac-metrics-download` once, with a network"


def check_metrics():
    """Which metrics can be worked out here.

    Returns
    -------
    dict of str to str
        Each name of :data:`METRICS` → ``"ready"``, or what is missing and what to do.

    Example
    -------
    >>> check_metrics()["cider_d"] in (READY, "needs the package aac-metrics: pip install tinyclap[metrics]")
    True
    """
    if importlib.util.find_spec("aac_metrics") is None:
        return dict.fromkeys(METRICS, "needs the package aac-metrics: pip install tinyclap[metrics]")
    found = dict.fromkeys(METRICS, READY)
    found |= {"meteor": _meteor(), "spice": _spice(), "sbert_sim": _sentence_model(), "fer": _fluency_model()}
    for name, parts in MADE_OF.items():
        lacking = [part for part in parts if found[part] != READY]
        found[name] = f"needs {' and '.join(lacking)}" if lacking else READY
    return found


def java_path():
    """The Java program that is run."""
    return os.path.expanduser(os.environ.get("AAC_METRICS_JAVA_PATH", "java"))


def java_major():
    """Version of Java, e.g. 8 or 17; None where there is none."""
    try:
        done = subprocess.run([java_path(), "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r'version "(\d+)(?:\.(\d+))?', done.stderr + done.stdout)
    if version is None:
        return None
    major, minor = int(version[1]), int(version[2] or 0)
    return minor if major == 1 else major  # up to 8 they were called 1.MAJOR


def meteor_jar():
    """METEOR's program with its paraphrases beside it, or None: aac-metrics' own, or that of `pycocoevalcap`."""
    folders = [_cache() / "meteor"]
    package = importlib.util.find_spec("pycocoevalcap")
    if package is not None:
        folders += [Path(place) / "meteor" for place in package.submodule_search_locations or ()]
    whole = [folder for folder in folders if all((folder / name).is_file() for name in METEOR_FILES)]
    return whole[0] / METEOR_FILES[0] if whole else None


def _cache():
    return Path(os.path.expandvars(os.environ.get("AAC_METRICS_CACHE_PATH", "~/.cache"))).expanduser() / "aac-metrics"


def _meteor():
    if meteor_jar() is None:
        return f"needs its program: {_FETCH}, or `pip install --no-deps pycocoevalcap==1.2`"
    major = java_major()
    if major is None:
        return f"needs Java 8 or later, and {java_path()!r} is none; AAC_METRICS_JAVA_PATH says where one is"
    return READY if major >= 8 else f"needs Java 8 or later; this is {major}"


def _spice():
    absent = [name for name in SPICE_FILES if not (_cache() / "spice" / name).is_file()]
    major = java_major()
    problems = [f"its programs ({_FETCH})"] if absent else []
    if major is None or not 8 <= major <= 13:
        here = "there is none" if major is None else f"this is {major}"
        problems.append(f"Java 8 to 13 ({here}; AAC_METRICS_JAVA_PATH says where another is)")
    return f"needs {' and '.join(problems)}" if problems else READY


def _sentence_model():
    from huggingface_hub import try_to_load_from_cache

    # a str is a path; None and a marker of "known not to exist" are not
    if isinstance(try_to_load_from_cache(SENTENCE_MODEL, "modules.json"), str):
        return READY
    return f"needs the weights of {SENTENCE_MODEL}: {_FETCH}"


def _fluency_model():
    torch_home = os.environ.get("TORCH_HOME", os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch"))
    folder = os.environ.get("FENSE_DATA", os.path.join(torch_home, "hub", "fense_data"))
    if (Path(folder).expanduser() / f"{FLUENCY_MODEL}.ckpt").is_file():
        return READY
    return f"needs the weights {FLUENCY_MODEL}.ckpt: {_FETCH}"
