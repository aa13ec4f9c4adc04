"""The exported text side says what torch's says: sentence encoders with a tag space, and towers of our own."""

import logging

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")
pytest.importorskip("onnxscript", reason="exporting is an extra: pip install 'tinyclap[export]'")

from tests import tiny  # noqa: E402
from tests.unit.small_sentences import small_sentence_encoder  # noqa: E402
from tinyclap.errors import CheckpointError, ConfigError  # noqa: E402
from tinyclap.export.text_side import _parity, write_text_side  # noqa: E402
from tinyclap.files import sha256_of  # noqa: E402
from tinyclap.models.text import WordTextTower  # noqa: E402
from tinyclap.runtime.session import open_session  # noqa: E402
from tinyclap.runtime.text_side import TagSpace, TextTower, open_text_side  # noqa: E402
from tinyclap.teachers import make_teacher  # noqa: E402
from tinyclap.teachers.tag_text import TagSpaceText, label_readings  # noqa: E402
from tinyclap.teachers.text_towers import text_identity, text_side_of, text_tower  # noqa: E402
from tinyclap.text.word_ids import WordIds  # noqa: E402

LABELS = ["Dog, bark", "Rain", "Siren (tag)"]
PROMPTS = [["dog barking", "the sound of dog barking"], ["rain", "the sound of rain"], ["rain", "sirens"]]


class _TagTeacher:
    """A teacher whose text side is a tag space, as a run of ours has it; `kept`: with some of its dimensions."""

    kind = "checkpoint"

    def __init__(self, side, kept=None):
        self.text_embedder, self.kept = side, kept
        self.default_templates = side.default_templates


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return small_sentence_encoder(tmp_path_factory.mktemp("sentences"))


@pytest.fixture(scope="module")
def tag_space(encoder, tmp_path_factory):
    """A tag space's text side: (torch's, the folder, the folder's config)."""
    side = TagSpaceText(LABELS, [0.1, 0.02, 0.0], encoder, temperature=0.1)
    folder = tmp_path_factory.mktemp("tag_space")
    about, files = write_text_side(folder, _TagTeacher(side), ["dog"])
    return side, folder, {"text": about, "files": {name: sha256_of(folder / name) for name in files}}


@pytest.fixture(scope="module")
def clap(tmp_path_factory):
    """A trained CLAP's own tower: (torch's, the folder, the folder's config)."""
    folder = tmp_path_factory.mktemp("clap")
    teacher = make_teacher("checkpoint", weights=tiny.saved_clap(folder / "run")).load()
    about, files = write_text_side(folder, teacher)
    return teacher, folder, {"text": about, "files": {name: sha256_of(folder / name) for name in files}}


def test_a_tag_space_gives_torch_s_vectors(tag_space):
    side, folder, config = tag_space
    ours = open_text_side(folder, config, 1)
    theirs = side.embed_classes(PROMPTS).numpy()
    assert ours.score_kind == "sqrt_dot" and ours.default_templates == ("{}", "the sound of {}")
    assert ours.embed_classes(PROMPTS).dtype == np.float32
    np.testing.assert_allclose(ours.embed_classes(PROMPTS), theirs, rtol=0.03)
    assert (
        np.ptp(theirs, axis=0) > 0.1 * theirs.max(axis=0)
    ).all()  # rows that differ, or the line above shows nothing


def test_the_text_side_of_a_cut_model_loses_the_same_columns(tag_space):
    _, folder, config = tag_space
    cut = open_text_side(folder, {**config, "text": {**config["text"], "kept": [2, 0]}}, 1)
    whole = open_text_side(folder, config, 1)
    np.testing.assert_array_equal(cut.embed_classes(PROMPTS), whole.embed_classes(PROMPTS)[:, [2, 0]])


def test_what_it_was_made_of_is_noted(tag_space, encoder):
    side, _, config = tag_space
    sha256 = sha256_of(f"{encoder}/model.safetensors")
    assert config["text"]["identity"]["sha256"] == sha256 == text_identity(_TagTeacher(side))["sha256"]
    assert config["text"]["parity"]["least_cosine"] > 0.999 and config["text"]["max_tokens"] == 64


def test_a_clap_s_own_tower_gives_unit_rows_near_torch_s(clap):
    teacher, folder, config = clap
    ours = open_text_side(folder, config, 1)
    found, wanted = ours.embed_classes(PROMPTS), teacher.embed_classes(PROMPTS).numpy()
    assert ours.score_kind == "cosine" and config["text"]["tokenizer"] == "hashed words"
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose((found * wanted).sum(axis=1), 1, atol=1e-3)
    assert abs(wanted[0] @ wanted[1]) < 0.99


def test_a_text_alone_and_among_others_has_one_vector(tag_space, clap):
    for _, folder, config in (tag_space, clap):
        ours = open_text_side(folder, config, 1)
        texts = ["rain", "dog barking and a siren in the rain", "dog", "rain"] + [f"tag {index}" for index in range(70)]
        together = ours.embed_text(texts)
        np.testing.assert_array_equal(together[0], together[3])
        for index in (0, 1, 72):
            np.testing.assert_allclose(ours.embed_text([texts[index]])[0], together[index], rtol=1e-4, atol=1e-6)


def test_the_tag_space_is_the_formula_worked_by_hand():
    space = TagSpace(
        np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]), np.array([0, 0, 1]), np.array([0.03, 0.24]), 0.5, 0.01
    )
    powers = np.exp(np.array([1.0, 0.6]) / 0.5)  # the best reading of each label
    np.testing.assert_allclose(space(np.array([[1.0, 0.0]]))[0], powers / powers.sum() / [0.2, 0.5], rtol=1e-6)
    assert label_readings(LABELS[0]) == ["dog, bark", "dog", "bark"]


def test_words_are_numbered_as_the_tower_does_it():
    tower = WordTextTower(["a", "dog"], embed_dim=8, width=16)
    ids, mask = tower.encode(["A dog, a DOG!", "thunder", "…"])
    assert ids.tolist() == [[2, 3, 2, 3], [1, 0, 0, 0], [1, 0, 0, 0]] and mask.sum().item() == 6
    assert WordIds(["a", "dog"], max_words=2)(["A dog, a DOG!"]) == [[2, 3]]
    hashed = WordIds(None, n_buckets=8)
    assert hashed.n_ids == 10 and all(2 <= number < 10 for number in hashed(["rain dog siren"])[0])


def test_a_tower_embeds_what_occurs_twice_once():
    seen = []

    class Session:
        def run(self, feeds):
            seen.append(feeds["input_ids"])
            return [feeds["input_ids"][:, :1].astype(np.float32)]

    rows = TextTower(Session(), WordIds(["a", "b"]))(["b", "a", "b"])
    assert rows[:, 0].tolist() == [3, 2, 3] and sum(map(len, seen)) == 2


def test_a_side_that_cannot_be_exported_says_so(tmp_path):
    class Other:
        kind = "hf_clap"

    with pytest.raises(ConfigError, match="'hf_clap' cannot be exported; .*--text_side no"):
        write_text_side(tmp_path, Other())


def test_a_tower_that_is_not_the_network_is_refused(tag_space):
    side, folder, config = tag_space
    tower = text_tower(side)
    tower.embed = lambda texts: -torch.ones(len(texts), 64) / 8
    with pytest.raises(CheckpointError, match="the exported text tower is not the network"):
        _parity(folder, config["text"], tower, ["dog"])


def test_a_changed_file_is_noticed(tag_space, tmp_path):
    _, folder, config = tag_space
    for name in config["files"]:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with open(tmp_path / "tag_space.npz", "ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match="not the file that was exported"):
        open_text_side(tmp_path, config)
    with pytest.raises(CheckpointError, match="kind 'sung'; install a later tinyclap"):
        open_text_side(tmp_path, {**config, "text": {**config["text"], "kind": "sung"}})


def test_the_basic_level_keeps_int8_weights_arithmetic_in_fp32(tag_space):
    _, folder, _ = tag_space
    feeds = {"input_ids": np.array([[2, 80, 81, 3]]), "attention_mask": np.ones((1, 4), np.int64)}
    basic, unpacked = (open_session(folder / "text.onnx", n_threads=1, level=level) for level in ("basic", "unpacked"))
    np.testing.assert_allclose(basic.run(feeds)[0], unpacked.run(feeds)[0], atol=1e-6)


def test_auto_goes_without_where_the_tower_is_not_at_hand(tmp_path, caplog):
    from tinyclap.export.audio_model import EncoderExport
    from tinyclap.export.write import ExportOptions

    class Source:
        provenance = {"source": "a run"}
        student = tiny.student()

        @staticmethod
        def text():
            raise CheckpointError("no file text.pth")

    with caplog.at_level(logging.WARNING):
        assert EncoderExport(Source(), ExportOptions())._write_text(tmp_path) == (None, [])
    assert "takes compiled labels alone: no file text.pth" in caplog.text
    with pytest.raises(CheckpointError, match="no file text.pth"):
        EncoderExport(Source(), ExportOptions(text_side="yes"))._write_text(tmp_path)


def test_the_kept_columns_of_a_run_that_learned_from_a_pruned_one_are_those_of_both(tag_space):
    side, *_ = tag_space
    inner = _TagTeacher(side, [2, 0])
    assert text_side_of(_TagTeacher(inner)) == (side, [2, 0])
    assert text_side_of(_TagTeacher(inner, [1])) == (side, [0]) and text_side_of(side) == (side, None)
