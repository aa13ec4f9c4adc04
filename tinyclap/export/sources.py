"""What is to be exported, by the folder of a run or the name of a published network."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tinyclap.checkpoints.state import load_student
from tinyclap.config.kept_dims import tags_of
from tinyclap.errors import ConfigError
from tinyclap.files import sha256_of
from tinyclap.models.student import AudioStudent, Clap
from tinyclap.published.networks import EfficientAtMn, load_published
from tinyclap.teachers import make_teacher
from tinyclap.teachers.tagger import LABELS_FILE, read_labels
from tinyclap.text.prompts import make_prompts

PUBLISHED = ("tinyclap-student", "efficientat-mn", "msclap2022", "effb2-trm")


@dataclass
class Source:
    """A network to export, with what surrounds it.

    Arguments
    ---------
    kind : {"audio_encoder", "tagger", "captioner"}
    network : nn.Module. The reference that exported graphs are compared with.
    provenance : dict. JSON-able: name, origin, SHA-256 of the weights.
    text : callable. Loads the text side (``embed_classes``, ``score_kind``, ``default_templates``) when it is called.
    tags : list of str. Names of the outputs, if they are tags.
    """

    kind: str
    network: object
    provenance: dict
    text: Callable | None = None
    tags: list = field(default_factory=list)

    @property
    def student(self):
        """The audio tower: an AudioStudent."""
        network = self.network
        return network if isinstance(network, AudioStudent) else network.audio

    def outputs(self, wavs, sample_rate_hz):
        """What the network itself gives for clips: dict of output name to torch.Tensor (B, ·)."""
        rows = {"embedding": self.network.embed_audio(wavs, sample_rate_hz)}
        return rows | ({"logits": self.network.tag(wavs, sample_rate_hz)} if self.kind == "tagger" else {})


def parse_options(words):
    """Turn ``KEY=VALUE`` words into keywords; values are JSON where they can be, else strings.

    Example
    -------
    >>> parse_options(["alpha=0.75", "tokenizer=bert-base-uncased"])
    {'alpha': 0.75, 'tokenizer': 'bert-base-uncased'}
    """
    options = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign:
            raise ConfigError(f"--option {word}: write KEY=VALUE, such as alpha=0.75")
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            options[key] = value
    return options


def open_source(model, path=None, text_weights=None, options=None, dim=None):
    """Load the model that the command line names.

    Arguments
    ---------
    model : str or os.PathLike. Folder of a run or of a saved model; or, with `path`, the name of a published network.
    path : str or os.PathLike, optional. File of the published network's weights.
    text_weights : str or os.PathLike, optional. Of the text side, where it is not with the model.
    options : dict, optional. Keywords of the published network (``alpha``, ``width``, ``tokenizer``, …).
    dim : int, optional. See :func:`tinyclap.checkpoints.state.load_student`.

    Raises
    ------
    CheckpointError: Nothing usable is there.
    ConfigError: A published network without its file, keywords that it does not take, or a `dim` out of range.
    """
    if path is None and str(model) in PUBLISHED:
        raise ConfigError(f"{model} needs its weights; give their file by --path")
    if path is None:
        return _of_run(model, text_weights, dim)
    if dim is not None:
        raise ConfigError("--dim is for a folder in which python prune.py stored an order, not for a published network")
    if str(model) not in PUBLISHED:
        raise ConfigError(f"--path belongs to a published network ({', '.join(PUBLISHED)}), not to {model}")
    return _of_published(str(model), path, text_weights, options or {})


def _of_run(run, text_weights, dim):
    network, config = load_student(run, dim)
    note = {"source": Path(run).resolve().name, "model": config["model"], "weights_sha256": config["weights_sha256"]}
    note |= {key: config[key] for key in ("seed", "teacher", "starts", "latent") if key in config}
    if not isinstance(network, (AudioStudent, Clap)):
        return Source("captioner", network, note)
    return Source(
        "audio_encoder", network, note, _later("checkpoint", run, text_weights, {"dim": dim}), tags_of(config)
    )


def _of_published(name, path, text_weights, options):
    network = load_published(name, path=path, **options)
    note = {"source": name, "file": Path(path).name, "options": options, "weights_sha256": sha256_of(path)}
    if name == "effb2-trm":
        return Source("captioner", network, note)
    if isinstance(network, EfficientAtMn):
        tags = read_labels(Path(path).with_name(LABELS_FILE))
        return Source("tagger", network, note, _later("tagger", path, None, options), tags)
    has_text = name != "tinyclap-student" or text_weights is not None
    return Source("audio_encoder", network, note, _later(name, path, text_weights, options) if has_text else None)


def _later(kind, weights, text_weights, options=None):
    """A function that loads a teacher for its text side when it is first called, and returns the same one later."""
    given = {"weights": weights, **({} if text_weights is None else {"text_weights": text_weights}), **(options or {})}
    return functools.cache(lambda: make_teacher(kind, **given).load())


def class_vectors(source, names, templates=None):
    """Label embeddings by the model's text side: (torch.Tensor of shape (N, D), kind of score).

    `templates` are prompts with ``{}`` for the name; None takes the text side's own.
    """
    if source.text is None:
        raise ConfigError(
            f"{source.provenance['source']} has no text side to embed labels with; give its weights by --text_weights, "
            "or leave out --labels"
        )
    text = source.text()
    return text.embed_classes(make_prompts(names, templates or text.default_templates)), text.score_kind
