"""Recipes: options reach keys and parts, parts are chosen by name, misspelt keys are named, none is added silently."""

import pytest
import torch

from tinyclap.errors import ConfigError
from tinyclap.training.recipe import Recipe, load_hparams

RECIPE = """\
# Trains a thing.
#
#   train.py recipe.yaml --data_folder …

seed: 3
output_folder: !ref results/<seed>
data_folder: !PLACEHOLDER       # of the corpus
folds: null
dim: 16
n_layers: 2                     # of both
term_weights:
    text: 1.0
    hint: 0.5
student: !include:parts/student_small.yaml
    dim: !ref <dim>
    short: pad
teacher: !include:parts/teacher_x.yaml
net: !ref <student[net]>
modules:
    student: !ref <net>
epoch_counter: !new:speechbrain.utils.epoch_loop.EpochCounter
    limit: 2
"""
PARTS = {
    "student_small": "alpha: 1.5  # width multiplier\nshort: tile  # tile | pad\ndim: !PLACEHOLDER\nextra: {}\n"
    "nothing: null\nsizes: {a: 1, b: 2}\n"
    "net: !new:torch.nn.Linear\n    in_features: 4\n    out_features: !ref <dim>\n",
    "student_deep": "dim: !PLACEHOLDER\ndepth: 3\n"
    "net: !new:torch.nn.Linear\n    in_features: !ref <depth>\n    out_features: !ref <dim>\n",
    "student_wide": "dim: !PLACEHOLDER\nshort: tile\n"
    "net: !new:torch.nn.Linear {in_features: 5, out_features: !ref <dim>}\n",
    "teacher_x": "alpha: 2.0\nweights: download\n",
}


@pytest.fixture
def path(tmp_path):
    (tmp_path / "parts").mkdir()
    for name, text in PARTS.items():
        (tmp_path / f"parts/{name}.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "data").mkdir()
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("!PLACEHOLDER  ", f"{tmp_path}/data"), encoding="utf-8")
    return recipe


def test_options_reach_references_and_maps(path):
    hparams = load_hparams(path, {"seed": "4", "term_weights": "{hint: 0}", "folds": "[1, 2]", "dim": "8"})
    assert hparams["output_folder"] == "results/4" and hparams["term_weights"] == {"text": 1.0, "hint": 0}
    assert hparams["folds"] == [1, 2] and hparams["net"].out_features == 8


def test_values_may_be_given_as_they_are(path):
    hparams = load_hparams(path, {"seed": 4, "term_weights": {"hint": 0}, "output_folder": path.parent.name})
    assert hparams["seed"] == 4 and hparams["term_weights"] == {"text": 1.0, "hint": 0}


def test_an_object_of_a_part_is_built_once(path):
    hparams = load_hparams(path)
    assert hparams["net"] is hparams["student"]["net"] is hparams["modules"]["student"]
    assert isinstance(hparams["net"], torch.nn.Linear)


@pytest.mark.parametrize(
    ("options", "part", "key", "value"),
    [
        ({"short": "tile"}, "student", "short", "tile"),
        ({"student.alpha": "0.5"}, "student", "alpha", 0.5),
        ({"teacher.alpha": "0.5"}, "teacher", "alpha", 0.5),
        ({"weights": "none"}, "teacher", "weights", "none"),
        ({"student.dim": "5"}, "student", "dim", 5),
        ({"dim": "5"}, "student", "dim", 5),
        ({"extra": "{a: 1}"}, "student", "extra", {"a": 1}),
        ({"nothing": "{a: {b: [1, 2]}}"}, "student", "nothing", {"a": {"b": [1, 2]}}),
        ({"sizes": "{a: 3}"}, "student", "sizes", {"a": 3, "b": 2}),
        ({"student": "deep", "depth": "7"}, "student", "depth", 7),
    ],
)
def test_options_reach_the_keys_of_parts(path, options, part, key, value):
    assert load_hparams(path, options)[part][key] == value


def test_a_key_of_a_map_can_be_given_alone(path):
    assert load_hparams(path, {"term_weights.hint": "2"})["term_weights"] == {"text": 1.0, "hint": 2}


def test_a_key_that_follows_from_a_part_leaves_the_option_to_the_part(path):
    path.write_text(path.read_text(encoding="utf-8") + "depth: !ref <student[depth]>\n", encoding="utf-8")
    assert load_hparams(path, {"student": "deep", "depth": "7"})["depth"] == 7


def test_another_part_is_taken_by_name_or_file(path, tmp_path):
    assert load_hparams(path, {"student": "deep"})["net"].in_features == 3
    mine = tmp_path / "elsewhere" / "mine.yaml"
    mine.parent.mkdir()
    mine.write_text(PARTS["student_deep"].replace("3", "9"), encoding="utf-8")
    assert load_hparams(path, {"student": str(mine)})["net"].in_features == 9
    assert "student_small" in path.read_text(encoding="utf-8"), "the file stays as it was"


def test_another_part_has_references_but_not_the_values_meant_for_the_first(path):
    student = load_hparams(path, {"student": "wide", "dim": "8"})["student"]
    assert student["dim"] == 8 and student["short"] == "tile"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"alpha": "1"}, ["--student.alpha", "--teacher.alpha"]),
        ({"sed": "1"}, ["--sed", "--seed"]),
        ({"shrt": "tile"}, ["--shrt", "--short"]),
        ({"student.shrt": "tile"}, ["--student.shrt", "--student.short"]),
        ({"precison": "bf16"}, ["--precison", "--precision"]),
        ({"student": "deeep"}, ["--student", "deep, small"]),
        ({"student": "null"}, ["--student", "deep, small"]),
        ({"student": "none/mine.yaml"}, ["--student", "none/mine.yaml"]),
        ({"student": "deep", "short": "tile"}, ["--short", "depth"]),
        ({"term_weights": "{hnt: 1}"}, ["--term_weights", "hnt", "hint"]),
        ({"term_weights.hnt": "1"}, ["--term_weights.hnt"]),
        ({"sizes": "{c: 1}"}, ["--sizes", "a, b"]),
        ({"epoch_counter": "3"}, ["--epoch_counter", "EpochCounter"]),
        ({"net": "3"}, ["--net"]),
        ({"seed": "x"}, ["--seed"]),
        ({"short": "tiles"}, ["--short", "tile, pad"]),
        ({"student.alpha": "0,5"}, ["--student.alpha"]),
        ({"data_folder": "/none"}, ["--data_folder"]),
        ({"__set_seed": "1"}, ["--__set_seed"]),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(path, options, named):
    with pytest.raises(ConfigError) as caught:
        load_hparams(path, options)
    message = str(caught.value)
    assert all(name in message for name in named) and "\n" not in message


def test_what_must_be_given_is_named(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("data_folder: !PLACEHOLDER\nstudent: !include:part.yaml\n", encoding="utf-8")
    (tmp_path / "part.yaml").write_text("weights: !PLACEHOLDER\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="--data_folder …, --student.weights …"):
        Recipe(path)
    with pytest.raises(ConfigError, match="--data_folder …"):
        Recipe(path, {"data_folder": "null", "weights": "w"})
    (tmp_path / "data").mkdir()
    assert load_hparams(path, {"data_folder": str(tmp_path / "data"), "weights": "w"})["student"] == {"weights": "w"}


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("    short: pad", "    shrt: pad", ["shrt", "short"]),
        ("student_small.yaml", "student_smal.yaml", ["student_smal.yaml"]),
        ("seed: 3", "seed: three", ["--seed"]),
        ("EpochCounter", "EpochCount", ["EpochCount"]),
        ("limit: 2", "limits: 2", ["EpochCounter", "limits"]),
        ("speechbrain.utils", "my_net", ["my_net"]),
        ("<student[net]>", "<student[nets]>", ["student[nets"]),
    ],
)
def test_a_fault_in_the_yaml_is_named_with_the_file(path, old, new, named):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_hparams(path)
    message = str(caught.value)
    assert "recipe.yaml" in message and all(name in message for name in named) and "\n" not in message


@pytest.mark.parametrize("content", [b"", b"[1]", b"a,b", b"\x89PNG", b"a: [", b"a: 1\na: 2\n"])
def test_a_file_that_is_no_recipe_is_named(tmp_path, content):
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match="a.yaml"):
        load_hparams(str(tmp_path / "a.yaml"))


def test_a_recipe_that_is_not_there_is_answered_with_those_that_are(path):
    with pytest.raises(ConfigError, match=r"recip\.yaml; there are: .*recipe\.yaml"):
        Recipe(path.with_name("recip.yaml"))


def test_a_module_of_one_s_own_beside_the_recipe_is_found(tmp_path):
    (tmp_path / "own_counter.py").write_text("class Own:\n    def __init__(self, n):\n        self.n = 1 / n\n")
    path = tmp_path / "own.yaml"
    path.write_text("n: 2\nown: !new:own_counter.Own\n    n: !ref <n>\n", encoding="utf-8")
    assert load_hparams(path)["own"].n == 0.5
    path.write_text("own: !new:own_counter.Own\n    n: 0\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"own\.yaml: .*ZeroDivisionError.*own_counter\.py, line 3"):
        load_hparams(path)
    (tmp_path / "own_broken.py").write_text("import tinyclap.no_such_module\n")
    path.write_text("own: !new:own_broken.Own\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no_such_module"):
        load_hparams(path)


def test_an_incomplete_recipe_is_built_with_null_for_what_is_missing(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("data_folder: !PLACEHOLDER\nstudent: !include:part.yaml {width: 3}\n", encoding="utf-8")
    (tmp_path / "part.yaml").write_text("weights: !PLACEHOLDER\nwidth: 2\n", encoding="utf-8")
    hparams = Recipe(path, is_complete=False).build()
    assert hparams == {"data_folder": None, "student": {"weights": None, "width": 3}}


def test_the_resolved_text_has_neither_includes_nor_references(path):
    text = Recipe(path, {"seed": "9"}).resolved()
    assert "output_folder: results/9" in text and "!include" not in text and "!ref" not in text


def test_settings_tell_runs_apart_and_not_where_they_lie(path):
    def settings(**options):
        return Recipe(path, options).settings(output_folder=".")

    assert settings() == settings(output_folder="elsewhere") == settings(seed="3")
    assert settings() != settings(seed="4") and settings() != settings(student="deep")
    assert settings(**{"student.alpha": "1.50"}) == settings()


def test_help_has_the_head_the_keys_and_the_parts(path):
    text = Recipe(path, is_complete=False).help()
    for words in ("Trains a thing.", "--seed 3", "of both", "--student", "deep | small", "width multiplier"):
        assert words in text
    assert "epoch_counter" not in text and "net:" not in text


# Demonstration --------------------------------------------------------------------------------------------------------


@pytest.fixture
def demo(tmp_path):
    for folder in ("demo", "parts"):
        (tmp_path / folder).mkdir()
    for name in ("corpora_some", "corpora_more", "teacher_one", "teacher_two"):
        (tmp_path / f"parts/{name}.yaml").write_text(
            "audio_folder: null\nteacher_weights: download\n", encoding="utf-8"
        )
    text = "clotho_folder: null\nseed: 1\noutput_folder: out\nloss: cosine  # cosine | mse\n"
    text += "corpora: !include:parts/corpora_some.yaml\nteacher: !include:parts/teacher_one.yaml {audio_folder: null}\n"
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    text = text.replace("  # cosine | mse", "").replace("parts/", "../parts/")
    (tmp_path / "demo/a.yaml").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("options", [{}, {"seed": "2"}, {"output_folder": "x"}, {"clotho_folder": "null"}])
def test_without_data_and_teacher_a_recipe_is_its_demonstration(demo, options):
    assert Recipe(demo / "a.yaml", options).demonstration() == demo / "demo/a.yaml"


@pytest.mark.parametrize(
    "options",
    [
        {"clotho_folder": "."},
        {"teacher": "two"},
        {"corpora": "more"},
        {"teacher.teacher_weights": "z"},
        {"corpora.audio_folder": "."},
    ],
)
def test_the_user_s_own_data_or_teacher_are_never_mixed_with_the_demonstration(demo, options):
    assert Recipe(demo / "a.yaml", options).demonstration() is None


def test_a_recipe_that_names_a_corpus_itself_is_no_demonstration(demo):
    path = demo / "a.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("null", "/data/clotho", 1), encoding="utf-8")
    assert Recipe(path).demonstration() is None


def test_a_recipe_without_a_demonstration_is_itself(path):
    assert Recipe(path).demonstration() is None


def test_choices_of_a_demonstration_are_those_of_its_recipe(demo):
    with pytest.raises(ConfigError, match="cosine, mse"):
        Recipe(demo / "demo/a.yaml", {"loss": "cosin"})
