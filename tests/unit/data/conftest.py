"""Makers of small target caches, of two kinds of views."""

import pytest
from caption_run import LoudnessTeacher, captioned
from caption_run import make_corpora as make_captioned
from caption_run import make_views as make_windows
from small_run import ToneTeacher, make_corpora, make_features, make_views

from tinyclap.data.targets import TeacherTargets

COLUMNS = ("clip", "frames", "middle", "tags")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    """Ten clips of three windows."""
    return make_captioned(tmp_path_factory.mktemp("captions"), train=captioned(10))


@pytest.fixture
def make(corpora, tmp_path):
    def make_targets(folder="cache", teacher=None, views=None, columns=COLUMNS, features=True, **options):
        teacher, views = teacher or ToneTeacher(), views or make_views(corpora)
        options = {"batch_size": 4, "shard_size": 8, **options}
        features = make_features() if features else None
        return TeacherTargets(teacher, views, columns, tmp_path / folder, features, **options)

    return make_targets


@pytest.fixture
def make_captions(captions, tmp_path):
    def make_targets(folder="cache", teacher="loudness", views=None, columns=("clip", "caption"), **options):
        teacher = LoudnessTeacher() if teacher == "loudness" else teacher
        options = {"batch_size": 4, "shard_size": 8, **options}
        return TeacherTargets(teacher, views or make_windows(captions), columns, tmp_path / folder, **options)

    return make_targets
