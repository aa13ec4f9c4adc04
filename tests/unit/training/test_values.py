"""Values of a recipe: each kind of key takes what can be meant, and refuses the rest by its name."""

import pytest

from tinyclap.errors import ConfigError
from tinyclap.training.values import check_place, check_value, choices_in, read_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-1", -1),
        ("null", None),
        ("True", True),
        ("{hint: 0}", {"hint": 0}),
        ("this is the sound of {}", "this is the sound of {}"),
        ('"{} can be heard"', "{} can be heard"),
    ],
)
def test_text_is_read_as_yaml(text, value):
    assert read_value("key", text, None) == value


@pytest.mark.parametrize("text", ["007", "1e3", "2024", "True", "2024-01-01"])
def test_a_text_stays_as_typed(text):
    assert read_value("output_folder", text, "results") == text
    assert read_value("data_folder", text, None) == text


def test_what_is_no_yaml_is_refused_with_advice():
    with pytest.raises(ConfigError, match="--prompt: .*'\"{} can be heard\"'"):
        read_value("prompt", "{} can be heard", None)


@pytest.mark.parametrize(
    ("name", "value", "default", "comment"),
    [
        ("lr", 0.1, 0.001, ""),
        ("lr", 1, 0.001, ""),
        ("student.alpha", 1.5, 3, ""),
        ("seed", 0, 1234, ""),
        ("n_workers", 0, 2, ""),
        ("n_views", 16, None, ""),
        ("ema_decay", None, 0.99, ""),
        ("embed_width", None, 2048, "null leaves it out"),
        ("target_device", None, "cpu", ""),
        ("nested_dims", [32, 64], None, ""),
        ("folds", [1, 10], None, "a list of some: 1 | 2 | 10; null: all"),
        ("train_split", ["train", "val"], "train", "train | val | test"),
        ("short", "pad", "tile", "tile | pad; the official code pads"),
        ("n_events", 2, None, "in a scene: 1 | 2; null: one or two"),
        ("weights", ["a", "b"], "download", ""),
        ("keep_audio_in_memory", False, True, ""),
        ("valid_fraction", 0, 0.1, ""),
        ("tag_low", -3.5, -3.0, ""),
        ("terms", {"text": {"weight": 0.5}}, {"text": {"weight": 0.0}}, ""),
    ],
)
def test_what_can_be_meant_is_taken(name, value, default, comment):
    assert check_value(name, value, default, comment) == value


def test_a_whole_number_written_with_an_exponent_is_one():
    found = check_value("n_soundscapes", 1e3, 800)
    assert found == 1000 and isinstance(found, int)


@pytest.mark.parametrize(
    ("name", "value", "default", "comment"),
    [
        ("lr", "0,001", 0.001, ""),
        ("lr", "fast", 0.001, ""),
        ("lr", -1, 0.001, ""),
        ("lr", 0, 0.001, ""),
        ("lr", float("nan"), 0.001, ""),
        ("lr", float("inf"), 0.001, ""),
        ("lr", True, 0.001, ""),
        ("lr", None, 0.001, ""),
        ("lr", [0.1], 0.001, ""),
        ("lr", {"a": 1}, 0.001, ""),
        ("lr", "0,001", "0,001", ""),
        ("seed", "x", 1234, ""),
        ("seed", -1, 1234, ""),
        ("seed", 2**32, 1234, ""),
        ("seed", 1.5, None, ""),
        ("n_soundscapes", 8.5, 800, ""),
        ("n_soundscapes", 0, 800, ""),
        ("n_clips", 8.5, None, ""),
        ("batch_size", 0, 32, ""),
        ("batch_size", 8.5, 32, ""),
        ("number_of_epochs", "ten", 40, ""),
        ("number_of_epochs", 2.5, 40, ""),
        ("valid_fraction", 1.5, 0.0, ""),
        ("dropout", -0.1, 0.2, ""),
        ("warmup_fraction", "10%", 0.1, ""),
        ("clip_duration_s", 0, 5.0, ""),
        ("sample_rate_hz", -44100, None, ""),
        ("weight_decay", -0.1, 0.0, ""),
        ("student.embed_dim", 0, 1024, ""),
        ("keep_audio_in_memory", "yes", False, ""),
        ("keep_audio_in_memory", 1, False, ""),
        ("keep_audio_in_memory", None, False, ""),
        ("short", "tiles", "tile", "tile | pad"),
        ("short", 5, "tile", ""),
        ("n_events", 3, None, "1 | 2; null: one or two"),
        ("nested_dims", 32, None, ""),
        ("nested_dims", [32, 0], None, ""),
        ("folds", "five", None, ""),
        ("folds", [9], None, "a list of some: 1 | 2 | 3 | 4 | 5; null: all"),
        ("esc50_folds", [1, 2, 6], [1, 2, 3], "a list of some: 1 | 2 | 3 | 4 | 5"),
        ("folds", 3, None, "a list of some: 1 | 2 | 3"),
        ("train_split", ["train", "vall"], "train", "train | val | test"),
        ("terms", {"text": {"weight": float("nan")}}, {"text": {"weight": 0.0}}, ""),
        ("terms", {"text": {"weight": "much"}}, {"text": {"weight": 0.0}}, ""),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(name, value, default, comment):
    with pytest.raises(ConfigError) as caught:
        check_value(name, value, default, comment)
    assert f"--{name}" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("comment", "choices"),
    [
        ("tile | pad", ["tile", "pad"]),
        ("cosine (the paper's) | mse | centred, as elsewhere", ["cosine", "mse", "centred"]),
        ("in a scene: 1 | 2; null: one or two", ["1", "2"]),
        ("null | a path of yours", []),
        ("width multiplier", []),
        ("", []),
    ],
)
def test_choices_stand_in_comments(comment, choices):
    assert choices_in(comment) == choices


def test_a_folder_that_is_not_there_is_refused_unless_the_run_makes_it(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    for name, value in (("data_folder", "none"), ("teacher.audio_folder", "none"), ("clotho_folder", "file")):
        with pytest.raises(ConfigError, match=f"--{name}"):
            check_place(name, str(tmp_path / value))
    for name in ("output_folder", "soundscapes_folder", "manifest_folder"):
        check_place(name, str(tmp_path / "none"))
    check_place("data_folder", str(tmp_path))
    check_place("data_folder", str(tmp_path / "none"), default="results/soundscapes")  # a corpus that writes itself
    with pytest.raises(ConfigError, match="a file is there"):
        check_place("output_folder", str(tmp_path / "file"))


@pytest.mark.parametrize("value", ["none.pt", "/none/run", "results/train_clap/none", "./none"])
def test_weights_that_are_not_there_are_refused(value):
    with pytest.raises(ConfigError, match="--teacher_weights"):
        check_place("teacher_weights", value)


@pytest.mark.parametrize("value", ["download", "laion/clap-htsat-unfused", "mn04"])
def test_a_name_of_published_weights_is_left_to_the_teacher(value):
    check_place("weights", value)


def test_a_folder_of_weights_without_a_model_is_refused(tmp_path):
    (tmp_path / "run/student").mkdir(parents=True)
    with pytest.raises(ConfigError, match="--weights"):
        check_place("weights", str(tmp_path / "run"))
    (tmp_path / "run/student/config.json").write_text("{}", encoding="utf-8")
    check_place("weights", str(tmp_path / "run"))


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ConfigError, match=f"--target_device {device}"):
        check_place("target_device", device)
    check_place("target_device", "cpu")
