"""What every teacher shares: scores, class embeddings, frozen, made by name; and runs of ours as teachers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests import tiny
from tinyclap.checkpoints.state import save_folder
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.teachers import (
    TEACHERS,
    CheckpointTeacher,
    FrozenTeacher,
    class_embeddings,
    make_teacher,
    make_text_side,
    score,
)
from tinyclap.text.prompts import make_prompts

OPTIONS = {
    "msclap2022": {"weights": "nowhere/CLAP_weights_2022.pth"},
    "hf_clap": {"weights": "nowhere", "local_files_only": True},
    "tagger": {"weights": "nowhere/mn04.pt"},
    "checkpoint": {"weights": "nowhere/run"},
    "wavcaps_htsat_bart": {"weights": "nowhere/HTSAT_BART.pt"},
    "captioner": {"weights": "nowhere/run"},
    "text_captioner": {"weights": "nowhere/run"},
    "effb2_trm": {"weights": "nowhere/pytorch_model.bin"},
    "tinyclap-student": {"weights": "nowhere/student_model.ckpt", "text_weights": "nowhere/CLAP_weights_2022.pth"},
}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # (3, 4)/5 · (1, 0) and (3, 4)/5 · (0, 1)
        ("cosine", [0.6, 0.8]),
        # 3·2 + 4·0 and 3·0 + 4·7
        ("dot", [6.0, 28.0]),
        # √3·2 and √4·7
        ("sqrt_dot", [2 * 3**0.5, 14.0]),
    ],
)
def test_the_three_scores_of_two_vectors(kind, expected):
    audio, text = torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0], [0.0, 7.0]])
    torch.testing.assert_close(score(audio, text, kind), torch.tensor([expected]))


def test_rounding_below_zero_gives_no_nan_under_the_square_root():
    assert score(torch.tensor([[-1e-9, 1.0]]), torch.ones(1, 2), "sqrt_dot").item() == 1


def test_a_score_that_cannot_be_meant_is_refused():
    with pytest.raises(ConfigError, match="score kind 'l2' is unknown; choose one of .*cosine"):
        score(torch.ones(1, 2), torch.ones(1, 2), "l2")
    with pytest.raises(ConfigError, match="audio embeddings have 2 dimensions, text embeddings 3"):
        score(torch.ones(1, 2), torch.ones(1, 3))


@pytest.mark.parametrize(("kind", "expected"), [("cosine", [0.5**0.5, 0.5**0.5]), ("dot", [0.5, 2.0])])
def test_a_class_is_the_mean_of_its_prompts_and_for_cosines_of_their_directions(kind, expected):
    rows = {"a dog": [1.0, 0.0], "dogs": [0.0, 4.0], "rain": [0.0, 3.0]}
    texts = []

    def embed_text(prompts):
        texts.append(prompts)
        return torch.tensor([rows[prompt] for prompt in prompts])

    classes = class_embeddings(embed_text, [["a dog", "dogs"], ["rain"]], kind)
    torch.testing.assert_close(classes, torch.tensor([expected, [0.0, 1.0 if kind == "cosine" else 3.0]]))
    assert texts == [["a dog", "dogs", "rain"]], "all prompts go through the text tower at once"


def test_every_kind_is_made_by_name_and_reads_nothing_until_it_is_loaded():
    assert set(OPTIONS) == set(TEACHERS)
    for kind, options in OPTIONS.items():
        teacher = make_teacher(kind, **options, prior=None)
        assert teacher.kind == kind and not teacher.is_loaded
        with pytest.raises(CheckpointError, match="nowhere"):
            teacher.load()
        assert not teacher.is_loaded


@pytest.mark.parametrize("kind", OPTIONS)
def test_no_teacher_is_used_before_its_weights_are_there(kind):
    teacher = make_teacher(kind, **OPTIONS[kind])
    for use in (lambda: teacher.embed_audio(torch.zeros(1, 100), 8000), lambda: teacher.embed_text(["rain"])):
        with pytest.raises(CheckpointError, match="has no weights yet; call load\\(\\) before it is used"):
            use()


def test_an_unknown_teacher_or_option_is_named_with_what_there_is():
    with pytest.raises(ConfigError, match="teacher 'clap' is unknown; choose one of msclap2022, hf_clap, tagger"):
        make_teacher("clap", weights="x")
    with pytest.raises(ConfigError, match="teacher 'tagger': .*'wdith'.* takes weights, width, labels"):
        make_teacher("tagger", weights="x", wdith=0.4)
    with pytest.raises(ConfigError, match="teacher 'tinyclap-student': missing .*'text_weights'"):
        make_teacher("tinyclap-student", weights="x", text_weights=None)


class OwnTeacher(FrozenTeacher):
    """A teacher of a user's own."""

    def __init__(self, weights):
        super().__init__(f"{__name__}.OwnTeacher")
        self.weights, self.embed_dim, self.sample_rate_hz = weights, 2, 8000

    def _load(self):
        """It has none."""

    def embed_text(self, texts):
        """Of all texts the same."""
        return torch.ones(len(texts), 2)


def test_a_teacher_of_one_s_own_is_made_from_an_imported_module_alone():
    kind = f"{__name__}.OwnTeacher"
    assert make_teacher(kind, weights="x").weights == "x"
    side = make_text_side({"kind": kind, "weights": "x"})
    assert side.is_loaded and side.embed_classes([["rain"]]).shape == (1, 2)
    with pytest.raises(ConfigError, match="not_here.Own is a class of one's own; give --import not_here"):
        make_text_side({"kind": "not_here.Own", "weights": "x"})
    for name in ("os.system", f"{__name__}.OPTIONS", "torch.nn.Linear", f"{__name__}.Absent"):
        with pytest.raises(ConfigError, match=r"has no class \w+ that is a FrozenTeacher"):
            make_teacher(name)


@pytest.mark.parametrize("config", [{}, {"kind": ["x"]}, {"kind": "tag_space"}, {"kind": "tag_space", "lables": []}])
def test_a_text_side_of_a_damaged_config_is_refused(config):
    with pytest.raises(ConfigError, match="teacher .* (unknown|takes|class)"):
        make_text_side(config)


@pytest.mark.parametrize("columns", [["clip"], ["frames"]])
def test_targets_of_a_teacher_that_only_embeds_are_its_embeddings(columns):
    class Loudness(OwnTeacher):
        def embed_audio(self, wavs, sample_rate_hz):
            return wavs.double().square().mean(dim=-1, keepdim=True)

    teacher, wavs = Loudness("x").load(), torch.rand(3, 50)
    if columns == ["clip"]:
        found = teacher.targets(wavs, 8000, columns)["clip"]
        torch.testing.assert_close(found, wavs.square().mean(dim=-1, keepdim=True))
    else:
        with pytest.raises(ConfigError, match="gives clip; not frames"):
            teacher.targets(wavs, 8000, columns)


def test_a_teacher_never_leaves_eval_mode_and_never_learns(tmp_path):
    teacher = CheckpointTeacher(tiny.saved_clap(tmp_path)).load()
    parent = nn.ModuleDict({"teacher": teacher, "student": nn.Linear(1, 1)}).train()
    assert parent["student"].training
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher.embed_text(["rain"]).requires_grad


def test_loading_twice_reads_the_weights_once():
    class Counting(FrozenTeacher):
        n_loads = 0

        def _load(self):
            self.n_loads += 1

    assert Counting("counting").load().load().n_loads == 1


def test_a_clap_of_ours_teaches_with_both_its_towers(tmp_path):
    run = tiny.saved_clap(tmp_path)
    teacher, clap = CheckpointTeacher(run).load(), tiny.clap()
    wav = torch.rand(1, 12_000) - 0.5
    assert (teacher.sample_rate_hz, teacher.embed_dim, teacher.score_kind) == (16000, 16, "cosine")
    torch.testing.assert_close(teacher.embed_audio(wav, 8000), clap.embed_audio(wav, 8000))
    torch.testing.assert_close(teacher.embed_text(["rain"]), clap.embed_text(["rain"]))
    rows = clap.embed_text(["dog", "the sound of dog"])
    prompts = make_prompts(["dog"], ["{}", "the sound of {}"])
    torch.testing.assert_close(teacher.embed_classes(prompts), F.normalize(rows.mean(0, keepdim=True), dim=-1))
    assert teacher.text_side() == {"kind": "checkpoint", "weights": str(run)}


def test_a_student_of_ours_is_scored_by_its_teacher_s_text_tower_and_teaches_in_turn(tmp_path):
    clap_run = tiny.saved_clap(tmp_path / "clap")
    text_side = CheckpointTeacher(clap_run).load().text_side()
    student = CheckpointTeacher(tiny.saved_student(tmp_path / "student", text_side, seed=1)).load()
    torch.testing.assert_close(student.embed_text(["rain"]), tiny.clap().embed_text(["rain"]))
    torch.testing.assert_close(student.embed_classes([["rain"]]), tiny.clap().embed_text(["rain"]))
    assert not torch.equal(student.embed_audio(torch.ones(500), 8000), tiny.clap().embed_audio(torch.ones(500), 8000))
    grandchild = CheckpointTeacher(tiny.saved_student(tmp_path / "third", student.text_side())).load()
    torch.testing.assert_close(grandchild.embed_text(["rain"]), tiny.clap().embed_text(["rain"]))
    assert not any(parameter.requires_grad for parameter in grandchild.parameters())


def test_a_text_tower_that_has_moved_is_found_where_it_is_said_to_be(tmp_path):
    run = tiny.saved_student(tmp_path / "student", {"kind": "checkpoint", "weights": str(tmp_path / "gone")})
    with pytest.raises(CheckpointError, match="gone: no model there"):
        CheckpointTeacher(run).load()
    moved = tiny.saved_clap(tmp_path / "here")
    assert CheckpointTeacher(run, text_weights=moved).load().embed_text(["rain"]).shape == (1, 16)


def test_a_student_of_a_tag_space_brings_its_score_and_prompts_and_needs_no_tagger(tmp_path):
    text_side = {"kind": "tag_space", "labels": ["Dog", "Rain"], "templates": ["a {}"], "sentence_encoder": "nowhere"}
    run = tiny.saved_student(tmp_path, text_side, embed_dim=2, output="sigmoid")
    student = CheckpointTeacher(run, text_weights=tmp_path / "elsewhere").load()
    assert (student.score_kind, student.default_templates) == ("sqrt_dot", ("a {}",))
    probabilities = student.embed_audio(torch.rand(3, 900) - 0.5, 8000)
    assert probabilities.shape == (3, 2) and (probabilities > 0).all() and (probabilities < 1).all()
    with pytest.raises(CheckpointError, match="no sentence encoder at '\\S*elsewhere'"):
        student.embed_text(["rain"])


def test_a_student_without_a_text_side_cannot_teach_and_says_so(tmp_path):
    save_folder(tiny.student(), tmp_path / "student")
    with pytest.raises(CheckpointError, match="has no text side; teach with a run that names its teacher"):
        CheckpointTeacher(tmp_path).load()


def test_a_text_side_is_not_told_before_it_is_known(tmp_path):
    run = tiny.saved_student(tmp_path, {"kind": "tag_space", "labels": ["Dog"]}, embed_dim=1)
    with pytest.raises(CheckpointError, match="call load"):
        CheckpointTeacher(run).text_side()
