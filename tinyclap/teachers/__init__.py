"""Teachers by name: CLAPs and taggers, with the text sides that score their students."""

from typing import Any

from tinyclap.errors import ConfigError
from tinyclap.teachers.base import FrozenTeacher as FrozenTeacher
from tinyclap.teachers.base import class_embeddings as class_embeddings
from tinyclap.teachers.base import fitting_options
from tinyclap.teachers.base import score as score
from tinyclap.teachers.checkpoint import CheckpointTeacher
from tinyclap.teachers.hf_clap import HfClapTeacher
from tinyclap.teachers.msclap import MsClapTeacher, PublishedStudent
from tinyclap.teachers.tag_text import TagSpaceText
from tinyclap.teachers.tagger import TaggerTeacher

TEACHERS = {
    "msclap2022": MsClapTeacher,
    "hf_clap": HfClapTeacher,
    "tagger": TaggerTeacher,
    "checkpoint": CheckpointTeacher,
    "tinyclap-student": PublishedStudent,
}


def make_teacher(kind: str, more: dict[str, Any] | None = None, **options: Any) -> FrozenTeacher:
    """Make a teacher by its name, one of :data:`TEACHERS`; its weights are loaded later, by ``load()``.

    `options`, and before them `more`, are arguments of its class; those that are None are left to their defaults.
    """
    if kind not in TEACHERS:
        raise ConfigError(f"teacher {kind!r} is unknown; choose one of {', '.join(TEACHERS)}")
    return TEACHERS[kind](**fitting_options(TEACHERS[kind], f"teacher {kind!r}", more, options))


def make_text_side(config: dict[str, Any], weights: Any = None) -> Any:
    """Make the text side that scores a student: ``embed_classes``, ``embed_text``, ``score``, ``default_templates``.

    `config` is that of the student's teacher's ``text_side()``; `weights` those of it (in a tag space: of the sentence
    encoder) if they have moved.
    """
    config = dict(config)
    kind = config.pop("kind")
    if weights is not None:
        config["sentence_encoder" if kind == "tag_space" else "weights"] = str(weights)
    if kind == "tag_space":
        return TagSpaceText(**config)
    return make_teacher(kind, **config).load()
