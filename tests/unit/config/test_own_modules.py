"""Modules of one's own are found by name beside the recipe or in the current folder, and clashes are refused."""

import sys

import pytest

from tinyclap.config import import_modules
from tinyclap.config.own_modules import imported_class
from tinyclap.errors import ConfigError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A recipe's folder with two modules; the current folder is another one."""
    for name in ("recipe", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "recipe" / "lark_net.py").write_text("WIDTH = 3\n")
    (tmp_path / "work" / "lark_loss.py").write_text("WEIGHT = 0.5\n")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path / "recipe"
    for name in [name for name in sys.modules if name.startswith("lark")]:
        del sys.modules[name]


def test_modules_of_both_folders_are_imported(folder):
    net, loss = import_modules(["lark_net", "lark_loss"], folder)
    assert (net.WIDTH, loss.WEIGHT) == (3, 0.5)
    assert import_modules("lark_net, lark_loss", folder) == [net, loss]
    assert import_modules("") == []


def test_a_recipe_finds_its_modules_without_naming_them(folder):
    assert import_modules([], folder) == []
    assert __import__("lark_net").WIDTH == 3


def test_packages_and_installed_modules_are_taken(folder):
    (folder / "lark_nets").mkdir()
    (folder / "lark_nets" / "__init__.py").write_text("")
    (folder / "lark_nets" / "small.py").write_text("WIDTH = 1\n")
    assert [module.__name__ for module in import_modules(["lark_nets.small", "numpy"], folder)] == [
        "lark_nets.small",
        "numpy",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lark_net.py", "no such file; give a module"),
        ("../recipe/lark_net", "no such file"),
        ("../recipe", "no such file"),
        ("lark-net", "no name of a module"),
        ("lark_tree", "there is no lark_tree.py in "),
        ("json", "json is a module of Python itself"),
        ("tinyclap.models", "tinyclap is tinyclap's own"),
        ("lark_net.small", "does not import"),
    ],
)
def test_a_name_that_is_no_module_s_is_refused_with_advice(folder, name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        import_modules([name], folder)
    assert "\n" not in str(caught.value)


def test_a_path_is_taken(folder):
    (net,) = import_modules("../recipe/lark_net.py")
    assert (net.__name__, net.WIDTH) == ("lark_net", 3)
    (folder / "other").mkdir()
    (folder / "other" / "lark_net.py").write_text("")
    with pytest.raises(ConfigError, match="have that name"):
        import_modules([folder / "other" / "lark_net.py"])


def test_a_class_is_found_where_its_module_was_imported(folder):
    (folder / "lark_net.py").write_text("class Lark(dict): ...\n")
    with pytest.raises(ConfigError, match="lark_net.Lark is a class of one's own; give --import lark_net"):
        imported_class("lark_net.Lark")
    (net,) = import_modules("lark_net", folder)
    assert imported_class("lark_net.Lark", dict) is net.Lark
    for name, parent in (("lark_net.Lark", list), ("lark_net.Wren", dict), ("lark_net.__name__", object)):
        with pytest.raises(ConfigError, match="the module lark_net has no class"):
            imported_class(name, parent)


def test_a_name_that_stands_for_two_files_is_refused(folder):
    (folder.parent / "work" / "lark_net.py").write_text("WIDTH = 4\n")
    with pytest.raises(ConfigError, match="have that name; rename one of them"):
        import_modules(["lark_net"], folder)
    (folder / "numpy.py").write_text("")
    with pytest.raises(ConfigError, match="have that name"):
        import_modules(["numpy"], folder)


def test_a_module_that_fails_says_why_in_one_line(folder):
    (folder / "lark_broken.py").write_text("import lark_missing\n")
    with pytest.raises(ConfigError, match="lark_broken: does not import.*No module named 'lark_missing'"):
        import_modules(["lark_broken"], folder)
