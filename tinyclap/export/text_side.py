"""The text side of a model as files of its exported folder: a compact graph, its vocabulary, and the tag space."""

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.checkpoints.state import sha256_of
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.export.compact import compact_graph
from tinyclap.export.onnx_graphs import export_graph
from tinyclap.models.student import Clap
from tinyclap.models.text import WordTextTower
from tinyclap.runtime.session import open_session
from tinyclap.runtime.text_side import TAG_SPACE, TEXT_GRAPH, VOCABULARY, TextTower, tokenizer_of
from tinyclap.teachers.sentences import SentenceEncoder, find_encoder
from tinyclap.teachers.tag_text import TagSpaceText, label_readings
from tinyclap.text.word_pieces import WordPieces

OUTPUT = "embedding"
_EXAMPLES = (
    "a dog barks in the street",
    "rain",
    "Two men talk - then a car passes, tooting!",
    "thunder at 9 o'clock",
)
MIN_COSINE = 0.99  # below it the compact graph is not the tower, and nothing is written


@dataclass
class Tower:
    """A text tower with what surrounds it.

    Arguments
    ---------
    module : nn.Module
        ``input_ids`` and ``attention_mask`` (N, L) → (N, E), rows of unit length.
    embed : callable
        list of str → torch.Tensor (N, E): what the exported tower is compared with.
    tokenizer : WordIds or a tokenizer of `transformers`
    max_tokens : int
    identity : dict
        ``name`` and ``sha256`` of the weights.
    """

    module: nn.Module
    embed: object
    tokenizer: object
    max_tokens: int
    identity: dict


def write_text_side(folder, text, texts=()):
    """Write the text side of a model.

    Arguments
    ---------
    folder : pathlib.Path
        An exported folder that is being written.
    text : tinyclap.teachers.FrozenTeacher
        Whose ``embed_classes`` is to be had without torch.
    texts : sequence of str
        On which the exported tower is compared with torch's, besides some of our own.

    Returns
    -------
    dict
        ``config["text"]``.
    list of str
        The files that were written, for ``config["files"]``.

    Raises
    ------
    ConfigError
        A text side that has no such form (see :func:`text_identity`), or the package onnx is missing.
    CheckpointError
        The written tower is not the one that it was made of.
    """
    folder, side, kept = Path(folder), *_inner(text)
    tower = _tower(side)
    export_graph(tower.module, _example(tower), ["input_ids", "attention_mask"], ["rows"], _AXES, folder / TEXT_GRAPH)
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


def text_identity(text):
    """Which text tower a model's texts go through: ``name`` and ``sha256`` of its weights.

    Arguments
    ---------
    text : tinyclap.teachers.FrozenTeacher

    Returns
    -------
    dict

    Raises
    ------
    ConfigError
        A kind that cannot be exported: it is none of our runs', Microsoft CLAP 2022's, or a tagger's.
    """
    return _tower(_inner(text)[0]).identity


def text_tokenizer(text):
    """A teacher's tokenizer with ``ids``, ``unknown_id`` and ``max_ids``, as of :class:`WordPieces`, or None."""
    side = _inner(text)[0]
    if isinstance(side, TagSpaceText) and side._encode is None:
        side._load()
    if isinstance(getattr(side, "_encode", None), SentenceEncoder):
        return _HubTokenizer(side._encode)
    return side.model.text.word_ids if isinstance(getattr(side, "model", None), Clap) else None


class _HubTokenizer:
    """The tokenizer of a sentence encoder."""

    def __init__(self, encoder):
        self._tokenizer, self.unknown_id = encoder.tokenizer, encoder.tokenizer.unk_token_id
        positions = encoder.model.config.max_position_embeddings
        self.max_ids = min(encoder.tokenizer.model_max_length, positions) - 2

    def ids(self, text):
        """All ids of a text, not cut: list of int."""
        return self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


_AXES = {name: {0: "texts", 1: "pieces"} for name in ("input_ids", "attention_mask")}


class _Pooled(nn.Module):
    """A sentence encoder: hidden states averaged over the pieces that count, less a centre, of unit length."""

    def __init__(self, model, centre=None):
        super().__init__()
        self.model, self.centre = model, centre

    def forward(self, input_ids, attention_mask):
        """Map piece ids and their mask (N, L) to unit rows (N, E)."""
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask[..., None].to(hidden.dtype)
        rows = F.normalize((hidden * weights).sum(dim=1) / weights.sum(dim=1), dim=-1)
        return rows if self.centre is None else F.normalize(rows - self.centre, dim=-1)


class _Normalised(nn.Module):
    """A text tower with rows of unit length."""

    def __init__(self, tower):
        super().__init__()
        self.tower = tower

    def forward(self, input_ids, attention_mask):
        """Map ids and their mask (N, L) to unit rows (N, D)."""
        return F.normalize(self.tower(input_ids, attention_mask), dim=-1)


def _inner(text):
    """What embeds the texts of a teacher, and which of its columns are left (None: all)."""
    kind = getattr(text, "kind", None)
    if kind == "checkpoint":
        inner = text if text._text is None else _inner(text._text)[0]
        return inner, text._kept
    if kind == "tinyclap-student":
        return text.text, None
    return (text._text if kind == "tagger" and text.space == "tag" else text), None


def _tower(side):
    if isinstance(side, TagSpaceText):
        return _of_sentences(SentenceEncoder(side.sentence_encoder))
    kind = getattr(side, "kind", None)
    if kind == "tagger":
        tower = _of_sentences(side._encode, side.label_mean.cpu())
        tower.embed = side.embed_text
        return tower
    if kind == "msclap2022":
        side.embed_text(_EXAMPLES[:1])  # the tokenizer is read when it is first needed
        model, identity = side.model, {"name": "msclap2022", "sha256": sha256_of(side._path())}
        return Tower(_Normalised(model.text), side.embed_text, model._tokenizer, model.max_tokens, identity)
    if kind == "checkpoint" and isinstance(side.model, Clap) and isinstance(side.model.text, WordTextTower):
        identity = {"name": Path(side.weights).resolve().name, "sha256": side.folder_config["weights_sha256"]}
        model, words = side.model, side.model.text.word_ids
        embed = functools.partial(model.embed_text, whole=True)
        return Tower(_Normalised(model.text), embed, words, words.max_ids, identity)
    raise ConfigError(
        f"the text side {kind or type(side).__name__!r} cannot be exported; those of our runs, of msclap2022 and of "
        "taggers can. Export without it (--text_side no) and compile names by --labels"
    )


def _of_sentences(encoder, centre=None):
    source = Path(find_encoder(encoder.name))
    weights = source / "model.safetensors"
    sha256 = sha256_of(weights) if weights.is_file() else _digest(encoder.model)
    identity = {"name": encoder.name if not Path(encoder.name).is_dir() else source.name, "sha256": sha256}
    positions = encoder.model.config.max_position_embeddings
    length = min(encoder.tokenizer.model_max_length, positions)
    return Tower(_Pooled(encoder.model, centre), encoder, encoder.tokenizer, length, identity)


def _digest(model):
    """SHA-256 of a model's numbers, where its file is not at hand."""
    digest = hashlib.sha256()
    for _, tensor in sorted(model.state_dict().items()):
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _example(tower):
    """Token ids and mask of some texts, padded: the inputs that the graph is traced with."""
    if isinstance(tower.module, _Normalised) and isinstance(tower.module.tower, WordTextTower):
        return tower.module.tower.encode(_EXAMPLES)
    tokens = tower.tokenizer(list(_EXAMPLES), padding=True, return_tensors="pt")
    return tokens["input_ids"], tokens["attention_mask"]


def _name_output(path):
    """Call the graph's output :data:`OUTPUT`; the exporter may have called a value inside so."""
    import onnx

    model = onnx.load(str(path))
    names = {OUTPUT: f"{OUTPUT}_inside", model.graph.output[0].name: OUTPUT}
    for node in model.graph.node:
        for values in (node.input, node.output):
            for place, name in enumerate(values):
                values[place] = names.get(name, name)
    del model.graph.value_info[:]
    model.graph.output[0].name = OUTPUT
    onnx.save_model(model, str(path))


def _write_tokenizer(folder, tower):
    """Write the vocabulary, if there is one; returns what the config says of the tokenizer."""
    about, path = {"max_tokens": tower.max_tokens}, folder / VOCABULARY
    if isinstance(tower.module, _Normalised) and isinstance(tower.module.tower, WordTextTower):
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
    if not cosines.min() > MIN_COSINE:
        raise CheckpointError(f"the exported text tower is not the network (cosine {cosines.min():.4f}); report this")
    size = os.path.getsize(folder / about["graph"])
    return {
        "n_texts": len(texts),
        "least_cosine": float(cosines.min()),
        "mean_cosine": float(cosines.mean()),
        "graph_bytes": size,
    }
