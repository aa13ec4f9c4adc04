"""What the pages promise exists: files, links, make targets, names of the package, options of the commands."""

import ast
import importlib
import re
from functools import cache

import pytest
from repository_files import ROOT, python_files, tree, where

from tinyclap.training.recipe import Recipe

FOLDERS = (
    *("tinyclap", "tools", "data_prep", "hparams", "recipes", "tests", "weights", "docs", "demo", "benchmarks", ".ci"),
)
SUFFIXES = r"(?:py|yaml|yml|sh|md|csv|toml|cff|json|safetensors|png|npz)"
# `results/…`, `/corpora/…`, `<run>/…` and the like are made by programs or belong to the user
PATH = re.compile(
    rf"(?<![\w/.<>{{}}…-])((?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*\w|[\w-]+\.(?:py|sh|toml|cff))\b"
)
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)")
DOTTED = re.compile(r"(?<![\w./-])(tinyclap(?:\.[A-Za-z_]\w*)+)")
TARGET = re.compile(r"(?:^|[`(]|&& )make +([a-z][a-z-]*)", re.MULTILINE)
COMMAND = re.compile(r"python3? +((?:data_prep/)?\w+\.py)([^\n`]*)")
# what a Space on the hub calls its program
OF_OTHERS = {"app.py"}
# what a tutorial writes itself
WRITTEN = re.compile(r"""(?:>>? *|Path\(")([\w/.-]+\.\w+)""")
PLACEHOLDERS = re.compile(
    r"(?:^|/)(?:KIND_NAME|(?:student|teacher)_(?:NAME)?|[xyzXYZw])(?:_\w+)?(?:\.\w+|/|$)|_[xyz]\."
)


def pages():
    """The pages that a user or developer reads."""
    found = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    for folder in ("docs", "recipes", "weights"):
        found += sorted((ROOT / folder).rglob("*.md"))
    return [page for page in found if page.exists()]


@cache
def text_of(page):
    """A page with continued shell lines joined."""
    return re.sub(r" *\\\n\s*", " ", page.read_text("utf-8"))


def written_by(page):
    """Files that the code of a page makes."""
    return set(WRITTEN.findall(text_of(page)))


each_page = pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))


def test_the_scan_sees_the_pages():
    assert (ROOT / "README.md").exists()
    assert len(pages()) >= 30
    text = text_of(ROOT / "README.md")
    assert len(PATH.findall(text)) >= 8, "paths in README.md"
    assert {"demo", "test"} <= set(TARGET.findall(text)), "the two commands of README.md"


@each_page
def test_files_that_a_page_names_exist(page):
    names = (
        {name for name in PATH.findall(text_of(page)) if not PLACEHOLDERS.search(name)} - written_by(page) - OF_OTHERS
    )
    missing = [name for name in sorted(names) if not any((base / name).exists() for base in (ROOT, page.parent))]
    assert not missing


@each_page
def test_links_of_a_page_lead_somewhere(page):
    missing = [link for link in LINK.findall(text_of(page)) if not (page.parent / link).exists()]
    assert not missing


def test_every_page_of_the_documentation_is_on_its_map():
    linked = set(LINK.findall(text_of(ROOT / "docs" / "index.md")))
    written = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert len(written) >= 12
    assert written - linked == set()


def test_every_extra_is_on_the_page_that_says_what_to_install():
    setup_text = (ROOT / "setup.py").read_text("utf-8")
    extras = re.search(r"^EXTRAS = (\{.*?^\})", setup_text, re.MULTILINE | re.DOTALL).group(1)
    names = [key.value for key in ast.parse(extras, mode="eval").body.keys]
    rows = [line for line in (ROOT / "docs" / "index.md").read_text("utf-8").splitlines() if line.startswith("| `")]
    assert len(names) >= 10
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])} == set(names)


def test_the_readme_is_two_screens():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 120


@each_page
def test_make_targets_that_a_page_names_exist(page):
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {"demo", "test"} <= targets
    assert set(TARGET.findall(text_of(page))) <= targets


def resolves(dotted):
    """Whether a dotted name is a module of the package, or something inside one."""
    parts = dotted.split(".")
    for n_module_parts in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n_module_parts]))
        except ModuleNotFoundError:
            continue
        for name in parts[n_module_parts:]:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


@each_page
def test_names_of_the_package_on_a_page_resolve(page):
    made = tuple(name.removesuffix(".py").replace("/", ".") for name in written_by(page))
    names = sorted(name for name in set(DOTTED.findall(text_of(page))) if not (made and name.startswith(made)))
    wrong = [name for name in names if not resolves(name)]
    assert not wrong


def options_of_prep(script):
    """Options of a preparation script: the arguments of its prepare function, and what all scripts share."""
    names = {"help"}
    for path in (script, ROOT / "data_prep" / "common.py"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("prepare_"):
                names |= {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("add_argument"):
                names |= {
                    argument.value.removeprefix("--")
                    for argument in node.args
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                }
    return names


def options_of_recipe(path, words):
    """Options of a recipe with the parts that `words` choose, of SpeechBrain, and of the scripts themselves."""
    from speechbrain.utils.run_opts import RunOptions

    parts = Recipe(path, is_complete=False).parts
    chosen = {name: value for name, value in re.findall(r"--([\w.]+)[ =]([\w./-]+)", words) if name in parts}
    # a part that the page writes itself is not there
    chosen = {name: value for name, value in chosen.items() if value != "…" and not value.endswith(".yaml")}
    recipe = Recipe(path, chosen, is_complete=False)
    keys = recipe.keys()
    of_scripts = {"help", "import", "profile", "n_processes", "ray", "verify"}
    return {*keys, *(key.key for key in keys.values()), *parts, *RunOptions().as_dict(), *of_scripts}


@each_page
def test_commands_on_a_page_have_options_that_exist(page):
    wrong = []
    for script, rest in COMMAND.findall(text_of(page)):
        given = {option.removeprefix("no-") for option in re.findall(r"(?<!\S)--([\w.-]+)", rest)}
        configuration = re.search(r"hparams/[\w/.-]+\.yaml", rest)
        if script.startswith("data_prep/") and (ROOT / script).exists():
            known = options_of_prep(ROOT / script)
        elif configuration and (ROOT / configuration.group()).exists():
            known = options_of_recipe(ROOT / configuration.group(), rest)
        else:
            continue
        wrong += [f"{script} {configuration.group() if configuration else ''}: --{name}" for name in given - known]
    assert not wrong


def test_the_bounds_of_torch_stand_in_one_place():
    # the Makefile repeats them for the CPU build, which pip must get from another index before anything else
    setup_text, makefile = ((ROOT / name).read_text("utf-8") for name in ("setup.py", "Makefile"))
    bounds = re.findall(r'"(torch(?:audio)?>=[\d.]+)"', setup_text)
    assert len(bounds) == 2
    assert sorted(re.findall(r'"(torch(?:audio)?>=[\d.]+)"', makefile)) == sorted(bounds)


def test_the_version_has_an_entry_in_the_changelog():
    version = importlib.import_module("tinyclap").__version__
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"## [{version}]" in changelog
    assert "### Changes that move numbers" in changelog
    assert f'version: "{version}"' in (ROOT / "CITATION.cff").read_text("utf-8")


def test_no_page_names_a_folder_of_a_machine():
    texts = {where(page): page.read_text("utf-8") for page in pages()}
    texts |= {where(path): path.read_text("utf-8") for path in python_files("recipes")}
    assert len(texts) >= 8
    assert not [name for name, text in texts.items() if re.search(r"(?<![\w.])/(home|Users|mnt|root|work)/", text)]
