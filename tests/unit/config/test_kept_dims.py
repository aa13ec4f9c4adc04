"""The order that a folder stores makes ``dim=…`` work at load, on both sides, with the scores of masking."""

import json
import zlib

import pytest
import torch
import torch.nn.functional as F

from tests import tiny
from tinyclap.checkpoints.state import CONFIG, load_student, save_folder
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.models.projection import TagHead
from tinyclap.models.student import AudioStudent
from tinyclap.teachers import make_teacher, tag_text

ORDER = [3, 15, 0, 7, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14]
LATENT = {"order": ORDER, "ranking": "mean_abs", "n_clips": 4, "corpora": []}
WAVS = torch.randn(3, 12000, generator=torch.Generator().manual_seed(0)) * 0.1
PROMPTS = [["a dog barks", "the sound of a dog"], ["rain", "the sound of rain"]]
TAGS = [f"tag {index}" for index in range(16)]


@pytest.fixture
def clap_run(tmp_path):
    """A CLAP's folder with an order."""
    save_folder(tiny.clap(), tmp_path / "clap" / "student", {"latent": LATENT})
    return tmp_path / "clap"


@pytest.fixture
def student_run(tmp_path, clap_run):
    """A student's folder with an order; its classes the CLAP embeds."""
    side = {"kind": "checkpoint", "weights": str(clap_run)}
    save_folder(tiny.student(), tmp_path / "student" / "student", {"text_side": side, "latent": LATENT})
    return tmp_path / "student"


@pytest.mark.parametrize("dim", [1, 4, 16])
def test_a_folder_with_an_order_loads_with_fewer_dimensions_in_that_order(student_run, dim):
    whole, config = load_student(student_run)
    student, fewer = load_student(student_run, dim)
    wanted = F.normalize(whole.embed_audio(WAVS, 16000)[:, ORDER[:dim]], dim=-1)
    torch.testing.assert_close(student.embed_audio(WAVS, 16000), wanted, atol=1e-5, rtol=0)
    assert fewer["latent"]["kept"] == ORDER[:dim] and fewer["latent"]["n_dims"] == 16
    assert fewer["model"]["projection"]["d_out"] == dim and "kept" not in config["latent"]
    assert not student.training


def test_a_pruned_folder_loads_as_a_prefix(student_run, tmp_path):
    student, config = load_student(student_run, 6)
    save_folder(student, tmp_path / "six", {"latent": config["latent"]})
    prefix, prefix_config = load_student(tmp_path / "six", 2)
    direct, direct_config = load_student(student_run, 2)
    torch.testing.assert_close(prefix.embed_audio(WAVS, 16000), direct.embed_audio(WAVS, 16000))
    assert prefix_config["latent"] == direct_config["latent"]
    with pytest.raises(ConfigError, match="dim is 1 to 6, not 7"):
        load_student(tmp_path / "six", 7)


@pytest.mark.parametrize("run", ["clap_run", "student_run"])
def test_both_sides_of_a_model_lose_the_same_dimensions_and_score_as_masked(run, request):
    run = request.getfixturevalue(run)
    whole, fewer = make_teacher("checkpoint", weights=run).load(), make_teacher("checkpoint", weights=run, dim=4).load()
    kept = ORDER[:4]
    audio, classes = whole.embed_audio(WAVS, 16000)[:, kept], whole.embed_classes(PROMPTS)[:, kept]
    ours = fewer.embed_audio(WAVS, 16000), fewer.embed_classes(PROMPTS)
    torch.testing.assert_close(ours[1], F.normalize(classes, dim=-1), atol=1e-6, rtol=0)
    torch.testing.assert_close(fewer.score(*ours), whole.score(audio, classes), atol=1e-5, rtol=0)
    torch.testing.assert_close(fewer.embed_text(["a dog"]).norm(dim=1), torch.ones(1))
    assert fewer.embed_text(["a dog"]).shape == (1, 4) and fewer.embed_dim == 4
    assert fewer.identity() == {**whole.identity(), "dim": 4}, "a store of one is none of the other"


def test_a_student_of_a_pruned_teacher_is_scored_with_its_columns(student_run, tmp_path):
    teacher = make_teacher("checkpoint", weights=student_run, dim=4).load()
    pupil = tiny.saved_student(tmp_path / "pupil", teacher.text_side(), embed_dim=4)
    scored = make_teacher("checkpoint", weights=pupil).load()
    torch.testing.assert_close(scored.embed_classes(PROMPTS), teacher.embed_classes(PROMPTS))


class AnySentences:
    """Stands for the sentence encoder, which takes long to read: a unit vector for every sentence."""

    def __init__(self, name):
        self.name = name

    def __call__(self, sentences):
        seeds = [torch.Generator().manual_seed(zlib.crc32(sentence.encode())) for sentence in sentences]
        return F.normalize(torch.stack([torch.randn(8, generator=seed) for seed in seeds]), dim=-1)


def test_a_tag_space_loses_tags_and_nothing_is_normalised(tmp_path, monkeypatch):
    monkeypatch.setattr(tag_text, "SentenceEncoder", AnySentences)
    plain = tiny.student()
    head = TagHead(plain.encoder.embed_dim, 16)
    torch.nn.init.normal_(head.linear.weight)
    student = AudioStudent(plain.features, plain.encoder, head, {"window_s": 0.3}, output="sigmoid").eval()
    side = {"kind": "tag_space", "labels": TAGS, "prior": None}
    save_folder(student, tmp_path / "student", {"text_side": side, "latent": LATENT})
    whole, fewer = (make_teacher("checkpoint", weights=tmp_path, dim=dim).load() for dim in (None, 5))
    kept = ORDER[:5]
    audio = fewer.embed_audio(WAVS, 16000)
    torch.testing.assert_close(audio, whole.embed_audio(WAVS, 16000)[:, kept])
    text = whole.embed_classes(PROMPTS)
    torch.testing.assert_close(fewer.embed_classes(PROMPTS), text[:, kept])
    wanted = whole.score(whole.embed_audio(WAVS, 16000)[:, kept], text[:, kept])
    torch.testing.assert_close(fewer.score(audio, fewer.embed_classes(PROMPTS)), wanted)


def test_without_an_order_the_error_says_how_to_store_one(tmp_path):
    run = tiny.saved_clap(tmp_path / "run")
    with pytest.raises(CheckpointError, match="no order .* python prune.py .* first"):
        load_student(run, 4)
    with pytest.raises(CheckpointError, match="python prune.py"):
        make_teacher("checkpoint", weights=run, dim=4).load()


def test_an_order_of_another_model_is_refused(student_run):
    path = student_run / "student" / CONFIG
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "latent": {**LATENT, "order": [0, 1, 2]}}))
    with pytest.raises(CheckpointError, match="none of its AudioStudent's dimensions"):
        load_student(student_run, 2)
    assert load_student(student_run)[0].embed_dim == 16, "without dim nobody asks"
    path.write_text(json.dumps({**config, "latent": LATENT}))
    with pytest.raises(ConfigError, match="dim is 1 to 16, not 0"):
        load_student(student_run, 0)
