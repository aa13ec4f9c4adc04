"""Objects come back from their config, and a config that does not fit says why."""

import json
import sys

import pytest
from torch import nn

from tinyclap.config import registry
from tinyclap.config.registry import build, configurable, unknown_class
from tinyclap.errors import ConfigError


@pytest.fixture
def classes(monkeypatch):
    """Two classes of a registry of their own."""
    monkeypatch.setattr(registry, "_CLASSES", {})

    @configurable
    class Leaf(nn.Module):
        __module__ = "tinyclap.trees"

        def __init__(self, width, bias=True):
            super().__init__()
            self.width, self.bias = width, bias

    @configurable
    class Tree(nn.Module):
        __module__ = "tinyclap.trees"

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


# Classes of one's own -------------------------------------------------------------------------------------------------


@pytest.fixture
def own(classes):
    """A class that a user defines in my_trees.py."""

    def define(name="Bush"):
        return configurable(type(name, (nn.Module,), {"__module__": "my_trees", "__init__": __init__}))

    def __init__(self, width=2, **more):
        nn.Module.__init__(self)
        self.width, self.more = width, more

    return define


def test_a_class_of_one_s_own_names_its_module_and_comes_back(classes, own):
    bush = own()(3, colour="green")
    assert bush.config == {"type": "Bush", "module": "my_trees", "width": 3, "colour": "green"}
    tree = build(json.loads(json.dumps(classes[1](trunk=bush).config)))
    assert (tree.trunk.width, tree.trunk.more) == (3, {"colour": "green"})


def test_a_module_that_is_not_imported_is_asked_for_and_not_imported(classes):
    config = {"type": "Tree", "trunk": {"type": "Moss", "module": "this"}}
    with pytest.raises(ConfigError, match=r"needs the class Moss of this\.py: give --import this"):
        build(config)
    assert "this" not in sys.modules
    assert "has no class Moss" in unknown_class({"type": "Moss", "module": "json"})
    assert "script or notebook" in unknown_class({"type": "Moss", "module": "__main__"})
    assert unknown_class({"type": ["Moss"], "module": {}}) is not None


def test_a_name_of_ours_is_refused_and_one_s_own_class_may_be_defined_again(classes, own):
    with pytest.raises(ConfigError, match="my_trees: tinyclap has a class Leaf"):
        own("Leaf")
    assert build(own()(1).config).width == build(own()(2).config).width - 1


def test_a_subclass_without_the_decorator_says_what_is_missing(classes):
    class Twig(classes[0]):
        pass

    with pytest.raises(ConfigError, match="Twig cannot be saved: write @configurable"):
        _ = Twig(1).config
    with pytest.raises(ConfigError, match="Twig cannot be saved"):
        _ = classes[1](trunk=Twig(1)).config


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (nn.ReLU(), "trunk is a ReLU"),
        ({"a": nn.ReLU}, r"trunk\.a is a type"),
        ([{"type": "x"}], "trunk is a dict"),
        ({1: 2}, "trunk is a dict"),
    ],
    ids=str,
)
def test_an_argument_that_json_cannot_hold_is_named(classes, value, message):
    with pytest.raises(ConfigError, match=f"Tree: {message}"):
        _ = classes[1](trunk=value).config


@pytest.mark.parametrize("argument", ["*widths", "type", "module=None"])
def test_constructors_that_cannot_be_rebuilt_are_refused_at_once(classes, argument):
    scope = {}
    exec(f"def __init__(self, {argument}): ...", scope)
    with pytest.raises(ConfigError, match="its constructor cannot take"):
        configurable(type("Shrub", (), {"__init__": scope["__init__"]}))
