"""A teacher in bfloat16 says nearly what it says in float32, and says that it is another teacher."""

import copy

import pytest
import torch
from small_run import ToneTeacher, make_student

from tinyclap.checkpoints.state import save_folder
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.features.front_ends import log_mel
from tinyclap.models.cnn14 import Cnn14
from tinyclap.models.projection import ClapProjection
from tinyclap.models.student import AudioStudent, Clap
from tinyclap.models.text import WordTextTower
from tinyclap.teachers import CheckpointTeacher, MsClapTeacher
from tinyclap.teachers.precision import Bf16Encoder, in_bf16


def test_convolutions_are_bfloat16_and_levels_heads_and_the_given_tower_are_not():
    student = AudioStudent(log_mel("clap2022"), Cnn14(channels=[16, 32], n_tags=3), ClapProjection(32, 16)).eval()
    low = in_bf16(student)
    assert low.encoder.encoder.conv_block1.conv1.weight.dtype == torch.bfloat16
    assert low.encoder.encoder.bn0.weight.dtype == low.projection.linear1.weight.dtype == torch.float32
    assert all(tensor.dtype == torch.float32 for tensor in student.parameters())
    folded = student.fold()
    in_bf16(folded)
    assert all(tensor.dtype == torch.float32 for tensor in folded.parameters())


def test_a_run_of_ours_teaches_in_bf16_and_is_then_another_teacher(tmp_path):
    student = make_student()
    save_folder(student.eval(), tmp_path / "run", {"text_side": {"kind": "checkpoint", "weights": str(tmp_path)}})
    clap = Clap(copy.deepcopy(student), WordTextTower(["a"], 6, width=8, n_layers=1, n_heads=2))
    save_folder(clap.eval(), tmp_path / "clap")
    wavs = torch.randn(2, 1600) * 0.1
    teacher, again = CheckpointTeacher(tmp_path / "clap").load(), CheckpointTeacher(tmp_path / "clap").load()
    exact = again.identity()
    assert teacher.use_precision("fp32") is teacher and teacher.identity() == exact
    assert teacher.use_precision("bf16").use_precision("bf16") is teacher
    assert teacher.identity() == {**exact, "precision": "bf16"}
    assert isinstance(teacher.model.audio.encoder, Bf16Encoder)
    ours, wanted = (one.embed_audio(wavs, 8000) for one in (teacher, again))
    assert not torch.equal(ours, wanted) and torch.cosine_similarity(ours, wanted).min() > 0.99
    with pytest.raises(ConfigError, match="in bf16 already"):
        teacher.use_precision("fp32")


def test_a_precision_that_is_not_there_is_refused():
    with pytest.raises(CheckpointError, match="no weights yet"):
        MsClapTeacher("nowhere.pth").use_precision("bf16")
    with pytest.raises(ConfigError, match="'fp16' is unknown"):
        MsClapTeacher("nowhere.pth").use_precision("fp16")
    with pytest.raises(ConfigError, match="the tone teacher runs in fp32 alone"):
        ToneTeacher().load().use_precision("bf16")
    assert ToneTeacher().load().precision == "fp32"


def test_a_teacher_of_whom_nothing_is_known_is_not_stored():
    class Nameless(ToneTeacher):
        """It does not say what its outputs depend on."""

        def identity(self):
            return super(ToneTeacher, self).identity()

    with pytest.raises(ConfigError, match="cannot say what its outputs depend on"):
        Nameless().load().identity()
