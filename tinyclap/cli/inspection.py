"""Facts about a model folder, weights file, ONNX graph, label bank or search index: size, cost, origin, scores.

Torch is imported only to count the MACs of a checkpoint and to read what ``torch.save`` wrote.
"""

import importlib.util
import json
from pathlib import Path

from tinyclap.checkpoints.folder import WEIGHTS, checked_file, read_config
from tinyclap.checkpoints.weight_files import read_shapes, summary
from tinyclap.errors import CheckpointError
from tinyclap.files import model_folder, read_json, sha256_of
from tinyclap.inference.model_card import licences_of, read_metrics, result_of
from tinyclap.inference.pretrained import find_folder
from tinyclap.published.table import recognise

CLIP_S = 5.0  # the length that MACs are stated for, as in the tinyCLAP paper
_WEIGHTS = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")


def inspect_source(source, count_macs=True):
    """Facts about a path, shipped model or ``owner/name``: a dict of JSON values, ``is``, ``path`` and what is known.

    `count_macs` counts the MACs of a clip of 5 s, by a pass. CheckpointError: `source` is missing, damaged or unknown.
    """
    path = Path(source)
    if path.is_file():
        return _file(path)
    if (path / "index.json").is_file():
        from tinyclap.search.index import SearchIndex

        index = SearchIndex.open(path)
        found = {"is": "search index", "path": str(path), **_size(filter(Path.is_file, path.iterdir()))}
        return found | {"n_recordings": len(index), "n_skipped": len(index.skipped()), "model": index.model}
    folder = find_folder(source)
    place = model_folder(folder)
    config = read_config(place)
    found = (_exported if "graphs" in config else _saved)(place, config, count_macs)
    found |= {"scores": _scores(folder), "is": found["is"] if place == folder else "run"}
    for name, lines_of in (("parity", _parity), ("latency", _latency)):
        if (folder / f"{name}.json").is_file():
            found[name] = _report(folder / f"{name}.json", lines_of)
    return {key: value for key, value in found.items() if value not in (None, {}, [])}


def _file(path):
    found = {"path": str(path), **_size([path])}
    if path.suffix in _WEIGHTS:
        return {"is": "weights", **found, **_weights(path)}
    if path.suffix == ".onnx":
        n_parameters = "not stated: pip install 'tinyclap[export]'"
        if importlib.util.find_spec("onnx"):
            from tinyclap.export.cost import count_parameters

            n_parameters = count_parameters(path)
        return {"is": "graph", **found, "n_parameters": n_parameters}
    if path.suffix in (".npz", ".json"):
        from tinyclap.text.bank import LabelBank

        bank = LabelBank.load(path)
        found = {"is": "label bank", **found, "labels": list(bank.labels), "n_labels": len(bank.labels)}
        found |= {"embed_dim": bank.embed_dim, "score": bank.score_kind, "templates": list(bank.templates)}
        return found | {"model": bank.model, "model_sha256": bank.model_sha256, "text side": bank.text_identity}
    advice = f"give a folder, weights ({', '.join(_WEIGHTS)}), a graph (.onnx) or a label bank (.npz, .json)"
    raise CheckpointError(f"{path}: not a file that tinyclap writes or reads; {advice}")


def _weights(path):
    """A weights file, of a published network or not."""
    shapes = read_shapes(path)
    known = recognise(shapes)
    found = {"sha256": sha256_of(path), **summary(shapes)}
    if known is None:
        return found | {"network": f"not a published one (first names: {', '.join(list(shapes)[:3])})"}
    opens = f"tinyclap.load_published({known['name']!r}, path={str(path)!r})"
    return found | {"network": known["what"], "licence": known["licence"], "opens with": opens}


def _exported(folder, config, count_macs):
    """An exported folder, without torch."""
    files = [checked_file(folder, config, name) for name in config["files"]]
    found = {"is": f"exported {config['kind'].replace('_', ' ')}", "path": str(folder), **_size(files)}
    cost = config.get("cost", {"n_parameters": "not stated: exported by an earlier version"})
    found["parameters"] = cost["n_parameters"]
    found["of them in the front end"] = cost.get("n_parameters_front_end", 0)
    if count_macs and "n_macs" in cost:
        found[f"MACs of {cost['clip_s']:g} s"] = cost["n_macs"]
        found["of them in the front end's transform"] = cost.get("n_macs_front_end")
    found |= _input_and_output(config) | {"best precision of the engine": config.get("best_precision")}
    found |= {"text side": config.get("text") and {key: config["text"].get(key) for key in ("kind", "identity")}}
    if "labels.json" in config["files"]:
        names = read_json(folder / "labels.json")
        found["labels"] = f"{len(names['labels'])} compiled in" + (f", {len(names['tags'])} tags" * bool(names["tags"]))
    found |= {"calibration": config.get("calibration"), **_origin(config["provenance"])}
    return found | {"licences": dict(licences_of(config))}


def _saved(folder, config, count_macs):
    """A saved model: its config and the header of its weights; torch for the MACs alone."""
    weights = folder / WEIGHTS
    if not weights.is_file() or sha256_of(weights) != config["weights_sha256"]:
        raise CheckpointError(f"{weights}: missing, or not the file of its config; copy the whole folder again")
    found = {"is": "saved model", "path": str(folder), **_size([weights]), **summary(read_shapes(weights))}
    if count_macs:
        from tinyclap.checkpoints.state import load_student
        from tinyclap.metrics.cost import complexity

        network, _ = load_student(folder)
        if hasattr(network, "embed_audio"):
            cost = complexity(network, CLIP_S)
            del found["n_parameters"]  # counted by names, where buffers look like weights
            found |= {"n_parameters on the audio side": cost["n_parameters"], "MACs of 5 s": cost["n_macs"]}
            found["of them convolutions and linear layers"] = cost["n_macs_paper"]
    side = config.get("text_side")
    found |= _input_and_output(_audio_part(config["model"])) | _origin(config)
    found |= {"text side": side and {key: value for key, value in side.items() if not isinstance(value, list)}}
    return found | {"latent": sorted(config.get("latent") or ()), "licences": dict(licences_of(config))}


def _audio_part(model):
    """The config of the audio encoder, of a CLAP model too."""
    return model["audio"] if isinstance(model.get("audio"), dict) else model


def _input_and_output(config):
    rate_hz = config.get("sample_rate_hz") or config.get("features", {}).get("sample_rate_hz")
    return {
        "sample rate": f"{rate_hz} Hz",
        **{key: config.get(key) for key in ("window", "resampler")},
        "embedding": config.get("embed_dim") or (config.get("projection") or {}).get("d_out"),
        "score": config.get("score"),
        "encoder": (config.get("encoder") or {}).get("type"),
    }


def _origin(provenance):
    """Teacher, data, seed and commit of a training run."""
    start = (provenance.get("starts") or [{}])[-1]
    seed, corpora = provenance.get("seed"), provenance.get("corpora") or []
    return {
        "encoder": (_audio_part(provenance.get("model") or {}).get("encoder") or {}).get("type"),
        **{key: provenance.get(key) for key in ("source", "teacher", "selected")},
        "data": [f"{each['name']} {json.dumps(each.get('parts', {}))}" for each in corpora],
        "seed": None if seed is None else str(seed),
        "trained at commit": start.get("commit"),
        "trained on": start.get("date", "")[:10],
        "weights sha256": provenance.get("weights_sha256"),
    }


def _scores(folder):
    """Lines of ``scores.json``, or of the ``metrics.json`` files of a run."""
    if (folder / "scores.json").is_file():
        return _report(folder / "scores.json", lambda results: list(map(_score, results)), list)
    return [_score(result_of(each)) for each in read_metrics(sorted(folder.rglob("metrics.json"))[:20])]


def _score(result):
    low_high = result.get("interval_95")
    interval = f" [{low_high[0]:.4f}, {low_high[1]:.4f}]" if low_high else ""
    folds = f" folds {', '.join(map(str, result['folds']))}" if result.get("folds") else ""
    return f"{result['dataset']}{folds}: {result['metric']} {result['value']:.4f}{interval}, n={result['n_items']}"


def _latency(report):
    line = "{engine} {precision}, {n_threads} threads: {median_ms:g} ms for {clip_s:g} s"
    return [line.format(**{**row, "clip_s": report["clip_s"]}) for row in report.get("rows", [])]


def _parity(report):
    return {
        f"{precision} {output}": f"max |difference| to torch {numbers['max_abs']:.2g}"
        for precision, checks in report.items()
        if isinstance(checks, dict)
        for output, numbers in checks.get("golden", {}).items()
        if isinstance(numbers, dict) and "max_abs" in numbers
    }


def _report(path, summarise, kind=dict):
    """A report beside a model, summarised."""
    content = read_json(path, "fetch the folder again", kind=kind)
    try:
        return summarise(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: not as tinyclap writes it ({error!r}); fetch the folder again") from error


def _size(paths):
    sizes = [path.stat().st_size for path in paths]
    return {"size": f"{sum(sizes) / 1e6:.2f} MB", "n_files": len(sizes)}
