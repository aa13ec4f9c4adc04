"""What a model, a file of weights, a label bank or a search index is: what it costs, whence it comes, what it scored.

Torch is imported only to count a checkpoint's MACs and to read what ``torch.save`` wrote.
"""

import json
from pathlib import Path

from tinyclap.checkpoints.exported import checked_file, file_sha256, read_config
from tinyclap.checkpoints.weight_files import read_shapes, recognise, summary
from tinyclap.errors import CheckpointError
from tinyclap.inference.model_card import licences_of, read_metrics, result_of
from tinyclap.inference.pretrained import find_folder
from tinyclap.metrics.graph_cost import count_macs_of_graph, count_numbers, silence

CLIP_S = 5.0  # the length that MACs are stated for, as in the tinyCLAP paper
_WEIGHTS, _BANKS = (".pth", ".pt", ".ckpt", ".bin", ".safetensors"), (".npz", ".json")
_MB = 1e6


def inspect_source(source, count_macs=True):
    """Say what something is.

    Arguments
    ---------
    source : str or os.PathLike
        A folder of an export, a run, a saved model or a search index; a file of weights, a graph or a label bank; the
        name of a shipped model; or ``owner/name``, which is fetched from the hub if it is not in its cache.
    count_macs : bool
        Make a pass of a clip of 5 s to count its MACs.

    Returns
    -------
    dict
        JSON values. ``is`` and ``path`` always; the rest as it is known.

    Raises
    ------
    CheckpointError
        Nothing is there, it is broken, or it is nothing of ours.
    """
    path = Path(source)
    if path.is_file():
        return _file(path)
    if (path / "index.json").is_file():
        return _index(path)
    folder = find_folder(source)
    if not (folder / "config.json").is_file() and (folder / "student" / "config.json").is_file():
        return {"is": "run", **_saved(folder / "student", count_macs), **_scores(folder)}
    config = _json(folder / "config.json")
    return _exported(folder, count_macs) if "graphs" in config else {"is": "saved model", **_saved(folder, count_macs)}


def _file(path):
    if path.suffix in _WEIGHTS:
        return _weights(path)
    if path.suffix == ".onnx":
        return {"is": "graph", "path": str(path), **_size([path]), "n_numbers": count_numbers(path)}
    if path.suffix in _BANKS:
        return _bank(path)
    raise CheckpointError(
        f"{path}: nothing that tinyclap writes or reads; give a folder, weights ({', '.join(_WEIGHTS)}), a graph "
        "(.onnx) or a label bank (.npz, .json)"
    )


def _weights(path):
    """A file of weights, of a published network or not."""
    shapes = read_shapes(path)
    known = recognise(shapes)
    found = {"is": "weights", "path": str(path), **_size([path]), "sha256": file_sha256(path), **summary(shapes)}
    if known is None:
        beginning = ", ".join(list(shapes)[:3])
        return found | {"network": f"none that is known here (first names: {beginning})"}
    return found | {
        "network": known["what"],
        "licence": known["licence"],
        "opens with": f"tinyclap.load_published({known['name']!r}, path={str(path)!r})",
    }


def _bank(path):
    from tinyclap.text.bank import LabelBank

    bank = LabelBank.load(path)
    return {
        "is": "label bank",
        "path": str(path),
        **_size([path]),
        "labels": list(bank.labels),
        "n_labels": len(bank.labels),
        "embed_dim": bank.embed_dim,
        "score": bank.score_kind,
        "templates": list(bank.templates),
        "model": bank.model,
        "model_sha256": bank.model_sha256,
        "text side": bank.text_identity,
    }


def _index(folder):
    from tinyclap.search.index import SearchIndex

    index = SearchIndex.open(folder)
    return {
        "is": "search index",
        "path": str(folder),
        **_size(sorted(path for path in folder.iterdir() if path.is_file())),
        "n_recordings": len(index),
        "n_skipped": len(index.skipped()),
        "model": index.model,
    }


def _exported(folder, count_macs):
    """An exported folder: without torch."""
    config = read_config(folder)
    files = [checked_file(folder, config, name) for name in config["files"]]
    main = folder / config["graphs"]["fp32"]
    found = {"is": f"exported {config['kind'].replace('_', ' ')}", "path": str(folder), **_size(files)}
    front_end = config["graphs"].get("front_end")
    n_front_end = count_numbers(folder / front_end) if front_end else 0
    found |= {
        "numbers in its graphs": {
            name: count_numbers(folder / file) for name, file in config["graphs"].items() if name != "front_end"
        },
        "of them in the front end": n_front_end,
    }
    if count_macs:
        feeds = {"wavs": silence(config["sample_rate_hz"], CLIP_S)}
        found["MACs of 5 s"] = count_macs_of_graph(main, feeds)
        if front_end:
            found["of them in the front end's transform"] = count_macs_of_graph(folder / front_end, feeds)
    found |= _hearing(config) | {"engine's best precision": config.get("best_precision")}
    found |= {"text side": config.get("text") and {key: config["text"].get(key) for key in ("kind", "identity")}}
    found |= {"calibration": config.get("calibration"), "labels": _labels(folder, config)}
    found |= _origin(config["provenance"]) | {"licences": dict(licences_of(config))} | _scores(folder)
    for name in ("parity", "latency"):
        path = folder / f"{name}.json"
        found |= {name: _brief(name, _json(path))} if path.is_file() else {}
    return {key: value for key, value in found.items() if value not in (None, {}, [])}


def _saved(folder, count_macs):
    """The folder of a saved model: its config, the header of its weights; torch only for the MACs."""
    config = _json(folder / "config.json")
    if not isinstance(config.get("model"), dict):
        raise CheckpointError(f"{folder}/config.json: no config of a model; give the folder of a run or a saved model")
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise CheckpointError(f"{weights}: the file is missing; copy the whole folder")
    if file_sha256(weights) != config.get("weights_sha256"):
        raise CheckpointError(f"{weights}: not the file that its config was written with; copy the folder again")
    found = {"path": str(folder), **_size([weights]), **summary(read_shapes(weights))}
    if count_macs:
        from tinyclap.checkpoints.state import load_student
        from tinyclap.metrics.cost import complexity

        network, _ = load_student(folder)
        if hasattr(network, "embed_audio"):
            spent = complexity(network, CLIP_S)
            del found["n_parameters"]  # counted from the file's names alone, where buffers look like weights
            found |= {
                "n_parameters on the audio side": spent["n_parameters"],
                "MACs of 5 s": spent["n_macs"],
                "of them convolutions and linear layers": spent["n_macs_paper"],
            }
    side = config.get("text_side")
    found |= _hearing(_audio_part(config["model"])) | _origin(config)
    found |= {"text side": side and {key: value for key, value in side.items() if not isinstance(value, list)}}
    found |= {"latent": config.get("latent") and sorted(config["latent"]), "licences": dict(licences_of(config))}
    return {key: value for key, value in (found | _scores(folder)).items() if value not in (None, {}, [])}


def _audio_part(model):
    """The config of what hears: of a CLAP, its audio tower."""
    return model["audio"] if isinstance(model.get("audio"), dict) else model


def _hearing(config):
    """Rate, window and resampler, as they stand in an export's config or a network's."""
    features = config.get("features", {})
    return {
        "sample rate": f"{config.get('sample_rate_hz') or features.get('sample_rate_hz')} Hz",
        "window": config.get("window"),
        "resampler": config.get("resampler"),
        "embedding": config.get("embed_dim") or (config.get("projection") or {}).get("d_out"),
        "score": config.get("score"),
        "encoder": (config.get("encoder") or {}).get("type"),
    }


def _origin(said):
    """Teacher, data, seed and commit, as a run noted them."""
    start = (said.get("starts") or [{}])[-1]
    corpora = said.get("corpora") or []
    encoder = (_audio_part(said.get("model") or {}).get("encoder") or {}).get("type")
    return {
        "encoder": encoder,
        "source": said.get("source"),
        "teacher": said.get("teacher"),
        "data": [f"{each['name']} {json.dumps(each.get('parts', {}))}" for each in corpora],
        "seed": None if said.get("seed") is None else str(said["seed"]),
        "selected": said.get("selected"),
        "trained at commit": start.get("commit"),
        "trained on": start.get("date", "")[:10] or None,
        "weights sha256": said.get("weights_sha256"),
    }


def _labels(folder, config):
    if "labels.json" not in config["files"]:
        return None
    names = _json(folder / "labels.json")
    n_labels, n_tags = len(names["labels"]), len(names["tags"])
    return f"{n_labels} compiled in" + (f", {n_tags} tags" if n_tags else "")


def _scores(folder):
    """What was scored: ``scores.json`` of a folder, or the ``metrics.json`` files below it."""
    paths = sorted(folder.rglob("metrics.json"))[:20]
    stored = folder / "scores.json"
    results = _json(stored) if stored.is_file() else [result_of(each) for each in read_metrics(paths)]
    return {"scores": [_score_line(each) for each in results]} if results else {}


def _score_line(result):
    """One result in a line: what, on what, how many clips, the interval."""
    low_high = result.get("interval_95")
    between = f" [{low_high[0]:.4f}, {low_high[1]:.4f}]" if low_high else ""
    folds = f" folds {', '.join(map(str, result['folds']))}" if result.get("folds") else ""
    return f"{result['dataset']}{folds}: {result['metric']} {result['value']:.4f}{between}, n={result['n_items']}"


def _brief(name, report):
    """The lines of parity.json or latency.json that a person asks for."""
    if name == "latency":
        rows = report.get("rows", [])
        return [
            f"{each['engine']} {each['precision']}, {each['n_threads']} threads: {each['median_ms']:g} ms "
            f"for {report['clip_s']:g} s"
            for each in rows
        ]
    found = {}
    for precision, where in report.items():
        golden = where.get("golden", {}) if isinstance(where, dict) else {}
        for output, numbers in golden.items():
            if isinstance(numbers, dict) and "max_abs" in numbers:
                found[f"{precision} {output}"] = f"max |difference| to torch {numbers['max_abs']:.2g}"
    return found


def _size(paths):
    return {"size": f"{sum(path.stat().st_size for path in paths) / _MB:.2f} MB", "n_files": len(paths)}


def _json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable as JSON ({error}); fetch the folder again") from error
