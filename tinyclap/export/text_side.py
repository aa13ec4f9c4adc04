"""The text side of a model as files of its exported folder: a compact graph, its vocabulary, and the tag space."""

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.export.compact import compact_graph
from tinyclap.export.onnx_graphs import export_graph, save_graph
from tinyclap.runtime.session import open_session
from tinyclap.runtime.text_side import TAG_SPACE, TEXT_GRAPH, VOCABULARY, TextTower, tokenizer_of
from tinyclap.teachers.tag_text import TagSpaceText, label_readings
from tinyclap.teachers.text_towers import text_side_of, text_tower
from tinyclap.text.word_pieces import WordPieces

_OUTPUT = "embedding"
_AXES = {name: {0: "texts", 1: "pieces"} for name in ("input_ids", "attention_mask")}
_EXAMPLES = ("a dog barks in the street", "rain", "Two men talk - then a car passes, tooting!", "thunder at 9 o'clock")
_MIN_COSINE = 0.99  # below it the compact graph is not the tower, and nothing is written


def write_text_side(folder, text, texts=()):
    """Write the text side of a teacher (`text`): ``config["text"]``, and the list of files that were written.

    On `texts`, besides some of our own, the exported tower is compared with torch's. ConfigError: a text side of a kind
    that :func:`tinyclap.teachers.text_towers.text_tower` does not know.
    """
    folder, side, kept = Path(folder), *text_side_of(text)
    tower = text_tower(side)
    export_graph(tower.module, tower.encode(_EXAMPLES), list(_AXES), ["rows"], _AXES, folder / TEXT_GRAPH)
    _name_output(folder / TEXT_GRAPH)
    compact_graph(folder / TEXT_GRAPH, folder / TEXT_GRAPH)
    files, about = [TEXT_GRAPH], {"kind": "embedding", "graph": TEXT_GRAPH, **_write_tokenizer(folder, tower)}
    if "vocabulary" in about:
        files.append(VOCABULARY)
    if isinstance(side, TagSpaceText):
        _write_tag_space(folder / TAG_SPACE, side, tower)
        about |= {"kind": "tag_space", "tag_space": TAG_SPACE}
        about |= {"temperature": side.temperature, "prior_floor": side.prior_floor}
        files.append(TAG_SPACE)
    about |= {"templates": list(text.default_templates), "identity": tower.identity}
    if kept is not None:
        about["kept"] = list(kept)
    about["parity"] = _parity(folder, about, tower, list(dict.fromkeys([*_EXAMPLES, *texts])))
    return about, files


def _name_output(path):
    """Call the graph's output :data:`_OUTPUT`; the exporter may have called a value inside so."""
    import onnx

    model = onnx.load(str(path))
    names = {_OUTPUT: f"{_OUTPUT}_inside", model.graph.output[0].name: _OUTPUT}
    for node in model.graph.node:
        for values in (node.input, node.output):
            for place, name in enumerate(values):
                values[place] = names.get(name, name)
    del model.graph.value_info[:]
    model.graph.output[0].name = _OUTPUT
    save_graph(model, path)


def _write_tokenizer(folder, tower):
    """Write the vocabulary, if there is one; returns what the config says of the tokenizer."""
    about, path = {"max_tokens": tower.max_tokens}, folder / VOCABULARY
    if tower.words is not None:
        words = tower.tokenizer.vocabulary
        if words is None:
            return {"tokenizer": "hashed words", "n_buckets": tower.tokenizer.n_buckets, **about}
        path.write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
        return {"tokenizer": "words", "vocabulary": VOCABULARY, **about}
    pieces = {number: piece for piece, number in tower.tokenizer.get_vocab().items()}
    lines = (pieces.get(number, f"[unused {number}]") for number in range(max(pieces) + 1))
    path.write_text("".join(f"{piece}\n" for piece in lines), encoding="utf-8", newline="\n")
    wanted = [tower.tokenizer(text)["input_ids"] for text in _EXAMPLES]
    if WordPieces(path)(_EXAMPLES) != wanted:
        raise ConfigError("the text side's tokenizer is not BERT's for lower-cased text; export with --text_side no")
    return {"tokenizer": "wordpiece", "vocabulary": VOCABULARY, **about}


def _write_tag_space(path, side, tower):
    """Write the sentence vectors of all labels and their parts, each the mean over the text side's templates."""
    readings = [label_readings(label) for label in side.labels]
    names = [reading for of_label in readings for reading in of_label]
    prompts = [template.format(name) for name in names for template in side.default_templates]
    rows = tower.embed(prompts).reshape(len(names), len(side.default_templates), -1).mean(dim=1)
    owners = np.array([label for label, of_label in enumerate(readings) for _ in of_label], np.int32)
    prior = np.array([] if side.prior is None else side.prior, np.float32)
    np.savez_compressed(path, readings=F.normalize(rows, dim=-1).numpy().astype(np.float16), owners=owners, prior=prior)


def _parity(folder, about, tower, texts):
    """Cosines between the written tower's rows and torch's; raises where they are not the same tower."""
    session = open_session(folder / about["graph"], level="basic")
    ours = TextTower(session, tokenizer_of(about, folder / VOCABULARY))(texts)
    with torch.inference_mode():
        theirs = tower.embed(texts).cpu().numpy()
    cosines = (ours * theirs).sum(axis=1)
    if not cosines.min() > _MIN_COSINE:
        raise CheckpointError(f"the exported text tower is not the network (cosine {cosines.min():.4f}); report this")
    numbers = {"least_cosine": float(cosines.min()), "mean_cosine": float(cosines.mean())}
    return {"n_texts": len(texts), **numbers, "graph_bytes": os.path.getsize(folder / about["graph"])}
