"""Teachers: CLAPs, taggers, captioners and ensembles, with the text sides that score their students."""

import importlib
import inspect
from typing import Any

from tinyclap.config.own_modules import imported_class
from tinyclap.errors import ConfigError
from tinyclap.teachers.base import FrozenTeacher as FrozenTeacher
from tinyclap.teachers.base import class_embeddings as class_embeddings
from tinyclap.teachers.base import score as score
from tinyclap.teachers.checkpoint import CheckpointTeacher as CheckpointTeacher
from tinyclap.teachers.ensemble import EnsembleTeacher as EnsembleTeacher
from tinyclap.teachers.hf_clap import HfClapTeacher as HfClapTeacher
from tinyclap.teachers.msclap import MsClapTeacher as MsClapTeacher
from tinyclap.teachers.msclap import PublishedStudent as PublishedStudent
from tinyclap.teachers.tag_text import TagSpaceText
from tinyclap.teachers.tagger import TaggerTeacher as TaggerTeacher

# kind → module and class; a module, and what it needs, is imported when it is used
TEACHERS = {
    "msclap2022": "msclap:MsClapTeacher",
    "hf_clap": "hf_clap:HfClapTeacher",
    "tagger": "tagger:TaggerTeacher",
    "checkpoint": "checkpoint:CheckpointTeacher",
    "tinyclap-student": "msclap:PublishedStudent",
    "wavcaps_htsat_bart": "captioning:WavcapsTeacher",
    "captioner": "captioning:CaptionerTeacher",
    "text_captioner": "text_captioner:TextCaptionerTeacher",
    "effb2_trm": "captioning:Effb2TrmTeacher",
}


def make_teacher(kind: str, more: dict[str, Any] | None = None, **options: Any) -> FrozenTeacher:
    """Make a teacher by its name; its weights are loaded later, by ``load()``.

    `kind` is one of :data:`TEACHERS`, or ``module.Class`` of a module of your own that was imported before;
    `options`, and before them `more`, are arguments of its class; those that are None are left to their defaults.
    """
    kind = str(kind)
    if kind in TEACHERS:
        module, _, name = TEACHERS[kind].partition(":")
        made_class = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    elif "." in kind:  # nothing is imported by that name: a folder's config may hold it
        made_class = imported_class(kind, FrozenTeacher)
    else:
        raise ConfigError(f"teacher {kind!r} is unknown; choose one of {', '.join(TEACHERS)}")
    return _made(made_class, kind, {**options, **(more or {})})


def _made(made_class, kind, options):
    options = {name: value for name, value in options.items() if value is not None}
    signature = inspect.signature(made_class)
    try:
        signature.bind(**options)
    except TypeError as error:
        raise ConfigError(f"teacher {kind!r}: {error}; it takes {', '.join(signature.parameters)}") from error
    return made_class(**options)


def make_text_side(config: dict[str, Any], weights: Any = None) -> Any:
    """Make the text side that scores a student: ``embed_classes``, ``embed_text``, ``score``, ``default_templates``.

    `config` is of the teacher's ``text_side()``; `weights` are its, in a tag space the sentence encoder, if they moved.
    """
    config = dict(config)
    kind = config.pop("kind", None)
    if weights is not None:
        config["sentence_encoder" if kind == "tag_space" else "weights"] = str(weights)
    return _made(TagSpaceText, kind, config) if kind == "tag_space" else make_teacher(kind, **config).load()
