"""Label banks: names compiled once into vectors, so that classifying needs neither a text tower nor a tokenizer.

    bank = compile_bank(tinyclap.from_pretrained(), ["dog barking", "rain", "siren"])
    bank.save("mine.npz")
    model.classify("dog.wav", LabelBank.load("mine.npz"))

A bank notes which model and text tower it was made with, and is refused by any other. No torch.
"""

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tinyclap.config.shipped import DEFAULT_MODEL, shipped_folder, shipped_names
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.text.label_vectors import label_vectors

FORMAT = 1
SUFFIXES = (".npz", ".json", ".h")
BANKS = "banks"  # the folder of ready banks in that of a shipped model
# what the text side of a bank is called whose vectors are the network's own tags
OWN_TAGS = "none: the network's own tags"
_TEXTS = ("score_kind", "model", "model_sha256", "weights_sha256")


@dataclass(frozen=True, eq=False)
class LabelBank:
    """Names and their vectors.

    Arguments
    ---------
    labels : list of str, N of them
    vectors : numpy.ndarray, shape (N, D), float32
    templates : list of str
        What the names stood in.
    score_kind : {"cosine", "dot", "sqrt_dot"}
    model : str
        What the model is called.
    model_sha256 : str
        Of the exported graph; of the weights, where torch computes.
    weights_sha256 : str
        Of the weights that the model was made of: its exports and itself take the same banks.
    text_identity : dict
        ``name`` and ``sha256`` of the text tower.

    Raises
    ------
    ConfigError
        Names and vectors do not fit, a name comes twice, or a number is not finite.

    Example
    -------
    >>> LabelBank(["dog", "rain"], np.eye(2), ["{}"], "cosine", "m", "00", "00", {})
    LabelBank(2 labels × 2 dimensions for m: dog, rain)
    """

    labels: list
    vectors: np.ndarray
    templates: list
    score_kind: str
    model: str
    model_sha256: str
    weights_sha256: str = ""
    text_identity: dict = field(default_factory=dict)

    def __post_init__(self):
        vectors = np.ascontiguousarray(self.vectors, np.float32)
        object.__setattr__(self, "vectors", vectors)
        if vectors.ndim != 2 or not len(vectors) or len(vectors) != len(self.labels):
            raise ConfigError(f"a bank of {len(self.labels)} labels cannot have vectors of shape {vectors.shape}")
        if len(set(self.labels)) < len(self.labels):
            twice = sorted({name for name in self.labels if list(self.labels).count(name) > 1})
            raise ConfigError(f"a bank has every name once; more often: {', '.join(twice)}")
        if not np.isfinite(vectors).all():
            raise ConfigError("a bank's vectors are finite numbers; these are not")

    def __repr__(self):
        shown = ", ".join(self.labels[:5]) + (", …" if len(self.labels) > 5 else "")
        return f"LabelBank({len(self.labels)} labels × {self.embed_dim} dimensions for {self.model}: {shown})"

    @property
    def embed_dim(self):
        """Width D of the vectors: int."""
        return self.vectors.shape[1]

    @property
    def is_of_texts(self):
        """Whether the vectors are of texts, which the model's temperature was fitted to; else of its own tags: bool."""
        return self.text_identity.get("name") != OWN_TAGS

    def require_fits(self, model):
        """Raise a ConfigError unless the bank was compiled for this model.

        Arguments
        ---------
        model : tinyclap.inference.sound_model.SoundModel
        """
        n_dims = len(model.backend.tags) if model.kind == "tagger" else model.backend.embed_dim
        if {self.model_sha256, self.weights_sha256 or self.model_sha256}.isdisjoint(_sha256s(model)):
            raise ConfigError(
                f"this bank was compiled for {self.model} (sha256 {self.model_sha256[:12]}…), not for {model.name}; "
                "compile its names again: tinyclap labels NAMES --model … --out bank.npz"
            )
        if self.embed_dim != n_dims or self.score_kind != model.score_kind:
            raise ConfigError(
                f"this bank has {self.embed_dim} dimensions for {self.score_kind} scores, {model.name} has {n_dims} "
                f"for {model.score_kind}; compile its names again with this model"
            )

    def save(self, path, int8=False):
        """Write the bank, by suffix.

        Arguments
        ---------
        path : str or os.PathLike
            ``.npz`` (numpy, without pickled objects), ``.json``, or ``.h`` (C arrays, which are not read again).
        int8 : bool
            Of ``.h``: numbers of 8 bits with a scale for each label.

        Raises
        ------
        ConfigError
            Another suffix.
        """
        path = checked_target(path, int8)
        if path.suffix == ".h":
            from tinyclap.text.bank_header import header

            path.write_text(header(self, path.stem, int8), encoding="utf-8")
        elif path.suffix == ".json":
            rows = [[float(f"{number:.9g}") for number in row] for row in self.vectors.tolist()]
            content = {**self.facts(), "labels": list(self.labels), "vectors": rows}
            path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
        else:
            arrays = {
                "labels": np.array(self.labels),
                "vectors": self.vectors,
                "about": np.array(json.dumps(self.facts())),
            }
            with open(path, "wb") as file:
                np.savez_compressed(file, **arrays)

    def facts(self):
        """What the bank is, without names and vectors: dict, JSON-able."""
        facts = {name: getattr(self, name) for name in _TEXTS}
        return {"format": FORMAT, **facts, "templates": list(self.templates), "text_identity": self.text_identity}

    @classmethod
    def load(cls, path):
        """Read a bank from a ``.npz`` or ``.json`` file.

        Arguments
        ---------
        path : str or os.PathLike

        Returns
        -------
        LabelBank

        Raises
        ------
        CheckpointError
            There is no such file, or it is no bank of this format.
        """
        path = Path(path)
        if path.suffix not in (".npz", ".json"):
            raise CheckpointError(f"{path}: a bank is read from .npz or .json")
        if not path.is_file():
            raise CheckpointError(f"{path}: no such bank; compile one with: tinyclap labels NAMES --out {path.name}")
        try:
            facts, labels, vectors = (_from_json if path.suffix == ".json" else _from_npz)(path)
            if facts.pop("format") != FORMAT:
                raise CheckpointError(f"{path}: a bank of another format; compile it again with this version")
            return cls(labels, vectors, **facts)
        except (KeyError, ValueError, TypeError, AttributeError, EOFError, OSError, zipfile.BadZipFile) as error:
            # numpy would advise to unpickle it
            reason = "not an archive of plain arrays" if "pickle" in str(error) else error
            raise CheckpointError(f"{path}: no label bank, or cut short ({reason}); compile it again") from error


def checked_target(path, int8=False):
    """The path that a bank is to be written to, or a ConfigError that says why none can; see :meth:`LabelBank.save`."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path}: a bank is written as {', '.join(SUFFIXES)}")
    if int8 and path.suffix != ".h":
        raise ConfigError(f"{path}: int8 is for C headers (.h)")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.absolute().parent}; make it first")
    return path


def compile_bank(model, names, template=None):
    """Compile names into a bank.

    Arguments
    ---------
    model : tinyclap.inference.sound_model.SoundModel
        With a text side, unless all names are its own.
    names : list of str
    template : str, list of str or None
        With ``{}`` for the name; None takes the model's own.

    Returns
    -------
    LabelBank
        In the whole space of the model; it also serves a model that was opened with fewer dimensions.

    Raises
    ------
    ConfigError
        No names, a name twice, or the model cannot embed them.
    """
    labels, vectors = label_vectors(model, list(names), template)
    text, config = model.backend.text, model.config
    provenance = config.get("provenance", config.get("saved", {}))
    templates = [template] if isinstance(template, str) else template or getattr(text, "default_templates", ["{}"])
    return LabelBank(
        labels,
        vectors,
        list(templates),
        model.score_kind,
        Path(model.name).name,
        next(iter(_sha256s(model)), ""),
        provenance.get("weights_sha256", ""),
        dict(getattr(text, "identity", {})),
    )


def ready_bank(name, model=DEFAULT_MODEL):
    """A bank that comes with a shipped model.

    Arguments
    ---------
    name : str
        One of :func:`ready_names`: "audioset", "esc50", "tut17", "urbansound8k".
    model : str

    Returns
    -------
    LabelBank

    Raises
    ------
    ConfigError
        There is none of this name.

    Example
    -------
    >>> ready_bank("urbansound8k").labels[:3]
    ['air conditioner', 'car horn', 'children playing']
    """
    if name not in ready_names(model):
        raise ConfigError(f"no ready bank {name!r} for {model}; there are: {', '.join(ready_names(model)) or 'none'}")
    return LabelBank.load(shipped_folder(model) / BANKS / f"{name}.npz")


def ready_names(model=DEFAULT_MODEL):
    """Names of the banks that come with a shipped model: list of str.

    Raises
    ------
    ConfigError
        No such model is shipped.
    """
    folder = shipped_folder(model)
    if folder is None:
        raise ConfigError(f"no shipped model {model!r}; there are: {', '.join(shipped_names())}")
    return sorted(path.stem for path in (folder / BANKS).glob("*.npz"))


def _sha256s(model):
    """By what a model may be known: the SHA-256 of its exported graph, first, and that of its weights."""
    config = model.config
    found = [config["files"].get(config["graphs"]["fp32"])] if "graphs" in config else []
    found.append(config.get("provenance", config.get("saved", {})).get("weights_sha256"))
    return dict.fromkeys(sha256 for sha256 in found if sha256)


def _from_json(path):
    facts = json.loads(path.read_text(encoding="utf-8"))
    return facts, facts.pop("labels"), np.array(facts.pop("vectors"), np.float32)


def _from_npz(path):
    with np.load(path, allow_pickle=False) as content:
        return json.loads(str(content["about"])), content["labels"].tolist(), content["vectors"]
