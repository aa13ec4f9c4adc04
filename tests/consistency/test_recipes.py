"""tests/recipes.csv lists every YAML that can be launched, with what belongs to it."""

import csv
import re
from pathlib import Path

import pytest
from repository_files import ROOT, launchable_yaml_files, python_files, where

from tinyclap.training.command_line import parse_command_line
from tinyclap.training.recipe import Recipe

COLUMNS = ["hparams", "prep", "readme", "flags", "check"]


def rows():
    """Rows of the table, as dictionaries; empty where there is no table, which the first test reports."""
    table = ROOT / "tests" / "recipes.csv"
    if not table.exists():
        return []
    with table.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_the_table_has_its_columns_and_rows():
    assert len(rows()) >= 5, "tests/recipes.csv is missing or nearly empty"
    assert list(rows()[0]) == COLUMNS


def test_every_launchable_yaml_has_a_row():
    listed = {row["hparams"] for row in rows()}
    launchable = {where(path) for path in [*launchable_yaml_files(), *(ROOT / "hparams" / "reference").glob("*.yaml")]}
    assert len(launchable) >= 5
    assert launchable - listed == set(), "add a row to tests/recipes.csv"
    assert listed - launchable == set(), "rows of files that are gone"


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row['hparams']} {row['flags'] or ''}".strip())
def test_a_row_names_files_that_exist(row):
    for column in ("hparams", "prep", "readme"):
        # several preparation scripts are separated by blanks
        names = row[column].split()
        assert names or column == "prep", f"{column} is empty"
        for name in names:
            assert (ROOT / name).is_file(), name
    assert row["check"], "a recipe without a numeric check can pass on nothing"


def filled(text, folder):
    """The words of a row's flags, with folders and files that are there."""
    places = {"out": folder / "out", "fakes": folder / "fakes", "tagger": folder / "mn01.pt"}
    places["tagger"].touch()
    words = [word.format(**places) for word in text.split()]
    for word in words:
        if word.startswith(str(folder)) and not word.endswith(".pt"):
            Path(word).mkdir(parents=True, exist_ok=True)
            (Path(word) / "config.json").touch()  # of a trained model, as far as a first look tells
    return words


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row['hparams']} {row['flags'] or ''}".strip())
def test_the_flags_of_a_row_are_keys_of_its_recipe(row, tmp_path):
    words = filled(row["flags"], tmp_path)
    _, _, options = parse_command_line([row["hparams"], *words])
    assert len(options) >= 2
    settings = Recipe(ROOT / row["hparams"], options).settings()
    assert settings["output_folder"]


def test_every_preparation_script_is_in_the_table():
    scripts = {where(path) for path in python_files("data_prep") if path.stem.endswith("_prepare")}
    assert len(scripts) >= 8
    listed = {name for row in rows() for name in row["prep"].split()}
    assert scripts - listed == set()


def test_every_corpus_has_a_page_with_what_a_user_needs():
    pages = sorted((ROOT / "recipes").glob("*/README.md"))
    corpora = [page for page in pages if "_prepare.py" in page.read_text("utf-8")]
    assert len(corpora) >= 7
    for page in corpora:
        text = page.read_text("utf-8")
        for heading in ("Licence", "Download", "Expected", "Commands"):
            assert re.search(rf"^## {heading}", text, re.MULTILINE), f"{where(page)} has no section {heading}"
