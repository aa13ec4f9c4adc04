"""Scores of captions against references, by aac-metrics 0.5.4 (Labbé; the extra ``metrics``).

The library is imported when it is used. What a metric needs beside Python (Java, networks) is looked up first; a metric
that cannot be had is named with the reason, and nothing is downloaded.

Captions are split into words by :func:`caption_words`, which needs no Java, before every metric, as
DCASE's evaluation does with the tokenizer of the Penn Treebank. The two differ in 4 of the 5,225 captions of Clotho's
evaluation part and in 73 of the 4,875 of AudioCaps' test part (hyphens and "'s"); the CIDEr-D of one reference against
the other four stays at 0.8011 on the one, and goes from 0.8965 to 0.8982 on the other.

Sources: BLEU: Papineni et al., ACL 2002. ROUGE-L: Lin, 2004. CIDEr-D: Vedantam et al., CVPR 2015. METEOR: Denkowski &
Lavie, 2014. SPICE: Anderson et al., ECCV 2016. SPIDEr: Liu et al., ICCV 2017. FENSE: Zhou et al., ICASSP 2022.
"""

import contextlib
import importlib
import logging
import math

import numpy as np

from tinyclap.errors import ConfigError
from tinyclap.metrics.caption_resources import MADE_OF, METRICS, READY, check_metrics, java_path, meteor_jar
from tinyclap.metrics.classification import bootstrap_interval
from tinyclap.metrics.ngrams import bleu_intervals, cider_d, plain_captions

logger = logging.getLogger(__name__)

__all__ = ["METRICS", "TOKENIZER", "available", "check_metrics", "cider_d", "score_captions", "with_intervals"]

TOKENIZER = "tinyclap.text.tokenizer.caption_words: lower case, no punctuation, hyphens separate"
_SPICE_TIMEOUT_S = 3600


def available(metrics=METRICS):
    """Whether captions can be scored here at all, and by what.

    Arguments
    ---------
    metrics : sequence of str
        Of :data:`METRICS`.

    Returns
    -------
    dict of str to str
        See :func:`tinyclap.metrics.caption_resources.check_metrics`.

    Raises
    ------
    ConfigError
        The extra ``metrics`` is not installed, or a metric is unknown.
    """
    if isinstance(metrics, str) or not metrics:
        raise ConfigError(f"metrics is {metrics!r}; it is a list of names, e.g. [bleu_4, cider_d]")
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise ConfigError(f"metrics {', '.join(map(str, unknown))}: unknown; choose among {', '.join(METRICS)}")
    state = check_metrics()
    if state["bleu_1"] != READY:
        raise ConfigError(f"scoring captions {state['bleu_1']}")
    return state


def score_captions(candidates, references, metrics=METRICS, device="cpu"):
    """Score captions by every metric that can be had.

    Arguments
    ---------
    candidates : list of str, N of them
    references : list of list of str, N of them
        One or more for each clip; the document frequencies of CIDEr-D, and so of SPIDEr, are theirs.
    metrics : sequence of str
        Of :data:`METRICS`.
    device : str or torch.device
        Where the networks of FENSE run.

    Returns
    -------
    corpus : dict of str to (float or None)
        Each metric's value over all clips; None for a missing one. CIDEr-D is in [0, 10], SPIDEr and SPIDEr-FL in
        [0, 5.5], the others in [0, 1] but for ``vocab``, the number of distinct words in the captions. ``fer`` is the
        share of captions that are not fluent.
    per_clip : dict of str to list of float
        N values of each present metric but ``vocab``, which has none. A clip's BLEU is its sentence's own.
    missing : dict of str to str
        Why a metric is None.

    Raises
    ------
    ConfigError
        The extra ``metrics`` is not installed, a metric is unknown, or a clip has no reference.

    Notes
    -----
    SPIDEr = (CIDEr-D + SPICE) / 2; SPIDEr-FL and FENSE take 90 % off SPIDEr and off the sentences' similarity where a
    caption is not fluent. METEOR runs on any Java from 8 on, though aac-metrics refuses those after 13: its scores were
    the same under 11, 17, 21 and 25.
    """
    state = available(metrics)
    candidates, references = plain_captions(candidates, references)
    wanted = {part for name in metrics for part in (*MADE_OF.get(name, ()), name)}
    found, missing = {}, {name: state[name] for name in wanted if state[name] != READY}
    if len(candidates) < 2 and "cider_d" in wanted:
        missing["cider_d"] = "needs two clips or more, for its document frequencies"
    for name in METRICS:
        if name not in wanted or name in missing:
            continue
        lacking = [part for part in MADE_OF.get(name, ()) if part in missing]
        if lacking:
            missing[name] = f"needs {' and '.join(lacking)}"
            continue
        try:
            found[name] = _score(name, candidates, references, found, str(device))
        except Exception as error:  # a Java program or another's weights: whatever it is, the other scores are good
            missing[name] = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            logger.warning("%s %s", name, missing[name])
    corpus = {name: found[name][0] if name in found else None for name in metrics}
    per_clip = {name: found[name][1] for name in metrics if name in found and found[name][1] is not None}
    return corpus, per_clip, {name: missing[name] for name in metrics if name in missing}


def _score(name, candidates, references, found, device):
    """(value, values of the clips) of one metric; `found` holds those that it may be made of."""
    if name in MADE_OF:
        rows = {part: np.array(found[part][1]) for part in MADE_OF[name]}
        values = (rows["cider_d"] + rows["spice"]) / 2 if "spice" in rows else rows["sbert_sim"]
        values = values * (1 - 0.9 * rows["fer"]) if "fer" in rows else values
        return float(values.mean()), values.tolist()
    if name == "vocab":
        return float(len({word for caption in candidates for word in caption.split()})), None
    # the package's functions hide the modules that they are in, so modules are asked for by name
    module = importlib.import_module(f"aac_metrics.functional.{'bleu' if name.startswith('bleu') else name}")
    options, changes = {}, {}
    if name == "meteor":
        options = {"java_path": java_path()}
        changes = {"check_java_path": lambda path: True, "FNAME_METEOR_JAR": str(meteor_jar())}
    elif name == "spice":
        options = {"java_path": java_path(), "timeout": _SPICE_TIMEOUT_S}
    elif name in ("sbert_sim", "fer"):
        options = {"device": device}
    sides = (candidates,) if name == "fer" else (candidates, references)
    with _changed(module, **changes), _offline():
        corpus, rows = getattr(module, name)(*sides, **options)
    values = [float(value) for value in rows[name]]
    if not all(map(math.isfinite, [float(corpus[name]), *values])):
        raise ValueError("a clip's value is not a number")
    return float(corpus[name]), values


@contextlib.contextmanager
def _changed(module, **values):
    """Set attributes of a module for a while."""
    before = {name: getattr(module, name) for name in values}
    try:
        for name, value in values.items():
            setattr(module, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def _offline():
    """Keep the Hugging Face libraries from asking the network about files that are in their cache."""
    from huggingface_hub import constants

    return _changed(constants, HF_HUB_OFFLINE=True)


def with_intervals(candidates, references, outcome, seed=0):
    """Give each metric its 95 % interval over clips.

    Arguments
    ---------
    candidates : list of str
    references : list of list of str
    outcome : tuple
        What :func:`score_captions` said of these.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict of str to dict
        Each metric → ``value`` and ``interval_95`` (None for ``vocab``), or ``value`` None and ``missing``, the reason.
        METEOR, whose value is no mean over clips, has ``mean_of_clips`` beside it, and the interval is that mean's.

    Notes
    -----
    Clips are resampled, their scores are not worked out anew: CIDEr-D's document frequencies stay those of all clips.
    BLEU's intervals sum the resampled clips' counts, since its value is no mean over clips either.
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
