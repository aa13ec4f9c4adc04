"""Model cards, written from a model's config and metrics: what it is, its scores, and the licence of every part.

The front matter is what the Hugging Face hub reads: github.com/huggingface/hub-docs, modelcard.md.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tinyclap.errors import ConfigError
from tinyclap.files import read_json

PERMISSIVE = ("Apache-2.0", "MIT", "BSD-3-Clause", "CC0", "MS-PL")
# Parts that a config names by a word → (what it is, its licence). Corpora: as data_prep states them.
TEACHERS = {"msclap2022": ("Microsoft CLAP 2022", "MS-PL"), "tagger": ("EfficientAT's AudioSet tagger", "MIT")}
TEXT_SIDES = {
    "tag_space": ("sentence encoder all-MiniLM-L6-v2", "Apache-2.0"),
    "msclap2022": ("text tower of Microsoft CLAP 2022", "MS-PL"),
}
CORPORA = {
    "audiocaps": "captions MIT; audio: excerpts of YouTube videos, of their owners",
    "clotho": "captions: Tampere University, non-commercial; audio: each file's own (clotho_metadata_*.csv)",
    "esc50": "CC BY-NC 3.0 (clips marked esc10: CC BY)",
    "fsd50k": "CC BY 4.0 (annotations); each clip's own: CC0, CC BY, CC BY-NC or CC Sampling+",
    "macs": "captions: Tampere University, non-commercial; audio: TAU, non-commercial",
    "soundscapes": "Apache-2.0, as the code that synthesises it",
    "tut17": "TUT, non-commercial use",
    "urbansound8k": "CC BY-NC 3.0",
}
_UNKNOWN = "not stated"
_KINDS = {
    "audio_encoder": ("zero-shot-audio-classification", "names sounds zero-shot, by words that are given when it runs"),
    "tagger": ("audio-classification", "tags sounds"),
    "captioner": (None, "describes sounds in words"),
}
Facts = dict[str, Any]


def model_card(config: Facts, metrics: Iterable[Facts] = (), name: str = "model") -> str:
    """The text of a ``README.md`` for a saved or exported model, with the YAML front matter of the hub.

    ``card`` in its `config` may give ``summary``, ``limits`` (list of str), ``base_model``, ``datasets``, ``license``
    and ``licences`` (list of [part, licence]), in place of what is derived here; `metrics` are contents of
    ``metrics.json`` files, or what :func:`result_of` made of them.

    Example
    -------
    >>> score = {"dataset": "esc50", "metric": "zero-shot top-1 accuracy", "value": 0.9, "n_items": 40}
    >>> card = model_card({"kind": "audio_encoder", "sample_rate_hz": 32000, "embed_dim": 527}, [score], "me/tiny")
    >>> "license: other" in card, "| esc50 | zero-shot top-1 accuracy | 0.9000 |  | 40 |" in card
    (True, True)
    """
    results = [result_of(each) for each in metrics]
    kind, facts, chain = _kind_of(config), config.get("card", {}), licences_of(config)
    call = "caption('dog.wav')" if kind == "captioner" else "classify('dog.wav', ['dog', 'rain', 'siren'])"
    parts = [
        f"---\n{_front_matter(name, kind, facts, chain, results, _corpora(config))}\n---",
        f"# {name.split('/')[-1]}",
        facts.get("summary") or _summary(config, kind),
        f"## Use\n\n```python\nimport tinyclap\n\nmodel = tinyclap.from_pretrained({name!r})\nmodel.{call}\n```",
        _table("Scores", ("corpus", "metric", "value", "95 % interval", "n"), map(_score_row, results)),
        _table("Licences", ("part", "licence"), chain),
        "\n".join(["## Limits", "", *(f"- {line}" for line in facts["limits"])]) if facts.get("limits") else "",
        _origin(config),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def read_metrics(metrics: Any) -> list[Facts]:
    """Contents of metrics, one or a sequence: paths of ``metrics.json`` files are read, dicts stay."""
    each_one = [metrics] if isinstance(metrics, (str, dict, os.PathLike)) else metrics
    advice = "give a metrics.json of evaluate.py"
    return [each if isinstance(each, dict) else read_json(each, advice, ConfigError) for each in each_one]


def result_of(metrics: Facts) -> Facts:
    """What a card tells of one ``metrics.json``: no predictions, and no folder of any machine.

    ``dataset``, ``metric``, ``value`` (finite), ``n_items``; and, where stated, ``split``, ``folds``, ``interval_95``,
    ``n_classes``, ``commit``, ``seed``.

    Example
    -------
    >>> result_of({"dataset": "tut17", "metric": "accuracy", "value": 0.5, "n_items": 8, "options": {"folds": [1]}})
    {'dataset': 'tut17', 'metric': 'accuracy', 'value': 0.5, 'n_items': 8, 'folds': [1]}
    """
    lacking = [key for key in ("dataset", "metric", "value", "n_items") if key not in metrics]
    if lacking or not isinstance(metrics["value"], (int, float)) or not math.isfinite(metrics["value"]):
        raise ConfigError(f"metrics lack {', '.join(lacking) or 'a finite value'}; give a metrics.json of evaluate.py")
    found = {key: metrics[key] for key in ("dataset", "metric", "value", "n_items")}
    folds = metrics.get("folds") or metrics.get("options", {}).get("folds")
    kept = {key: metrics.get(key) for key in ("split", "interval_95", "n_classes", "commit", "seed")}
    return found | {key: value for key, value in {"folds": folds, **kept}.items() if value is not None}


def licences_of(config: Facts) -> list[tuple[str, str]]:
    """Parts that went into a model (code, teacher, text side, each corpus), with their licences.

    Example
    -------
    >>> licences_of({"teacher": "tagger", "corpora": [{"name": "esc50"}]})[1:]
    [("teacher: EfficientAT's AudioSet tagger", 'MIT'), ('data: esc50', 'CC BY-NC 3.0 (clips marked esc10: CC BY)')]
    """
    if "licences" in config.get("card", {}):
        return [(str(part), str(licence)) for part, licence in config["card"]["licences"]]
    saved, chain = _training_of(config), [("code and network: tinyclap", "Apache-2.0")]
    teacher = saved.get("teacher")
    if isinstance(teacher, str):
        what, licence = TEACHERS.get(Path(teacher).name, (Path(teacher).name, _UNKNOWN))
        chain.append((f"teacher: {what}", licence))
    side = (config.get("text") or saved.get("text_side") or {}).get("kind")
    if side is not None:
        what, licence = TEXT_SIDES.get(side, (side, _UNKNOWN))
        chain.append((f"text side: {what}", licence))
    data = [(f"data: {corpus}", CORPORA.get(corpus, _UNKNOWN)) for corpus in _corpora(config)]
    return chain + (data or [("data", _UNKNOWN)])


def _training_of(config: Facts) -> Facts:
    """Facts of the training: a saved model's config, or an export's provenance."""
    return config.get("provenance") or config.get("saved") or config


def _kind_of(config: Facts) -> str:
    if config.get("kind") in _KINDS:
        return config["kind"]
    return "captioner" if "Captioner" in str(config.get("model", {}).get("type")) else "audio_encoder"


def _corpora(config: Facts) -> list[str]:
    if "datasets" in config.get("card", {}):
        return list(config["card"]["datasets"])
    return list(dict.fromkeys(each["name"] for each in _training_of(config).get("corpora", ())))


def _summary(config: Facts, kind: str) -> str:
    rate, dim = config.get("sample_rate_hz"), config.get("embed_dim")
    facts = ", ".join([f"{rate} Hz"] * bool(rate) + [f"{dim} dimensions"] * bool(dim))
    return f"A small audio-language model that {_KINDS[kind][1]}{f' ({facts})' if facts else ''}."


def _table(title: str, columns: tuple[str, ...], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    head = [f"## {title}", "", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return "\n".join(head + lines) if lines else ""


def _score_row(result: Facts) -> list[str]:
    interval = " … ".join(f"{end:.4f}" for end in result.get("interval_95", ()))
    return [_where(result), result["metric"], f"{result['value']:.4f}", interval, str(result["n_items"])]


def _where(result: Facts) -> str:
    folds = ", ".join(map(str, result.get("folds", ())))
    return f"{result['dataset']} {f'fold {folds}' if folds else result.get('split', '')}".strip()


def _origin(config: Facts) -> str:
    saved = _training_of(config)
    commit = (saved.get("starts") or [{}])[0].get("commit")
    facts = {"seed": saved.get("seed"), "commit": commit, "sha256 of the weights": saved.get("weights_sha256")}
    rows = [f"- {what}: `{value}`" for what, value in facts.items() if value is not None]
    return "\n".join(["## Origin", "", *rows]) if rows else ""


def _front_matter(
    name: str, kind: str, facts: Facts, chain: list[tuple[str, str]], results: list[Facts], corpora: list[str]
) -> str:
    """The YAML that the hub reads."""
    try:
        from huggingface_hub import EvalResult, ModelCardData
    except ImportError as error:
        raise ConfigError(f"huggingface_hub writes the card ({error}); run: pip install 'tinyclap[hub]'") from error
    is_permissive = all(licence.split(",")[0] in PERMISSIVE for _, licence in chain)
    scored = [
        EvalResult(
            task_type=_KINDS[kind][0] or "audio-captioning",
            dataset_type=each["dataset"],
            dataset_name=_where(each),
            dataset_split=each.get("split", "test"),
            metric_type="accuracy" if "accuracy" in each["metric"] else each["metric"],
            metric_name=each["metric"],
            metric_value=each["value"],
            metric_args={key: each[key] for key in ("interval_95", "n_items", "n_classes", "commit") if key in each},
        )
        for each in results
    ]
    return ModelCardData(
        license=facts.get("license", "apache-2.0" if is_permissive else "other"),
        library_name="tinyclap",
        pipeline_tag=_KINDS[kind][0],
        tags=["audio", "distillation", "audio-captioning" if kind == "captioner" else "zero-shot"],
        base_model=facts.get("base_model"),
        datasets=facts.get("datasets", corpora) or None,
        model_name=name.split("/")[-1] if scored else None,
        eval_results=scored or None,
    ).to_yaml()
