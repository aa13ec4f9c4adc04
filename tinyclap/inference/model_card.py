"""A model's card, written from its config and its metrics: what it is, what it scored, and the licence of every part.

The front matter is what the Hugging Face hub reads: github.com/huggingface/hub-docs, modelcard.md. Needs the standard
library alone.
"""

import json
import math
import re
from pathlib import Path

from tinyclap.errors import ConfigError

PERMISSIVE = ("Apache-2.0", "MIT", "BSD-3-Clause", "CC0", "MS-PL")
# Parts that a config names by a word → (what it is, its licence). Corpora: as data_prep states them.
TEACHERS = {
    "msclap2022": ("Microsoft CLAP 2022", "MS-PL"),
    "tagger": ("EfficientAT's AudioSet tagger", "MIT"),
}
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
_PLAIN, _YAML_WORDS = (
    re.compile("[A-Za-z][A-Za-z0-9.-]*"),
    ("yes", "no", "on", "off", "true", "false", "null", "y", "n"),
)
_KINDS = {
    "audio_encoder": ("zero-shot-audio-classification", "names sounds zero-shot, by words that are given when it runs"),
    "tagger": ("audio-classification", "tags sounds"),
    "captioner": (None, "describes sounds in words"),
}


def model_card(config, metrics=(), name="model"):
    """The text of a ``README.md`` for a saved or exported model.

    Arguments
    ---------
    config : dict
        The ``config.json`` of an exported folder or of a saved model. Its ``card``, where it has one, may say
        ``summary``, ``limits`` (list of str), ``base_model``, ``datasets``, ``license`` and ``licences`` (list of
        [part, licence]), each in place of what is derived here.
    metrics : sequence of dict
        Contents of ``metrics.json`` files, or what :func:`result_of` made of them.
    name : str
        What the model is called: ``owner/name``, or a folder's name.

    Returns
    -------
    str
        Markdown with YAML front matter.

    Raises
    ------
    ConfigError
        A metrics file lacks its dataset, metric, value or number of clips, or is of no number.

    Example
    -------
    >>> score = {"dataset": "esc50", "metric": "zero-shot top-1 accuracy", "value": 0.9, "n_items": 40}
    >>> card = model_card({"kind": "audio_encoder", "sample_rate_hz": 32000, "embed_dim": 527}, [score], "me/tiny")
    >>> card.splitlines()[1], "| esc50 | zero-shot top-1 accuracy | 0.9000 |  | 40 |" in card
    ('license: other', True)
    """
    results = [result_of(each) for each in metrics]
    kind, facts, chain = _kind_of(config), config.get("card", {}), licences_of(config)
    front = {
        "license": facts.get("license", "apache-2.0" if all(_is_permissive(each) for _, each in chain) else "other"),
        "library_name": "tinyclap",
        "pipeline_tag": _KINDS[kind][0],
        "tags": ["audio", "distillation", "audio-captioning" if kind == "captioner" else "zero-shot"],
        "base_model": facts.get("base_model"),
        "datasets": facts.get("datasets", _corpora(config)),
        "model-index": [{"name": name.split("/")[-1], "results": [_indexed(each, kind) for each in results]}]
        if results
        else None,
    }
    front = {key: value for key, value in front.items() if value}
    parts = [
        "---\n" + "".join(f"{line}\n" for line in _yaml(front)) + "---",
        f"# {name.split('/')[-1]}",
        facts.get("summary") or _summary(config, kind),
        _use(name, kind),
        _scores(results),
        _licence_table(chain),
        "\n".join(["## Limits", "", *(f"- {line}" for line in facts["limits"])]) if facts.get("limits") else "",
        _origin(config),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def read_metrics(metrics):
    """Contents of metrics: paths of ``metrics.json`` files are read, dicts stay.

    Arguments
    ---------
    metrics : sequence of str, os.PathLike or dict

    Returns
    -------
    list of dict

    Raises
    ------
    ConfigError
        A file is missing or is no JSON.
    """
    found = []
    for each in [metrics] if isinstance(metrics, (str, dict, Path)) else metrics:
        if isinstance(each, dict):
            found.append(each)
            continue
        try:
            found.append(json.loads(Path(each).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{each}: cannot be read as JSON ({error}); give a metrics.json of evaluate.py"
            ) from error
    return found


def result_of(metrics):
    """What a card tells of one ``metrics.json``: no predictions, and no folder of any machine.

    Arguments
    ---------
    metrics : dict

    Returns
    -------
    dict
        ``dataset``, ``metric``, ``value``, ``n_items``; and ``split``, ``folds``, ``interval_95``, ``n_classes``,
        ``commit``, ``seed`` where they are stated.

    Raises
    ------
    ConfigError
        One of the first four is missing, or the value is no number.

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


def licences_of(config):
    """The licence of every part that went into a model.

    Arguments
    ---------
    config : dict
        As in :func:`model_card`.

    Returns
    -------
    list of (str, str)
        Part and licence: the code, the teacher, the text side, each corpus.

    Example
    -------
    >>> licences_of({"teacher": "tagger", "corpora": [{"name": "esc50"}]})[1:]
    [("teacher: EfficientAT's AudioSet tagger", 'MIT'), ('data: esc50', 'CC BY-NC 3.0 (clips marked esc10: CC BY)')]
    """
    if "licences" in config.get("card", {}):
        return [(str(part), str(licence)) for part, licence in config["card"]["licences"]]
    saved, chain = _saved(config), [("code and network: tinyclap", "Apache-2.0")]
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


def _saved(config):
    """What was said of the training: a saved model's config, or an export's provenance."""
    return config.get("provenance") or config.get("saved") or config


def _kind_of(config):
    if config.get("kind") in _KINDS:
        return config["kind"]
    return "captioner" if "Captioner" in str(config.get("model", {}).get("type")) else "audio_encoder"


def _corpora(config):
    if "datasets" in config.get("card", {}):
        return list(config["card"]["datasets"])
    return list(dict.fromkeys(each["name"] for each in _saved(config).get("corpora", ())))


def _is_permissive(licence):
    return licence.split(",")[0] in PERMISSIVE


def _summary(config, kind):
    rate, dim = config.get("sample_rate_hz"), config.get("embed_dim")
    facts = [f"{rate} Hz" if rate else "", f"{dim} dimensions" if dim else ""]
    facts = ", ".join(each for each in facts if each)
    return f"A small audio-language model that {_KINDS[kind][1]}{f' ({facts})' if facts else ''}."


def _use(name, kind):
    call = "caption('dog.wav')" if kind == "captioner" else "classify('dog.wav', ['dog', 'rain', 'siren'])"
    code = f"import tinyclap\n\nmodel = tinyclap.from_pretrained({name!r})\nmodel.{call}"
    return f"## Use\n\n```python\n{code}\n```"


def _scores(results):
    if not results:
        return ""
    head = ["## Scores", "", "| corpus | metric | value | 95 % interval | n |", "|---|---|---|---|---|"]
    rows = [
        f"| {_where(each)} | {each['metric']} | {each['value']:.4f} | {_interval(each)} | {each['n_items']} |"
        for each in results
    ]
    return "\n".join(head + rows)


def _where(result):
    folds = ", ".join(map(str, result.get("folds", ())))
    part = f"fold {folds}" if folds else result.get("split", "")
    return f"{result['dataset']} {part}".strip()


def _interval(result):
    if "interval_95" not in result:
        return ""
    low, high = result["interval_95"]
    return f"{low:.4f} … {high:.4f}"


def _licence_table(chain):
    rows = [f"| {part} | {licence} |" for part, licence in chain]
    return "\n".join(["## Licences", "", "| part | licence |", "|---|---|", *rows])


def _origin(config):
    saved = _saved(config)
    commit = (saved.get("starts") or [{}])[0].get("commit")
    facts = {"seed": saved.get("seed"), "commit": commit, "sha256 of the weights": saved.get("weights_sha256")}
    rows = [f"- {what}: `{value}`" for what, value in facts.items() if value is not None]
    return "\n".join(["## Origin", "", *rows]) if rows else ""


def _indexed(result, kind):
    """One entry of the hub's ``model-index``."""
    metric = {"type": "accuracy" if "accuracy" in result["metric"] else result["metric"], "value": result["value"]}
    said = {key: result[key] for key in ("interval_95", "n_items", "n_classes", "commit") if key in result}
    return {
        "task": {"type": _KINDS[kind][0] or "audio-captioning"},
        "dataset": {"type": result["dataset"], "name": _where(result), "split": result.get("split", "test")},
        "metrics": [{**metric, "name": result["metric"], "args": said}],
    }


def _yaml(value, indent=""):
    """Lines of block-style YAML for dicts, lists, texts and numbers."""
    for key, item in value.items():
        if isinstance(item, dict):
            yield f"{indent}{key}:"
            yield from _yaml(item, indent + "  ")
        elif isinstance(item, list) and any(isinstance(each, dict) for each in item):
            yield f"{indent}{key}:"
            for each in item:
                first, *others = _yaml(each, indent + "  ")
                yield f"{indent}- {first.lstrip()}"
                yield from others
        elif isinstance(item, str) and _PLAIN.fullmatch(item) and item.lower() not in _YAML_WORDS:
            yield f"{indent}{key}: {item}"
        else:
            # JSON is YAML, and quotes what needs quoting
            yield f"{indent}{key}: {json.dumps(item, ensure_ascii=False)}"
