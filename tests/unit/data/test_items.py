"""The clips of a run: names of several manifests, a split by recording, and a table that says what the dict said."""

import gc
import pickle
import types

import pytest
from caption_run import make_corpora

from tinyclap.data.items import ItemTable, hold_out, read_items
from tinyclap.errors import ManifestError

ITEMS = {
    "corpus/b": {"wav": "b.wav", "duration_s": 1.25, "captions": None, "group": "g/1"},
    "corpus/ä b": {"wav": "ä.wav", "duration_s": 0.1, "captions": ["Ein Vögelchen.", "two"], "group": "g/2"},
    "corpus/a": {"wav": "a.wav", "duration_s": 3.0, "captions": [], "group": "g/1"},
}


def clips(n_clips, facts):
    return {f"c{index:03d}": (0.01, 100, 0.1, facts(index)) for index in range(n_clips)}


def items_of(folder, n_clips, facts=lambda index: {}, name="toy"):
    return read_items(make_corpora(folder, name, train=clips(n_clips, facts)).manifests("train"))


def test_items_of_several_manifests_keep_their_own_names(tmp_path):
    corpora = [
        make_corpora(tmp_path / name, name, train=clips(1, lambda index, facts=facts: facts))
        for name, facts in (("one", {}), ("two", {"captions": ["a sound"]}))
    ]
    items = read_items([manifest for each in corpora for manifest in each.manifests("train")])
    assert list(items) == ["one_train/c000", "two_train/c000"]
    assert items["two_train/c000"]["captions"] == ["a sound"] and items["one_train/c000"]["captions"] is None
    assert items["one_train/c000"]["group"] != items["two_train/c000"]["group"]


def test_no_manifest_at_all_is_an_error():
    with pytest.raises(ManifestError, match="no clips in 0 manifest"):
        read_items([])


def test_clips_of_one_recording_go_to_the_same_side(tmp_path):
    items = items_of(tmp_path, 200, lambda index: {"group": f"recording{index // 4}"})
    train, held = hold_out(items, 0.3)
    assert len(train) + len(held) == 200 and not set(train) & set(held)
    assert not {item["group"] for item in train.values()} & {item["group"] for item in held.values()}
    assert 30 < len(held) < 90
    assert hold_out(dict(reversed(items.items())), 0.3)[1].keys() == held.keys(), "names decide, not the order"
    assert set(held) <= set(hold_out(items, 0.5)[1]), "a larger fraction holds the smaller one"


def test_a_freesound_id_is_a_recording_too(tmp_path):
    items = items_of(tmp_path, 6, lambda index: {"freesound_id": "123"})
    assert {item["group"] for item in items.values()} == {"toy/123"}
    assert hold_out(items, 0.0) == (items, {})


def test_a_table_is_the_dict_in_its_order():
    table = ItemTable(ITEMS)
    assert dict(table) == ITEMS and list(table) == list(ITEMS) and len(table) == 3
    assert [table.name(place) for place in range(3)] == list(ITEMS)
    assert dict(pickle.loads(pickle.dumps(table))) == ITEMS
    assert dict(ItemTable({})) == {} and "a" not in ItemTable({})


@pytest.mark.parametrize("name", ["corpus/c", "", "corpus", "corpus/ä", "corpus/b\0", None, 3])
def test_a_name_that_is_not_there_is_an_error(name):
    table = ItemTable(ITEMS)
    assert name not in table
    with pytest.raises(KeyError):
        table[name]


def test_a_table_finds_each_of_many_items():
    many = {f"{index % 7}/{index}": {"wav": f"{index}.wav", "duration_s": 1.0} for index in range(5000)}
    table = ItemTable(many)
    assert list(table) == list(many) and all(table[name] == item for name, item in many.items())


def test_a_table_holds_no_object_for_each_item():
    few, many = (
        ItemTable({f"corpus/{index}": {"wav": f"{index}.wav", "duration_s": 1.0} for index in range(n_items)})
        for n_items in (5, 5000)
    )
    gc.collect()
    counts = [len(reachable(table)) for table in (few, many)]
    assert counts[0] == counts[1]
    assert len(pickle.dumps(many)) < 5000 * 120


def reachable(thing):
    """Ids of all objects that Python counts references to from a thing on, without classes and modules."""
    seen, left = set(), [thing]
    while left:
        one = left.pop()
        if id(one) not in seen and not isinstance(one, (type, types.ModuleType, types.FunctionType)):
            seen.add(id(one))
            left += gc.get_referents(one)
    return seen
