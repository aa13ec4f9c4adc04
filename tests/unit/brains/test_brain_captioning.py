"""The captioning Brain: one encoder pass a batch, each term where it belongs, selection, averages, resuming."""

import json

import pytest
import speechbrain as sb
import torch
from caption_run import RATE, LoudnessTeacher, WordyTeacher, captioned, make_corpora, make_views
from small_run import Killed, make_brain

from tinyclap.brains import CaptionDistillBrain
from tinyclap.checkpoints.state import load_student
from tinyclap.data.caption_store import CaptionStore
from tinyclap.data.captions import collate_captions, make_caption_sets
from tinyclap.data.spec_augment import SpecAugment
from tinyclap.errors import ConfigError
from tinyclap.features.front_ends import log_mel
from tinyclap.losses.captioning import EncoderKDLoss, sparse_token_kd
from tinyclap.models.caption_decoder import CaptionDecoder
from tinyclap.models.captioner import Captioner
from tinyclap.models.phinet import PhiNet
from tinyclap.text.tokenizer import WordTokenizer

ALL_TERMS = {"supervised": 1.0, "sequence": 0.5, "encoder": 2.0}


class Run:
    """A run of eight labelled and six unlabelled tones, two epochs of two steps."""

    def __init__(self, folder, weights=None, with_store=True, name="run", teacher=None, **changes):
        options = {"label_smoothing": 0.1, "scheduled_sampling": 0.0, "spec_augment": None, "swa_from_epoch": None}
        options |= {"token_temperature": 1.0}
        options |= {"select_by": "loss", "valid_beam": 1, "max_words": 6, "loss_weights": weights or ALL_TERMS}
        labelled = make_views(make_corpora(folder, train=captioned(8), valid=captioned(4, first=20)))
        unlabelled = make_views(make_corpora(folder / "more", "more", train=captioned(6, first=40)))
        items = labelled.items.values()
        self.tokenizer = WordTokenizer.from_captions([c for item in items for c in item["captions"]] + ["a loud tone"])
        teacher = teacher or LoudnessTeacher()
        self.store = CaptionStore(folder / "store", teacher, [labelled, unlabelled]) if with_store else None
        torch.manual_seed(0)
        features = log_mel("efficientnet_captioner", sample_rate_hz=RATE, n_fft=64, win_length=64, hop_length=16,
                           n_mels=16, f_max_hz=500.0)  # fmt: skip
        encoder = PhiNet(n_mels=16, alpha=0.35, n_layers=4, t_zero=2, embed_width=12, embed_stride=1)
        decoder = CaptionDecoder(self.tokenizer.n_words, 12, width=16, n_heads=2, ffn_width=32)
        self.student = Captioner(features, encoder, decoder, self.tokenizer)
        self.encoder_kd = EncoderKDLoss(12, 4, 8)
        self.brain = make_brain(
            CaptionDistillBrain, folder / name, self.student, {"encoder_kd": self.encoder_kd}, **{**options, **changes}
        )
        self.brain.checkpointer.add_recoverable("encoder_kd", self.encoder_kd)
        self.datasets = make_caption_sets(
            labelled, unlabelled, self.tokenizer, RATE, 7, self.brain.hparams.epoch_counter, self.store, max_words=6
        )
        self.loader = {"batch_size": 4, "collate_fn": collate_captions}

    def fit(self):
        """Train to the end."""
        counter, sets = self.brain.hparams.epoch_counter, self.datasets
        loaders = {"train_loader_kwargs": {**self.loader, "shuffle": False}, "valid_loader_kwargs": self.loader}
        self.brain.fit(counter, sets["train"], sets["valid"], **loaders)
        return self

    def batch(self):
        """A training batch of four labelled and four unlabelled rows."""
        return collate_captions([self.datasets["train"][index] for index in range(4)])

    def history(self):
        """The run's log."""
        lines = (self.brain._path("history.jsonl")).read_text().splitlines()
        return [json.loads(line) for line in lines]


def test_the_encoder_runs_once_a_batch_and_every_term_has_its_rows(tmp_path):
    run, calls = Run(tmp_path), []
    run.student.encoder.register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
    batch = run.batch()
    encoded, logits = run.brain.compute_forward(batch, sb.Stage.TRAIN)
    assert calls == [8], "four labelled and four unlabelled clips, together"
    assert (len(logits["supervised"]), len(logits["sequence"]), len(encoded.clip)) == (4, 8, 8)
    terms = run.brain.loss_terms((encoded, logits), batch, sb.Stage.TRAIN)
    assert set(terms) == {"supervised", "sequence", "encoder"}
    torch.testing.assert_close(terms["encoder"], run.encoder_kd(encoded.clip, batch.teacher_embedding))
    words = logits["sequence"].log_softmax(-1).gather(2, batch.teacher_ids[:, 1:, None])[..., 0]
    mask = batch.teacher_ids[:, 1:] != run.tokenizer.pad_id
    torch.testing.assert_close(terms["sequence"], -words[mask].mean())


def test_a_term_without_weight_is_neither_computed_nor_logged(tmp_path):
    run = Run(tmp_path, {"supervised": 1.0, "sequence": 0.0, "encoder": 0.0}).fit()
    assert set(run.history()[-1]["train"]) == {"loss", "supervised"}


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_words_a_teacher_held_possible_are_learnt_from_the_pass_over_its_caption(temperature, tmp_path):
    weights = {"supervised": 1.0, "sequence": 1.0, "token": 0.5}
    run, passes = Run(tmp_path, weights, teacher=WordyTeacher(), token_temperature=temperature), []
    asked = len(run.store.teacher.asked)
    run.student.decoder.register_forward_hook(lambda module, inputs, output: passes.append(len(inputs[0])))
    batch = run.batch()
    predictions = run.brain.compute_forward(batch, sb.Stage.TRAIN)
    terms = run.brain.loss_terms(predictions, batch, sb.Stage.TRAIN)
    assert passes == [4, 8], "people's captions once, the teacher's once"
    assert set(terms) == set(weights) and len(run.store.teacher.asked) == asked
    wanted = sparse_token_kd(predictions[1]["sequence"], batch.choice_ids, batch.choice_probs, temperature)
    torch.testing.assert_close(terms["token"], wanted)
    at_one = run.brain.compute_objectives(predictions, batch, sb.Stage.TRAIN)
    torch.testing.assert_close(at_one, terms["supervised"] + terms["sequence"] + 0.5 * terms["token"])


def test_the_token_term_alone_trains_and_is_logged_alone(tmp_path):
    run = Run(tmp_path, {"token": 1.0}, teacher=WordyTeacher()).fit()
    assert all(set(record["train"]) == {"loss", "token"} for record in run.history())
    assert run.history()[-1]["train"]["token"] < run.history()[0]["train"]["token"]


def test_a_store_without_word_choices_is_refused_where_they_are_wanted(tmp_path):
    says = r'the term .token. needs .* give --teacher_options "\{n_word_choices: 8\}" and a store of its own'
    for name, options in (("a", {}), ("b", {"with_store": False})):
        with pytest.raises(ConfigError, match=says):
            Run(tmp_path, {"supervised": 1.0, "token": 1.0}, name=name, **options).fit()


def test_unlabelled_clips_alone_are_enough(tmp_path):
    run = Run(tmp_path, {"sequence": 1.0, "encoder": 1.0}).fit()
    assert set(run.history()[-1]["train"]) == {"loss", "sequence", "encoder"}


def test_without_a_store_people_s_words_are_all_there_is(tmp_path):
    run = Run(tmp_path, {"supervised": 1.0}, with_store=False).fit()
    assert run.history()[-1]["train"]["supervised"] > 0
    with pytest.raises(ConfigError, match="needs a teacher's store"):
        Run(tmp_path, {"supervised": 1.0, "encoder": 1.0}, with_store=False, name="other").fit()


def test_the_best_epoch_is_the_one_with_the_best_captions(tmp_path):
    run = Run(tmp_path, select_by="cider_d")
    assert run.brain.criterion({"loss": 3.0, "cider_d": 0.4}) == -0.4
    run.fit()
    scores = [record["valid"]["cider_d"] for record in run.history()]
    assert len(scores) == 2 and all(score >= 0 for score in scores)
    best = run.brain.recover_best()
    assert best["criterion"] == -max(scores)
    run.brain.release(tmp_path / "released", {})
    captioner, _ = load_student(tmp_path / "released")
    assert isinstance(captioner.caption([torch.zeros(RATE)], RATE)[0], str)


def test_swa_averages_from_its_epoch_on_and_is_what_is_released(tmp_path):
    run = Run(tmp_path, swa_from_epoch=2)
    assert run.brain.evaluated_student() is run.student, "before its epoch there is no average"
    run.fit()
    assert int(run.brain.average.n_averaged) == 2, "two steps of the second epoch"
    assert run.brain.evaluated_student() is run.brain.average.module
    with pytest.raises(ConfigError, match="not both"):
        Run(tmp_path, swa_from_epoch=2, ema_decay=0.9, name="other")


@pytest.mark.parametrize("options", [{"scheduled_sampling": 1.0}, {"spec_augment": SpecAugment(1, 4, 1, 2)}])
def test_options_change_training_and_not_validation(options, tmp_path):
    torch.manual_seed(0)
    plain, other = Run(tmp_path), Run(tmp_path, name="other", **options)
    batch = plain.batch()
    for run in (plain, other):
        run.student.eval()  # no dropout
        run.brain.steps_per_epoch, run.brain.step = 2, 1
        run.brain.hparams.epoch_counter.current = 2
    outputs = [run.brain.compute_forward(batch, sb.Stage.TRAIN)[1]["supervised"] for run in (plain, other)]
    assert not torch.allclose(*outputs)
    outputs = [run.brain.compute_forward(batch, sb.Stage.VALID)[1]["supervised"] for run in (plain, other)]
    torch.testing.assert_close(*outputs)


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path):
    whole = Run(tmp_path).fit()
    killed = Run(tmp_path, name="killed", ckpt_interval_minutes=0)
    start = killed.brain.on_fit_batch_start

    def stop(batch, should_step):
        if (killed.brain.hparams.epoch_counter.current, killed.brain.step) == (2, 2):
            raise Killed
        start(batch, should_step)

    killed.brain.on_fit_batch_start = stop
    with pytest.raises(Killed):
        killed.fit()
    again = Run(tmp_path, name="killed").fit()
    assert [r["train"] for r in again.history()] == [r["train"] for r in whole.history()]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"select_by": "bleu"}, "select_by='bleu'"),
        ({"token_temperature": 0.0}, "token_temperature=0.0; it is above 0"),
        ({"weights": {"supervised": 0.0}}, "every term of loss_weights is 0"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, says, tmp_path):
    with pytest.raises(ConfigError, match=says):
        Run(tmp_path, **options)
