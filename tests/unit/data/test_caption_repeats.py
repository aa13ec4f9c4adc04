"""Clips that count once per caption, as in the official code, and the text term of a distillation."""

from types import SimpleNamespace

import pytest
import torch
from small_run import CLIP_S, RATE, ToneTeacher, make_brain, make_student
from test_pipeline import manifest, ramp
from test_stored_sets import Counter, Taught

from tinyclap.brains import EmbeddingDistillBrain
from tinyclap.data.pipeline import by_caption, make_training_sets
from tinyclap.data.stored_sets import StoredExamples, collate_examples
from tinyclap.errors import ConfigError
from tinyclap.losses.contrastive import clap_contrastive
from tinyclap.losses.distillation import ContrastiveDistillLoss, CosineDistillLoss

ITEMS = {
    "five": (ramp(3000), {"captions": ["a", "b", "c", "d", "e"]}),
    "one": (ramp(3000), {"captions": ["f"]}),
    "held": (ramp(3000), {"captions": ["g", "h"]}),
}


@pytest.fixture
def sets(tmp_path):
    """Training and validation sets of three clips, repeated or not."""
    path, root = manifest(tmp_path, ITEMS)
    corpora = SimpleNamespace(manifests=lambda part: [(path, root)])

    def make(**options):
        return make_training_sets(corpora, 1000, 1.0, 3, SimpleNamespace(current=1), valid_fraction=0.0, **options)

    return make


def test_a_clip_with_five_captions_comes_five_times_each_time_with_one_and_at_another_place(sets):
    once, repeated = sets()["train"], sets(repeat_by_captions=True)["train"]
    assert (len(once), len(repeated)) == (3, 8)
    assert sorted(example["caption"] for example in repeated) == list("abcdefgh")
    places = {float(example["wav"][0]) for example in repeated if example["caption"] in "abcde"}
    assert len(places) == 5, "crops of their own"


def test_validation_hears_each_clip_once(sets):
    assert len(sets(repeat_by_captions=True)["valid"]) == 3


def test_a_clip_without_captions_comes_once():
    assert dict(by_caption({"a": {"captions": None}, "b": {"captions": []}})) == {
        "a": {"captions": None},
        "b": {"captions": []},
    }


def test_of_a_store_a_clip_s_visits_of_an_epoch_take_different_views():
    examples = StoredExamples(["c", "a", "c", "c"], Taught(), 5, epoch_counter=Counter())  # c has three views
    for epoch in (1, 2, 3):
        assert sorted(examples.view(index, epoch) for index in (0, 2, 3)) == [0, 1, 2]
    alone = StoredExamples(["c", "a"], Taught(), 5, epoch_counter=Counter())
    assert [examples.view(1, epoch) for epoch in range(1, 7)] == [alone.view(1, epoch) for epoch in range(1, 7)]


class TalkingTeacher(ToneTeacher):
    """Embeds a caption by its length."""

    def embed_text(self, texts):
        """(N, D): the length's place is one."""
        return torch.eye(self.embed_dim)[[len(text) % self.embed_dim for text in texts]]


def brain_of(folder, teacher, **changes):
    modules = {"teacher": teacher, "distill_loss": CosineDistillLoss(), "text_loss": ContrastiveDistillLoss()}
    return make_brain(EmbeddingDistillBrain, folder, student=make_student(), modules=modules, **changes)


def batch(**more):
    torch.manual_seed(1)
    n_samples = round(CLIP_S * RATE)
    examples = [{"wav": torch.randn(n_samples), **more, "caption": "x" * index} for index in range(3)]
    return collate_examples(examples)


def test_the_text_term_contrasts_the_student_with_the_captions(tmp_path):
    brain = brain_of(tmp_path, TalkingTeacher().load(), loss_weights={"distill": 1.0, "text": 0.5})
    stage = SimpleNamespace(name="TRAIN")
    student_clip, teacher_clip = brain.compute_forward(batch(), stage)
    terms = brain.loss_terms((student_clip, teacher_clip), batch(), stage)
    rows = brain.modules.teacher.embed_text(["", "x", "xx"])
    torch.testing.assert_close(terms["text"], clap_contrastive(student_clip, rows))
    terms["text"].backward()
    assert brain.modules.student.projection.linear.weight.grad.abs().sum() > 0


def test_without_a_weight_no_text_is_read(tmp_path):
    brain = brain_of(tmp_path, TalkingTeacher().load(), loss_weights={"distill": 1.0, "text": 0.0})
    stage = SimpleNamespace(name="TRAIN")
    assert set(brain.loss_terms(brain.compute_forward(batch(), stage), batch(), stage)) == {"distill"}


def test_a_text_term_without_texts_is_refused(tmp_path):
    weights = {"distill": 1.0, "text": 1.0}
    brain = brain_of(tmp_path / "a", TalkingTeacher().load(), loss_weights=weights)
    silent = batch()._replace(caption=None)
    stage = SimpleNamespace(name="TRAIN")
    with pytest.raises(ConfigError, match="needs a caption of every clip"):
        brain.loss_terms(brain.compute_forward(silent, stage), silent, stage)
    stored = torch.nn.Identity()  # what a store leaves of a teacher has no text side
    stored.kind, stored.embed_dim, stored.score_kind = "stored", 6, "cosine"
    with pytest.raises(ConfigError, match="give --store_folder null"):
        brain_of(tmp_path / "b", stored, loss_weights=weights)
