"""Captioning metrics by aac-metrics: BLEU, ROUGE-L, METEOR, CIDEr-D, SPICE, SPIDEr, SPIDEr-FL, FENSE, vocabulary.

The library is imported when it is used. What a metric needs beside Python (Java, networks) is looked up first, where
aac-metrics looks: ``AAC_METRICS_JAVA_PATH`` (``java``), ``AAC_METRICS_CACHE_PATH`` (``~/.cache``), ``FENSE_DATA``
(torch's hub folder), and the cache of the Hugging Face hub. A metric that cannot be computed is named with the reason;
nothing is downloaded.

Captions are tokenised by :func:`tinyclap.text.tokenizer.caption_words`, which needs no Java, where DCASE's evaluation
uses the Penn Treebank tokenizer. The two differ (hyphens and "'s") in 4 of the 5,225 captions of Clotho's evaluation
split and in 73 of the 4,875 of AudioCaps' test split, by 0.002 of CIDEr-D at most.

Sources: BLEU: Papineni et al., ACL 2002. ROUGE-L: Lin, 2004. CIDEr-D: Vedantam et al., CVPR 2015. METEOR: Denkowski &
Lavie, 2014. SPICE: Anderson et al., ECCV 2016. SPIDEr: Liu et al., ICCV 2017. FENSE: Zhou et al., ICASSP 2022. Library:
Labbé, github.com/Labbeti/aac-metrics.
"""

from __future__ import annotations

import collections.abc
import contextlib
import importlib
import importlib.util
import logging
import math
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from tinyclap.errors import ConfigError
from tinyclap.metrics.classification import bootstrap_interval
from tinyclap.text.tokenizer import caption_words

logger = logging.getLogger(__name__)

# In the order of computation: parts before what combines them.
METRICS: tuple[str, ...] = (
    "bleu_1",
    "bleu_2",
    "bleu_3",
    "bleu_4",
    "rouge_l",
    "cider_d",
    "meteor",
    "spice",
    "fer",
    "sbert_sim",
    "spider",
    "spider_fl",
    "fense",
    "vocab",
)
COMBINED = {"spider": ("cider_d", "spice"), "spider_fl": ("cider_d", "spice", "fer"), "fense": ("sbert_sim", "fer")}
READY = "ready"
TOKENIZER = "tinyclap.text.tokenizer.caption_words: lower case, no punctuation, hyphens separate"

SENTENCE_MODEL = "sentence-transformers/paraphrase-TinyBERT-L6-v2"
FLUENCY_MODEL = "echecker_clotho_audiocaps_base"
METEOR_FILES = ("meteor-1.5.jar", "data/paraphrase-en.gz")
SPICE_FILES = ("spice-1.0.jar", "lib/stanford-corenlp-3.6.0.jar", "lib/stanford-corenlp-3.6.0-models.jar")
_SPICE_TIMEOUT_S = 3600
_NOT_INSTALLED = "needs the package aac-metrics: pip install tinyclap[metrics]"
_FETCH = "run `aac-metrics-download` once, with a network"


def check_metrics() -> dict[str, str]:
    """Each name of :data:`METRICS` → ``"ready"``, or what is missing and what to do."""
    if importlib.util.find_spec("aac_metrics") is None:
        return dict.fromkeys(METRICS, _NOT_INSTALLED)
    found = dict.fromkeys(METRICS, READY)
    found |= {"meteor": _meteor(), "spice": _spice(), "sbert_sim": _sentence_model(), "fer": _fluency_model()}
    for name, parts in COMBINED.items():
        lacking = [part for part in parts if found[part] != READY]
        found[name] = f"needs {' and '.join(lacking)}" if lacking else READY
    return found


def available(metrics: Sequence[str] = METRICS) -> dict[str, str]:
    """:func:`check_metrics`, once the names are known and the library is installed."""
    if isinstance(metrics, str) or not metrics:
        raise ConfigError(f"metrics is {metrics!r}; it is a list of names, e.g. [bleu_4, cider_d]")
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise ConfigError(f"metrics {', '.join(map(str, unknown))}: unknown; choose among {', '.join(METRICS)}")
    state = check_metrics()
    if state["bleu_1"] != READY:
        raise ConfigError(f"scoring captions {state['bleu_1']}")
    return state


def java_major() -> int | None:
    """Major version of Java, e.g. 8 or 17; None where there is none."""
    try:
        done = subprocess.run([_java(), "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)  # up to 8 they were called 1.MAJOR
    return version and int(version[1])


def _java():
    return os.path.expanduser(os.environ.get("AAC_METRICS_JAVA_PATH", "java"))


def _cache():
    return Path(os.path.expandvars(os.environ.get("AAC_METRICS_CACHE_PATH", "~/.cache"))).expanduser() / "aac-metrics"


def _meteor_jar():
    """METEOR's program with its paraphrases beside it, or None: aac-metrics' own, or that of `pycocoevalcap`."""
    package = importlib.util.find_spec("pycocoevalcap")
    places = [_cache(), *(package.submodule_search_locations or () if package else ())]
    for folder in (Path(place) / "meteor" for place in places):
        if all((folder / name).is_file() for name in METEOR_FILES):
            return folder / METEOR_FILES[0]
    return None


def _meteor():
    if _meteor_jar() is None:
        return f"needs its program: {_FETCH}, or `pip install --no-deps pycocoevalcap==1.2`"
    major = java_major()
    if major is None:
        return f"needs Java 8 or later, and {_java()!r} is none; AAC_METRICS_JAVA_PATH says where one is"
    return READY if major >= 8 else f"needs Java 8 or later; this is {major}"


def _spice():
    major = java_major()
    problems = []
    if not all((_cache() / "spice" / name).is_file() for name in SPICE_FILES):
        problems.append(f"its programs ({_FETCH})")
    if major is None or not 8 <= major <= 13:
        here = "there is none" if major is None else f"this is {major}"
        problems.append(f"Java 8 to 13 ({here}; AAC_METRICS_JAVA_PATH says where another is)")
    return f"needs {' and '.join(problems)}" if problems else READY


def _sentence_model():
    from huggingface_hub import try_to_load_from_cache

    is_cached = isinstance(try_to_load_from_cache(SENTENCE_MODEL, "modules.json"), str)  # else None, or a marker
    return READY if is_cached else f"needs the weights of {SENTENCE_MODEL}: {_FETCH}"


def _fluency_model():
    torch_home = os.environ.get("TORCH_HOME", os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch"))
    folder = os.environ.get("FENSE_DATA", os.path.join(torch_home, "hub", "fense_data"))
    is_there = (Path(folder).expanduser() / f"{FLUENCY_MODEL}.ckpt").is_file()
    return READY if is_there else f"needs the weights {FLUENCY_MODEL}.ckpt: {_FETCH}"


def tokenised(candidates: Any, references: Any) -> tuple[list[str], list[list[str]]]:
    """Captions and lists of references as words with one blank between them; references without a word are left out.

    A str in the place of a list of references is one reference.

    Raises
    ------
    ConfigError: None are given, their numbers differ, something is no text, or a clip has no reference with a word.

    Example
    -------
    >>> tokenised(["Rain, then wind."], [["It rains!", "..."]])
    (['rain then wind'], [['it rains']])
    """
    candidates, references = _listed(candidates, "captions"), _listed(references, "references")
    if len(candidates) != len(references) or not candidates:
        raise ConfigError(f"{len(candidates)} captions to score, and references for {len(references)} clips")
    plain = []
    for clip, of_clip in enumerate(references):
        of_clip = [of_clip] if isinstance(of_clip, str) else _listed(of_clip, f"the references of clip {clip}")
        plain.append([text for text in (_words(text, f"a reference of clip {clip}") for text in of_clip) if text])
    without = [clip for clip, of_clip in enumerate(plain) if not of_clip]
    if without:
        raise ConfigError(f"{len(without)} clip(s) have no reference with a word in it, the first is clip {without[0]}")
    return [_words(text, f"caption {clip}") for clip, text in enumerate(candidates)], plain


def _listed(texts, name):
    is_ordered = not isinstance(texts, (str, bytes, collections.abc.Mapping, collections.abc.Set))
    if is_ordered and isinstance(texts, collections.abc.Iterable):
        return list(texts)
    raise ConfigError(f"{name}: {texts!r:.60} is no list of texts")


def _words(text, name):
    if not isinstance(text, str):
        raise ConfigError(f"{name} is {text!r:.60}, which is no text")
    return " ".join(caption_words(text))


def cider_d(candidates: Any, references: Any) -> float:
    """Mean CIDEr-D of captions, in [0, 10]; see :func:`score_captions`. 1,000 clips of five references take 1.3 s.

    The document frequencies are those of the references; of a single clip it is 0.

    Raises
    ------
    ConfigError: As :func:`tokenised`, or aac-metrics is not installed.
    """
    candidates, references = tokenised(candidates, references)
    if importlib.util.find_spec("aac_metrics") is None:
        raise ConfigError(f"CIDEr-D {_NOT_INSTALLED}")
    return _score("cider_d", candidates, references)[0] if len(candidates) > 1 else 0.0


def score_captions(
    candidates: Sequence[str],
    references: Sequence[str | Sequence[str]],
    metrics: Sequence[str] = METRICS,
    device: str = "cpu",
) -> Any:
    """Score captions by every metric that can be computed here.

    Arguments
    ---------
    candidates : sequence of str, N of them
    references : sequence of N lists of str
        The document frequencies of CIDEr-D, and so of SPIDEr, are theirs. A str in a list's place is one reference.
    metrics : sequence of str. Of :data:`METRICS`.
    device : str or torch.device. Where the networks of FENSE run.

    Returns
    -------
    corpus : dict of str to (float or None)
        Each metric over all clips; None if missing. CIDEr-D is in [0, 10], SPIDEr and SPIDEr-FL in [0, 5.5], the others
        in [0, 1] but for ``vocab``, the number of distinct words. ``fer`` is the fraction that is not fluent.
    per_clip : dict of str to list of float. N values of each metric but ``vocab``. A clip's BLEU is its sentence's own.
    missing : dict of str to str. Why a metric is None.

    Raises
    ------
    ConfigError: The extra ``metrics`` is not installed, a metric is unknown, or see :func:`tokenised`.

    Notes
    -----
    SPIDEr = (CIDEr-D + SPICE) / 2; SPIDEr-FL and FENSE take 90 % off SPIDEr and off the sentences' similarity where a
    caption is not fluent. METEOR runs on any Java from 8 on, though aac-metrics refuses those after 13: its scores were
    the same under 11, 17, 21 and 25.
    """
    state = available(metrics)
    candidates, references = tokenised(candidates, references)
    wanted = {part for name in metrics for part in (*COMBINED.get(name, ()), name)}
    found: dict[str, Any] = {}
    missing = {name: state[name] for name in wanted if state[name] != READY}
    if len(candidates) < 2 and "cider_d" in wanted:
        missing["cider_d"] = "needs two clips or more, for its document frequencies"
    for name in (name for name in METRICS if name in wanted and name not in missing):
        lacking = [part for part in COMBINED.get(name, ()) if part in missing]
        if lacking:
            missing[name] = f"needs {' and '.join(lacking)}"
            continue
        try:
            if name in COMBINED:
                found[name] = combined(name, {part: found[part][1] for part in COMBINED[name]})
            else:
                found[name] = _score(name, candidates, references, str(device))
        except Exception as error:  # a Java program or another's weights: whatever it is, the other scores are good
            missing[name] = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            logger.warning("%s %s", name, missing[name])
    corpus = {name: found[name][0] if name in found else None for name in metrics}
    per_clip = {name: found[name][1] for name in metrics if name in found and found[name][1] is not None}
    return corpus, per_clip, {name: missing[name] for name in metrics if name in missing}


def combined(name: str, parts: dict[str, list[float]]) -> tuple[float, list[float]]:
    """SPIDEr, SPIDEr-FL or FENSE from its parts' values of each clip: (mean, list of values)."""
    rows = {part: np.array(values) for part, values in parts.items()}
    values = (rows["cider_d"] + rows["spice"]) / 2 if "spice" in rows else rows["sbert_sim"]
    values = values * (1 - 0.9 * rows["fer"]) if "fer" in rows else values
    return float(values.mean()), values.tolist()


def _score(name, candidates, references, device="cpu"):
    """(value, values of the clips) of one metric by aac-metrics."""
    if name == "vocab":
        return float(len({word for caption in candidates for word in caption.split()})), None
    # the package's functions hide the modules that they are in, so modules are looked up by name
    module = importlib.import_module(f"aac_metrics.functional.{'bleu' if name.startswith('bleu') else name}")
    options, changes = {}, {}
    if name == "meteor":
        options = {"java_path": _java()}
        changes = {"check_java_path": lambda path: True, "FNAME_METEOR_JAR": str(_meteor_jar())}
    elif name == "spice":
        options = {"java_path": _java(), "timeout": _SPICE_TIMEOUT_S}
    elif name in ("sbert_sim", "fer"):
        options = {"device": device}
    sides = (candidates,) if name == "fer" else (candidates, references)
    patched = mock.patch.multiple(module, **changes) if changes else contextlib.nullcontext()
    with patched, _offline():
        corpus, rows = getattr(module, name)(*sides, **options)
    values = [float(value) for value in rows[name]]
    if not all(map(math.isfinite, [float(corpus[name]), *values])):
        raise ValueError("a clip's value is not a number")
    return float(corpus[name]), values


def _offline():
    """Keep the Hugging Face libraries from requests about files that are in their cache."""
    from huggingface_hub import constants

    return mock.patch.object(constants, "HF_HUB_OFFLINE", True)


def with_intervals(candidates: Any, references: Any, outcome: Any, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Give each metric its 95 % bootstrap interval over clips: metric → ``value`` and ``interval_95``, or ``missing``.

    METEOR, whose value is no mean over clips, has ``mean_of_clips`` beside it, and the interval is that mean's. Clips'
    scores are resampled, not computed anew; BLEU's intervals sum the resampled clips' n-gram counts.

    Arguments
    ---------
    candidates, references, outcome : See :func:`score_captions`, and what it returns of these.
    seed : int
    """
    corpus, per_clip, missing = outcome
    has_bleu = any(name.startswith("bleu") for name in corpus)
    of_bleu = bleu_intervals(candidates, references, seed=seed) if has_bleu else {}
    records = {}
    for name, value in corpus.items():
        if name in missing:
            records[name] = {"value": None, "missing": missing[name]}
            continue
        ends = of_bleu.get(name) or (bootstrap_interval(per_clip[name], seed=seed) if name in per_clip else None)
        records[name] = {"value": value, "interval_95": ends and list(ends)}
        if name == "meteor":
            records[name]["mean_of_clips"] = float(np.mean(per_clip[name]))
    return records


def bleu_intervals(candidates: Any, references: Any, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % bootstrap intervals over clips of the corpus' BLEU: dict of ``bleu_1`` … ``bleu_4`` → (low, high)."""
    from aac_metrics.functional.bleu import _bleu_update

    clips, _ = _bleu_update(*tokenised(candidates, references), 4, str.split, [], [])
    closest = [min((abs(n - clip["testlen"]), n) for n in clip["reflen"])[1] for clip in clips]
    counts = [(*c["correct"], *c["guess"], c["testlen"], n) for c, n in zip(clips, closest, strict=True)]
    draws = np.random.default_rng(seed).multinomial(len(clips), np.full(len(clips), 1 / len(clips)), size=2000)
    hits, guesses, n_words, n_closest = np.split(draws @ np.array(counts, dtype=float), [4, 8, 9], axis=-1)
    # the two small numbers are the library's, against division by zero
    precisions = np.cumsum(np.log((hits + 1e-15) / (guesses + 1e-9)), axis=-1) / np.arange(1, 5)
    brevity = np.minimum(0, 1 - (n_closest + 1e-9) / (n_words + 1e-15))
    low, high = np.quantile(np.exp(precisions) * np.exp(brevity), [0.025, 0.975], axis=0)
    return {f"bleu_{order + 1}": (float(low[order]), float(high[order])) for order in range(4)}
