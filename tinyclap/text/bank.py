"""Label banks: files of label embeddings, computed once, so that classifying needs no text tower.

A bank notes its model and text tower; other models refuse it.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinyclap.config.shipped import DEFAULT_MODEL, shipped_folder, shipped_names
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.files import atomic_path, read_json, write_text
from tinyclap.text.label_embeddings import label_embeddings
from tinyclap.text.labels import checked_texts, repeated_in
from tinyclap.text.scores import SCORE_KINDS

FORMAT = 1
SUFFIXES = (".npz", ".json", ".h")
BANKS = "banks"  # the folder of ready banks in that of a shipped model
OWN_TAGS = "none: the network's own tags"  # `text_identity["name"]` of a bank whose labels are a tagger's own
_TEXTS = ("score_kind", "model", "model_sha256", "weights_sha256")
_ARRAYS = ("labels", "vectors", "about")
_MAX_BYTES = 2**30  # of an array


@dataclass(frozen=True, eq=False)
class LabelBank:
    """Labels and their embeddings.

    Example
    -------
    >>> LabelBank(["dog", "rain"], np.eye(2), ["{}"], "cosine", "m", "00", "00", {})
    LabelBank(2 labels × 2 dimensions for m: dog, rain)
    """

    labels: list  # of str, N of them
    vectors: np.ndarray  # (N, D) float32
    templates: list  # of str
    score_kind: str  # one of SCORE_KINDS
    model: str  # its name
    model_sha256: str  # of the exported graph, of a torch model that of its weights
    weights_sha256: str = ""  # of the weights before export: all exports of one model take the same banks
    text_identity: dict = field(default_factory=dict)  # `name` and `sha256` of the text tower

    def __post_init__(self):
        if np.asarray(self.vectors).dtype.kind not in "fiu":
            raise ConfigError(f"a bank's vectors are numbers, not {np.asarray(self.vectors).dtype}")
        with np.errstate(over="ignore"):
            vectors = np.ascontiguousarray(self.vectors, np.float32)
        labels = checked_texts(self.labels, "a bank's labels")
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "labels", labels)
        if vectors.ndim != 2 or not vectors.size or len(vectors) != len(labels):
            raise ConfigError(f"a bank of {len(labels)} labels cannot have vectors of shape {vectors.shape}")
        if repeated := repeated_in(labels):
            raise ConfigError(f"a bank has every label once; more often: {', '.join(repeated[:5])}")
        if not np.isfinite(vectors).all():
            raise ConfigError("a bank's vectors are finite numbers; these are not")
        if not vectors.any(axis=1).all():
            raise ConfigError(f"a bank's vector is all zeros: that of {labels[vectors.any(axis=1).argmin()]!r}")
        texts = [*(getattr(self, name) for name in _TEXTS), *self.templates]
        if not all(isinstance(text, str) for text in texts) or not isinstance(self.text_identity, dict):
            raise ConfigError("a bank's model, checksums and templates are texts, its text identity is a dict")
        if self.score_kind not in SCORE_KINDS:
            raise ConfigError(f"a bank's score kind is one of {', '.join(SCORE_KINDS)}, not {self.score_kind!r}")

    def __repr__(self):
        some = ", ".join(self.labels[:5]) + (", …" if len(self.labels) > 5 else "")
        return f"LabelBank({len(self.labels)} labels × {self.embed_dim} dimensions for {self.model}: {some})"

    @property
    def embed_dim(self) -> int:
        """Dimensions D."""
        return self.vectors.shape[1]

    @property
    def is_of_texts(self) -> bool:
        """Whether probabilities are meaningful: False where labels are a tagger's own, several of which may be true."""
        return self.text_identity.get("name") != OWN_TAGS

    def require_fits(self, model: Any) -> None:
        """Raise a ConfigError unless the bank was compiled for this :class:`SoundModel`."""
        n_dims = len(model.backend.tags) if model.kind == "tagger" else model.backend.embed_dim
        if {self.model_sha256, self.weights_sha256 or self.model_sha256}.isdisjoint(_sha256s(model)):
            of = f"{self.model} (sha256 {self.model_sha256[:12]}…), not for {model.name}"
            advice = "compile its names again: tinyclap labels BANK --model … --out bank.npz"
            raise ConfigError(f"this bank was compiled for {of}; {advice}")
        if self.embed_dim != n_dims or self.score_kind != model.score_kind:
            own = f"{self.embed_dim} dimensions for {self.score_kind} scores"
            other = f"{model.name} has {n_dims} for {model.score_kind}; compile its names again with this model"
            raise ConfigError(f"this bank has {own}, {other}")

    def save(self, path: str | os.PathLike[str], int8: bool = False) -> None:
        """Write the bank atomically, by suffix as ``.npz``, ``.json`` or ``.h`` (C arrays, with `int8` of 8 bits).

        ConfigError: see :func:`checked_target`; or the file cannot be written, and an earlier one is as it was.
        """
        path = checked_target(path, int8)
        try:
            if path.suffix == ".h":
                from tinyclap.text.bank_header import header

                write_text(path, header(self, path.stem, int8))
            elif path.suffix == ".json":
                rows = [[float(f"{number:.9g}") for number in row] for row in self.vectors.tolist()]
                content = {**self.facts(), "labels": list(self.labels), "vectors": rows}
                write_text(path, json.dumps(content, ensure_ascii=False) + "\n")
            else:
                about = np.array(json.dumps(self.facts()))
                arrays: dict[str, Any] = dict(zip(_ARRAYS, (np.array(self.labels), self.vectors, about), strict=True))
                with atomic_path(path) as part, open(part, "wb") as file:
                    np.savez_compressed(file, **arrays)
        except OSError as error:
            raise ConfigError(f"{path}: not written: {error.strerror or error}") from error

    def facts(self) -> dict[str, Any]:
        """Everything but labels and vectors: dict, JSON-able."""
        facts = {name: getattr(self, name) for name in _TEXTS}
        return {"format": FORMAT, **facts, "templates": list(self.templates), "text_identity": self.text_identity}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LabelBank:
        """Read a bank from ``.npz`` (without pickles) or ``.json``; a CheckpointError for anything else."""
        path = _as_path(path)
        if path.suffix.lower() not in (".npz", ".json"):
            raise CheckpointError(f"{path}: a bank is read from .npz or .json")
        if not path.is_file():
            raise CheckpointError(f"{path}: no such bank; compile one with: tinyclap labels NAMES --out {path.name}")
        try:
            facts = _from_npz(path) if path.suffix.lower() == ".npz" else read_json(path, "compile the bank again")
            if facts.pop("format") != FORMAT:
                raise CheckpointError(f"{path}: a bank of another format; compile it again with this version")
            return cls(**facts)
        except CheckpointError:
            raise
        except Exception as error:  # whatever a broken file makes zipfile, zlib, json and numpy raise
            raise CheckpointError(f"{path}: no label bank, or cut short ({error}); compile it again") from error


def _as_path(path: Any) -> Path:
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise ConfigError(f"a bank's file is a path, not {path!r:.60}")
    return Path(path)


def checked_target(path: str | os.PathLike[str], int8: bool = False) -> Path:
    """The path to write a bank to; a ConfigError for another suffix, no folder, or a file that is no label bank."""
    path = _as_path(path)
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path}: a bank is written as {', '.join(SUFFIXES)}")
    if int8 and path.suffix != ".h":
        raise ConfigError(f"{path}: int8 is for C headers (.h)")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.absolute().parent}; make it first")
    if path.exists() and not _is_bank(path):
        raise ConfigError(f"{path}: is there and is no label bank; name another file, or remove this one")
    return path


def compile_bank(model: Any, names: Iterable[str], template: str | list[str] | None = None) -> LabelBank:
    """Compile labels into a :class:`LabelBank`, in all dimensions of the model, whatever `dim` keeps.

    Arguments and errors are those of :func:`tinyclap.text.label_embeddings.label_embeddings`.
    """
    labels, vectors = label_embeddings(model, names, template)
    text, config = model.backend.text, model.config
    templates = [template] if isinstance(template, str) else template or getattr(text, "default_templates", ["{}"])
    return LabelBank(
        *(labels, vectors, list(templates), model.score_kind),
        Path(model.name).name.encode(errors="replace").decode(),
        next(iter(_sha256s(model)), ""),
        _weights_sha256(config) or "",
        dict(getattr(text, "identity", {})),
    )


def ready_bank(name: str, model: str = DEFAULT_MODEL) -> LabelBank:
    """A bank that comes with a shipped model, one of :func:`ready_names`; else a ConfigError."""
    if name not in ready_names(model):
        raise ConfigError(f"no ready bank {name!r} for {model}; there are: {', '.join(ready_names(model)) or 'none'}")
    return LabelBank.load(f"{shipped_folder(model)}/{BANKS}/{name}.npz")


def ready_names(model: str = DEFAULT_MODEL) -> list[str]:
    """Names of the banks that come with a shipped model."""
    folder = shipped_folder(model)
    if folder is None:
        raise ConfigError(f"no shipped model {model!r}; there are: {', '.join(shipped_names())}")
    return sorted(path.stem for path in (folder / BANKS).glob("*.npz"))


def _sha256s(model):
    """What a model is known by: the SHA-256 of its exported graph, first, and that of its weights."""
    config = model.config
    found = [config["files"].get(config["graphs"]["fp32"])] if "graphs" in config else []
    return dict.fromkeys(filter(None, [*found, _weights_sha256(config)]))


def _weights_sha256(config):
    return config.get("provenance", config.get("saved", {})).get("weights_sha256")


def _is_bank(path):
    """Whether a file has the form of a bank, of whatever format or model; an empty file may be written over, too."""
    try:
        if path.is_file() and not path.stat().st_size:
            return True
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return {f"{name}.npy" for name in _ARRAYS} == set(archive.namelist())
        if path.suffix == ".json":
            return {"format", "labels", "vectors"} <= set(read_json(path))
        with open(path, "rb") as file:
            return file.read(28) == b"/*\n * Label bank of tinyclap"
    except (OSError, CheckpointError, zipfile.BadZipFile):
        return False


def _from_npz(path):
    """The arguments of a LabelBank, and ``format``."""
    with zipfile.ZipFile(path) as archive:
        labels, vectors, about = (_array(archive, f"{name}.npy") for name in _ARRAYS)
    return {**json.loads(str(about)), "labels": labels.tolist(), "vectors": vectors}


def _array(archive, name):
    """An array of an archive, whose header must fit what is stored."""
    size = archive.getinfo(name).file_size
    with archive.open(name) as file:
        head = io.BytesIO(file.read(2**16))
    version = np.lib.format.read_magic(head)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(head)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != size - head.tell() or size > _MAX_BYTES:
        raise ValueError(f"{name} is no plain array of {size} bytes")
    with archive.open(name) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
