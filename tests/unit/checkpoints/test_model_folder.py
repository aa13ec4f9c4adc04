"""Model folders from elsewhere: nothing outside them is read or written, and a damaged config.json is one line."""

import copy
import json
import os
import shutil

import numpy as np
import pytest

import tinyclap
from tinyclap.checkpoints.folder import checked_file, new_folder, path_inside, read_arrays, read_config
from tinyclap.checkpoints.schema import problem
from tinyclap.config.shipped import shipped_folder, shipped_names
from tinyclap.errors import CheckpointError, ConfigError, TinyclapError
from tinyclap.files import CONFIG, sha256_of


@pytest.fixture
def folder(tmp_path):
    """A folder with one file that its config vouches for, and a file beside the folder."""
    place = tmp_path / "model"
    place.mkdir()
    (place / "a.npz").write_bytes(b"a")
    (place / CONFIG).write_text("{}")
    (tmp_path / "other.txt").write_text("theirs")
    return place


def known(path, name):
    return {"files": {name: sha256_of(path)}}


OUTSIDE = [
    "",
    ".",
    "..",
    "../other.txt",
    "x/../../other.txt",
    "./a.npz",
    "a//b",
    "C:a",
    "C:\\a",
    "..\\other.txt",
    "a\0",
]


@pytest.mark.parametrize("name", [*OUTSIDE, "/etc/hostname"])
def test_names_that_reach_outside_are_refused(folder, name):
    with pytest.raises(CheckpointError, match="outside the folder"):
        path_inside(folder, name)
    with pytest.raises(CheckpointError):
        checked_file(folder, known(folder.parent / "other.txt", name), name)


def test_links_to_the_outside_are_refused_but_for_folders_of_links(folder, tmp_path):
    (folder / "link.npz").symlink_to(tmp_path / "other.txt")
    (folder / "sub").symlink_to(tmp_path)
    for name in ("link.npz", "sub/other.txt"):
        with pytest.raises(CheckpointError, match="outside the folder"):
            checked_file(folder, known(tmp_path / "other.txt", name), name)
    (folder / "inside.npz").symlink_to("a.npz")
    assert checked_file(folder, known(folder / "a.npz", "inside.npz"), "inside.npz").read_bytes() == b"a"
    # the cache of the hub: every file of a snapshot, the config too, is a link to a folder of blobs
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for name in ("a.npz", CONFIG):
        (snapshot / name).symlink_to(os.path.join("..", "model", name))
    assert checked_file(snapshot, known(folder / "a.npz", "a.npz"), "a.npz").read_bytes() == b"a"


def test_arrays_are_plain_or_refused(tmp_path):
    np.savez(tmp_path / "objects.npz", vectors=np.array([{}], object))
    np.savez(tmp_path / "whole.npz", vectors=np.zeros(3))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:40])
    (tmp_path / "text.npz").write_text("x")
    with pytest.raises(CheckpointError, match="no zip archive") as caught:
        read_arrays(tmp_path / "text.npz")
    assert "pickle" not in str(caught.value)
    for name, message in (("objects.npz", "plain arrays"), ("cut.npz", "plain arrays"), ("whole.npz", "lacks rows")):
        with pytest.raises(CheckpointError, match=rf"{name}.*{message}"):
            read_arrays(tmp_path / name, "rows")
    assert read_arrays(tmp_path / "whole.npz", "vectors")["vectors"].shape == (3,)


def test_a_place_that_is_in_use_or_cannot_be_written_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for target in ("file", "link", "file/below"):
        with pytest.raises(ConfigError), new_folder(tmp_path / target):
            pass
    for odd in (None, 3, "", "a\0b"):
        with pytest.raises(ConfigError, match="is a path, not"), new_folder(odd):
            pass
    (tmp_path / "empty").mkdir()
    with monkeypatch.context() as here, pytest.raises(ConfigError, match="working folder"):
        here.chdir(tmp_path / "empty")
        with new_folder("."):
            pass
    with new_folder(tmp_path / "empty") as place:
        (place / "a").write_text("new")
    assert (tmp_path / "empty" / "a").read_text() == "new" and (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("value", "schema", "found"),
    [
        (3, {"a": int}, "it is a whole number, where a table belongs"),
        ({}, {"a": int}, "lacks it.a"),
        ({"a": True}, {"a": int}, "it.a is true or false, where a whole number belongs"),
        ({"a": "1"}, {"a?": float}, "it.a is a text, where a number belongs"),
        ({"a": [1, None]}, {"a": [int]}, "an entry of it.a is null, where a whole number belongs"),
        ({"a": "c"}, {"a": {"a", "b"}}, "it.a is 'c'; known here: a, b"),
        ({"b": {"c": []}}, {"*": {"c": (None, dict)}}, "it.b.c is a list, where null belongs"),
        ({"a": 1, "b": [1.5], "c": object()}, {"a": float, "b": [float]}, None),
    ],
)
def test_a_value_that_does_not_fit_is_named(value, schema, found):
    assert problem(value, schema) == found


def places(value, at=()):
    """The keys of a config, as tuples, three levels deep; of lists the first entry."""
    inner = value.items() if isinstance(value, dict) else [(0, value[0])] if isinstance(value, list) and value else ()
    for key, each in inner:
        yield (*at, key)
        if len(at) < 2:
            yield from places(each, (*at, key))


@pytest.mark.parametrize("name", shipped_names())
def test_a_config_with_any_key_of_another_kind_is_opened_or_refused_by_its_folder(name, tmp_path):
    source, target = shipped_folder(name), tmp_path / "modelx"
    target.mkdir()
    for path in source.iterdir():
        if path.is_file() and path.name != CONFIG:
            os.link(path, target / path.name) if os.stat(path).st_dev == os.stat(target).st_dev else shutil.copy(
                path, target / path.name
            )
    config, n_refused = json.loads((source / CONFIG).read_text("utf-8")), 0
    for at in places(config):
        for value in (None, 1, "x", [], {}):
            changed = copy.deepcopy(config)
            inner = changed
            for key in at[:-1]:
                inner = inner[key]
            inner[at[-1]] = value
            (target / CONFIG).write_text(json.dumps(changed))
            try:
                read_config(target)
            except TinyclapError as error:
                n_refused += 1
                assert "modelx" in str(error) and "\n" not in str(error), (at, value)
    assert n_refused > 100
    for key, value in (("graphs", True), ("window", 3), ("files", []), ("labels", 0), ("format", True)):
        (target / CONFIG).write_text(json.dumps({**config, key: value}))
        if key == "labels":
            tinyclap.from_pretrained(target)  # a key that nothing reads
            continue
        with pytest.raises(CheckpointError, match="modelx"):
            tinyclap.from_pretrained(target)


@pytest.mark.parametrize("order", [3, "x", None, [], [0], [0.5] * 527, ["0"] * 527, [0] * 527, list(range(528))])
def test_an_order_of_dimensions_that_is_none_is_refused(order, tmp_path):
    config = json.loads((shipped_folder("tinyclap-phinet-m") / CONFIG).read_text("utf-8"))
    (tmp_path / CONFIG).write_text(json.dumps({**config, "latent": {"order": order}}))
    with pytest.raises(CheckpointError, match=r"latent\.order"):
        read_config(tmp_path)
