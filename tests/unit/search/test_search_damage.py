"""An index that is cut, damaged, foreign, or reaches out of its folder is refused by name."""

import json
import os
import sqlite3

import numpy as np
import pytest

from tests.unit.search.index_rows import of_rows
from tinyclap.errors import CheckpointError
from tinyclap.search.database import DATABASE, INDEX
from tinyclap.search.index import SearchIndex


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1},
        {"format": 99},
        {"format": None},
        {"model": None},
        {"model": []},
        {"model": {"name": "a", "sha256": None, "score": "dot", "embed_dim": 4}},
        {"model": {"name": "a", "sha256": "0", "score": "dot", "embed_dim": True}},
        {"model": {"name": "a", "sha256": "0", "score": "dot", "embed_dim": -4}},
        {"dtype": ["float16"]},
        {"dtype": "object"},
        {"shards": [{"name": "../other/index.sqlite"}]},
        {"shards": None},
    ],
)
def test_a_description_that_is_not_an_index_of_ours_is_refused(tmp_path, change):
    of_rows(tmp_path, np.eye(4, dtype=np.float32))
    state = json.loads((tmp_path / INDEX).read_text())
    (tmp_path / INDEX).write_text(json.dumps(state | change))
    with pytest.raises(CheckpointError, match=INDEX):
        SearchIndex.open(tmp_path)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def of_another_program(path):
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recordings (path)")
    connection.close()


def with_a_trigger(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TRIGGER t AFTER INSERT ON recordings BEGIN DELETE FROM vectors; END")
    connection.close()


def with_other_vectors(path):
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE vectors SET vector = 'text' WHERE id = 2")
    connection.close()


def linked(path):
    os.rename(path, path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        of_another_program,
        with_a_trigger,
        with_other_vectors,
        linked,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no database" * 1000),
        lambda path: path.unlink(),
    ],
)
def test_a_database_that_is_not_ours_or_damaged_is_named(tmp_path, damage):
    of_rows(tmp_path, np.random.default_rng(0).random((300, 64), np.float32))
    damage(tmp_path / DATABASE)
    with pytest.raises(CheckpointError, match=DATABASE):
        SearchIndex.open(tmp_path).paths()


def test_a_changed_vector_is_found_by_its_checksum(tmp_path):
    index = of_rows(tmp_path, np.eye(8, dtype=np.float32))
    index.verify()
    content = (tmp_path / DATABASE).read_bytes()
    (tmp_path / DATABASE).write_bytes(content.replace(np.eye(8, dtype="<f4")[3].tobytes(), b"\1" * 32))
    with pytest.raises(CheckpointError, match="damaged"):
        index.verify()
