"""Distilling an audio tower: terms of outputs and targets, what learns, what stands still, sides that do not fit."""

import pytest
import torch
from small_run import Distillation, ToneTeacher, make_brain, make_corpora, make_student, make_views, moved, snapshot

from tests import tiny
from tinyclap.brains import DistillBrain
from tinyclap.checkpoints.state import load_folder
from tinyclap.data.targets import TeacherTargets
from tinyclap.errors import ConfigError
from tinyclap.losses import AffinityLoss, CosineLoss, FeatureHint, MapHint, MSELoss

CLIP = {"loss": CosineLoss(), "student": "clip", "teacher": "clip"}
COLUMNS = ("clip", "frames", "middle")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def distil(corpora, tmp_path):
    """Makes a run in a folder of the test's own."""
    return lambda folder="run", **options: Distillation(corpora, tmp_path / folder, **options)


def hints(weight=1.0):
    """Terms of every kind of output."""
    encoder = make_student().encoder
    width = encoder.frame_dim
    return {
        "distill": CLIP,
        "frame_hint": {"loss": FeatureHint(width, 4), "student": "frames", "teacher": "frames", "weight": weight},
        "pooled_hint": {"loss": FeatureHint(width, 4), "student": "pooled", "teacher": "pooled", "weight": 0.3},
        "middle_hint": {"loss": MapHint(encoder.n_middle, 4), "student": "middle", "teacher": "middle"},
    }


def test_the_student_learns_and_the_teacher_stands_still(distil):
    run = distil()
    teacher = run.targets.teacher
    before, student_before = snapshot(teacher), snapshot(run.brain.modules.student)
    run.fit()
    assert not moved(teacher, before)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())
    parameters = {name for name, _ in run.brain.modules.student.named_parameters()}
    assert parameters <= moved(run.brain.modules.student, student_before)
    losses = [record["valid"]["loss"] for record in run.history()]
    assert losses[1] < losses[0]


def test_a_cache_gives_the_targets_of_the_live_teacher_in_half_precision(distil, tmp_path):
    terms = lambda: {"distill": {"loss": MSELoss(), "student": "clip", "teacher": "clip"}}  # noqa: E731
    cached, again = distil(target_cache=tmp_path / "cache", terms=terms()), distil("b", terms=terms())
    cached.fit()
    batch = cached.brain.make_dataloader(cached.datasets()["train"], "x", None, batch_size=4)
    batch = next(iter(batch))
    live = again.targets({"wavs": batch.wavs})["clip"]
    torch.testing.assert_close(batch.clip.float(), live, atol=2e-3, rtol=1e-3)
    assert cached.history()[-1]["valid"]["cosine"] > cached.history()[0]["valid"]["cosine"]


def test_hints_train_beside_the_main_term_and_are_in_the_checkpoint(distil):
    terms = hints()
    run = distil(columns=COLUMNS, terms=terms)
    before = snapshot(terms["frame_hint"]["loss"])
    run.fit()
    assert list(run.steps()[0]) == ["epoch", "step", "lr", "loss", *terms]
    assert moved(terms["frame_hint"]["loss"], before) >= {"map.weight", "map.bias"}
    trained = snapshot(terms["middle_hint"]["loss"])
    again = distil(columns=COLUMNS, terms=hints())
    again.brain.recover_best()
    if again.brain.hparams.epoch_counter.current == 2:
        assert not moved(again.brain.modules["middle_hint"], trained)


def test_a_term_of_weight_zero_is_neither_computed_nor_logged(distil):
    run = distil(columns=COLUMNS, terms=hints(weight=0))
    run.fit()
    assert set(run.history()[-1]["train"]) == {"loss", "distill", "pooled_hint", "middle_hint"}
    assert "frame_hint" not in run.brain.modules


@pytest.mark.parametrize("settled", [True, False])
def test_the_best_epoch_is_chosen_though_statistics_of_hints_would_settle_late(distil, monkeypatch, settled):
    """Running variances that began at 1 and shrank made the first epoch's total look best, and it was released."""
    if not settled:
        monkeypatch.setattr(DistillBrain, "warm_up", lambda brain, train_set: None)
    terms = hints(weight=6.0)
    terms["frame_hint"]["loss"].standardise.momentum = 0.2  # of the few steps here, as 0.01 of a real run's
    run = distil(columns=COLUMNS, terms=terms, select_by=None if settled else "loss")
    run.brain.hparams.epoch_counter.limit = 4
    run.fit()
    cosines = [record["valid"]["cosine"] for record in run.history()]
    assert max(cosines) > cosines[0] + 0.05, "training helps"
    best = run.brain.recover_best()["epoch"]
    assert best == (1 + cosines.index(max(cosines)) if settled else 1)
    if settled:
        variance = run.brain.modules["frame_hint"].standardise.running_var
        assert variance.max() < 0.1


def test_the_selection_is_by_cosine_loss_or_a_term(distil):
    class Growing(CosineLoss):
        """A term whose value rises with every use."""

        uses = 0

        def forward(self, student, teacher):
            self.uses += 1
            return super().forward(student, teacher) * 0 + self.uses

    for select_by, wanted in ((None, {2, 3}), ("distill", {2, 3}), ("loss", {1}), ("growing", {1})):
        terms = {"distill": CLIP, "growing": {**CLIP, "loss": Growing()}}
        run = distil(f"by_{select_by}", terms=terms, select_by=select_by)
        run.brain.hparams.epoch_counter.limit = 3
        run.fit()
        assert run.brain.recover_best()["epoch"] in wanted


def test_a_run_whose_first_epoch_is_the_best_warns(distil, caplog):
    run = distil(select_by="loss")
    worsening = iter([0.9, 0.5])
    run.brain.validation_stats = lambda: {"loss": 1 - next(worsening)}
    run.fit()
    assert "the first of 2 epochs is the best by loss" in caplog.text


def test_captions_are_a_target_of_a_live_teacher(distil):
    class Reader(ToneTeacher):
        """Its text tower counts letters."""

        def embed_text(self, texts):
            return torch.tensor([[float(len(text)), *map(float, range(5))] for text in texts])

    terms = {"text": {**CLIP, "teacher": "texts"}}
    run = distil(teacher=Reader(), terms=terms, select_by="loss")
    batch = run.brain.make_dataloader(run.datasets()["train"], "x", None, batch_size=2)
    batch = next(iter(batch))
    with pytest.raises(ConfigError, match="teacher: texts, which needs a caption of every clip; some have none"):
        run.brain.targets(batch)
    batch["texts"] = ["rain", "a dog barks"]
    assert run.brain.targets(batch)["texts"][:, 0].tolist() == [4, 11]


def test_a_bank_of_texts_is_embedded_once(distil):
    class Reader(ToneTeacher):
        """Its text tower counts its calls."""

        n_calls = 0

        def embed_text(self, texts):
            self.n_calls += 1
            return torch.eye(6)[: len(texts)]

    teacher = Reader()
    terms = {"bank": {**CLIP, "loss": AffinityLoss(texts=["rain", "wind", "a dog"])}}
    run = distil(teacher=teacher, terms=terms)
    run.fit()
    assert teacher.n_calls == 1 and run.history()[1]["valid"]["bank"] >= 0


# What does not move ---------------------------------------------------------------------------------------------------


def test_the_optimiser_holds_trainable_parameters_only(distil):
    run = distil(student=make_student(freeze_encoder=True))
    run.brain.init_optimizers()
    held = {id(parameter) for group in run.brain.optimizer.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in run.brain.modules.student.projection.parameters()}


def test_a_frozen_encoder_s_statistics_stand_still_in_stage_two(distil):
    run = distil(student=make_student(freeze_encoder=True))
    before = snapshot(run.brain.modules.student)
    run.fit()
    assert moved(run.brain.modules.student, before) == {"projection.linear.weight", "projection.linear.bias"}


def test_the_official_code_s_frozen_encoder_drifts_behind_its_switch(distil):
    run = distil(student=make_student(freeze_encoder=True, reference_frozen_drift=True))
    before = snapshot(run.brain.modules.student)
    run.fit()
    changed = moved(
        run.brain.modules.student.encoder, {k[8:]: v for k, v in before.items() if k.startswith("encoder.")}
    )
    assert changed and all("running" in name or "num_batches" in name for name in changed)


def test_the_average_is_what_is_validated_and_released(distil, tmp_path):
    run = distil(ema_decay=0.9)
    run.fit()
    assert run.brain.average.n_averaged == len(run.steps())
    assert run.brain.evaluated_student() is run.brain.average.module
    run.brain.release(tmp_path / "released", {"seed": 7})
    released, config = load_folder(tmp_path / "released")
    assert not moved(released, run.brain.average.module.state_dict())
    assert moved(released, run.brain.modules.student.state_dict())
    assert config["seed"] == 7 and config["selected"]["epoch"] in (1, 2)


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"student": make_student(embed_dim=5)}, "5 dimensions, the tone teacher's 6; give --embed_dim 6"),
        ({"student": tiny.student(6)}, "takes audio at 16000 Hz, the data comes at 8000 Hz"),
        ({"terms": {"a": {**CLIP, "student": "embedding"}}}, "student: embedding; choose one of clip, frames"),
        ({"terms": {"a": {**CLIP, "teacher": "frames"}}}, "teacher: frames; choose one of clip, texts"),
        ({"terms": {"a": {**CLIP, "teacher": None}}}, "teacher: None; choose one of clip, texts"),
        ({"student": make_student().eval().fold()}, "the student is folded"),
    ],
)
def test_sides_that_do_not_fit_are_refused(distil, options, says):
    with pytest.raises(ConfigError, match=says):
        distil(**options)


def test_a_middle_map_that_an_encoder_does_not_give_is_refused_before_training(distil):
    student = make_student()
    del student.encoder.n_middle
    with pytest.raises(ConfigError, match="the term 'middle_hint': the student's encoder gives no middle map"):
        distil(student=student, columns=COLUMNS, terms=hints())


def test_a_teacher_without_a_middle_map_is_refused_before_training(corpora, tmp_path):
    class Late(ToneTeacher):
        @property
        def columns(self):
            return ("clip", "frames") if self.is_loaded else COLUMNS

    for folder in (None, tmp_path / "cache"):
        targets = TeacherTargets(Late(), make_views(corpora), COLUMNS, folder)
        with pytest.raises(ConfigError, match="columns middle: the tone teacher gives clip, frames"):
            targets.load()
    assert not (tmp_path / "cache").exists()


def test_a_student_without_probabilities_is_refused_in_the_tag_space(distil):
    teacher = ToneTeacher()
    teacher.score_kind = "sqrt_dot"
    with pytest.raises(ConfigError, match="tag probabilities, and this student gives none"):
        distil(teacher=teacher)


@pytest.mark.parametrize("term", [{**CLIP, "teacher": "texts"}, {**CLIP, "loss": AffinityLoss(texts=["rain"])}])
def test_texts_with_a_cache_are_refused(distil, tmp_path, term):
    with pytest.raises(ConfigError, match="a cache keeps none; give --target_cache null"):
        distil(target_cache=tmp_path / "cache", terms={"text": term})


def test_a_teacher_s_output_that_is_not_asked_for_is_named_before_it_is_loaded(corpora, tmp_path):
    targets = TeacherTargets(ToneTeacher(), make_views(corpora))
    with pytest.raises(ConfigError, match="teacher: middle; choose one of clip, texts"):
        make_brain(DistillBrain, tmp_path, modules={"teacher": targets}, terms={"a": {**CLIP, "teacher": "middle"}})
