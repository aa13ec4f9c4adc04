"""Objects come back from their config, and a config that does not fit says why."""

import json

import pytest
from torch import nn

from tinyclap.config import registry
from tinyclap.config.registry import build, configurable
from tinyclap.errors import ConfigError


@pytest.fixture
def classes(monkeypatch):
    """Two classes of a registry of their own."""
    monkeypatch.setattr(registry, "_CLASSES", {})

    @configurable
    class Leaf(nn.Module):
        def __init__(self, width, bias=True):
            super().__init__()
            self.width, self.bias = width, bias

    @configurable
    class Tree(nn.Module):
        def __init__(self, *, trunk, leaves=(), named=None, note=None):
            super().__init__()
            self.trunk, self.leaves, self.named, self.note = trunk, nn.ModuleList(leaves), named, note

    return Leaf, Tree


def test_the_config_holds_every_argument_defaults_too(classes):
    leaf = classes[0](3)
    assert leaf.config == {"type": "Leaf", "width": 3, "bias": True}


def test_nested_objects_lists_and_dicts_come_back_through_json(classes):
    leaf, tree = classes
    first = tree(trunk=leaf(1), leaves=[leaf(2), leaf(3, False)], named={"top": leaf(4)}, note={"a": [1, None]})
    again = build(json.loads(json.dumps(first.config)))
    assert again.config == first.config
    assert [part.width for part in (again.trunk, *again.leaves, again.named["top"])] == [1, 2, 3, 4]
    assert again.leaves[1].bias is False and again.note == {"a": [1, None]}


def test_tuples_are_written_as_lists(classes):
    assert classes[1](trunk=None, leaves=()).config["leaves"] == []


def test_positional_and_named_arguments_are_the_same_config(classes):
    leaf = classes[0]
    assert leaf(3, False).config == leaf(bias=False, width=3).config


def test_an_unknown_type_is_named_with_those_there_are(classes):
    with pytest.raises(ConfigError, match="unknown type 'Root'.*Leaf, Tree"):
        build({"type": "Root"})


@pytest.mark.parametrize(
    ("config", "message"),
    [({"type": "Leaf"}, "width"), ({"type": "Leaf", "width": 1, "hight": 2}, "hight")],
)
def test_a_missing_or_unknown_argument_is_named(classes, config, message):
    with pytest.raises(ConfigError, match=f"config of Leaf does not fit.*{message}"):
        build(config)


def test_a_nested_config_that_does_not_fit_is_named(classes):
    with pytest.raises(ConfigError, match="unknown type 'Bark'"):
        build({"type": "Tree", "trunk": {"type": "Bark"}})
