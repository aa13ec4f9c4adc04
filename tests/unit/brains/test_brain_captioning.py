"""The captioning Brain: one encoder pass a batch, each term where it belongs, selection, averages, resuming."""

import functools
import json

import pytest
import speechbrain as sb
import torch
from caption_run import RATE, LoudnessTeacher, WordyTeacher, captioned, make_corpora, make_views
from small_run import Killed, make_brain
from torch.utils._python_dispatch import TorchDispatchMode

from tinyclap.brains import CaptioningBrain
from tinyclap.checkpoints.state import load_student
from tinyclap.data.captions import make_caption_sets
from tinyclap.data.targets import TeacherTargets
from tinyclap.errors import ConfigError
from tinyclap.features.front_ends import log_mel
from tinyclap.features.spec_augment import SpecAugment
from tinyclap.losses import CaptionCrossEntropy, EncoderKDLoss, TokenKD
from tinyclap.models.caption_decoder import CaptionDecoder
from tinyclap.models.captioner import Captioner
from tinyclap.models.phinet import PhiNet
from tinyclap.text.tokenizer import SPECIAL, WordTokenizer

ALL_TERMS = {"supervised": 1.0, "sequence": 0.5, "encoder": 2.0}
SIDES = {
    "supervised": ("reference_logits", "references"),
    "sequence": ("teacher_logits", "teacher_captions"),
    "token": ("teacher_logits", "token_choices"),
    "encoder": ("clip", "clip"),
}


def make_terms(weights, temperature=1.0):
    """The terms of a captioning recipe."""
    torch.manual_seed(1)
    losses = {"supervised": CaptionCrossEntropy(label_smoothing=0.1), "sequence": CaptionCrossEntropy()}
    losses |= {"token": TokenKD(temperature), "encoder": EncoderKDLoss(12, 4, 8)}
    return {
        name: {"loss": losses[name], "student": SIDES[name][0], "teacher": SIDES[name][1], "weight": weight}
        for name, weight in weights.items()
    }


class Run:
    """A run of eight labelled and six unlabelled tones, two epochs of two steps."""

    def __init__(self, folder, weights=None, with_targets=True, name="run", teacher=None, temperature=1.0,
                 special=SPECIAL, **changes):  # fmt: skip
        options = {"scheduled_sampling": 0.0, "spec_augment": None, "swa_from_epoch": None, "select_by": "loss"}
        options |= {"valid_beam": 1, "max_words": 6, "audio_only_loss": "average"}
        labelled = make_views(make_corpora(folder, train=captioned(8), valid=captioned(4, first=20)))
        unlabelled = make_views(make_corpora(folder / "more", "more", train=captioned(6, first=40)))
        captions = [c for items in (labelled.train_items, labelled.valid_items) for i in items.values() for c in i["captions"]]  # fmt: skip # noqa: E501
        words = WordTokenizer.from_captions([*captions, "a loud tone"]).words
        self.tokenizer = WordTokenizer([*special, *words[len(special) :]])
        self.tokenizer.save(folder / "vocabulary.json")
        teacher = teacher or LoudnessTeacher()
        self.targets = None
        if with_targets:
            views = [labelled, unlabelled]
            self.targets = TeacherTargets(teacher, views, teacher.columns, folder / teacher.columns[-1]).load()
        torch.manual_seed(0)
        features = log_mel("efficientnet_captioner", sample_rate_hz=RATE, n_fft=64, win_length=64, hop_length=16,
                           n_mels=16, f_max_hz=500.0)  # fmt: skip
        encoder = PhiNet(n_mels=16, alpha=0.35, n_layers=4, t_zero=2, embed_width=12, embed_stride=1)
        decoder = CaptionDecoder(
            self.tokenizer.n_words, 12, width=16, n_heads=2, ffn_width=32, pad_id=self.tokenizer.pad_id
        )
        self.student = Captioner(features, encoder, decoder, self.tokenizer)
        self.terms = make_terms(weights or ALL_TERMS, temperature)
        modules = {} if self.targets is None else {"teacher": self.targets}
        self.brain = make_brain(
            CaptioningBrain, folder / name, self.student, modules, **{**options, "terms": self.terms, **changes}
        )
        self.datasets = make_caption_sets(
            labelled, unlabelled, self.targets, folder / "vocabulary.json", RATE, 7, max_words=6
        )

    def fit(self):
        """Train to the end."""
        counter, sets = self.brain.hparams.epoch_counter, self.datasets
        train, valid = {"batch_size": 4, "shuffle": False, "drop_last": True}, {"batch_size": 4}
        self.brain.fit(counter, sets["train"], sets["valid"], train_loader_kwargs=train, valid_loader_kwargs=valid)
        return self

    def batch(self):
        """A training batch of four labelled and four unlabelled rows."""
        loader = self.brain.make_dataloader(self.datasets["train"], "one", None, batch_size=4)
        return next(iter(loader)).to("cpu")

    def losses(self, batch):
        """Outputs and terms of a training batch."""
        predictions = self.brain.compute_forward(batch, sb.Stage.TRAIN)
        return predictions[0], self.brain.loss_terms(predictions, batch, sb.Stage.TRAIN)

    def history(self):
        """The run's log."""
        return [json.loads(line) for line in self.brain.logs.history.read_text().splitlines()]


def test_the_encoder_runs_once_a_batch_and_every_term_has_its_rows(tmp_path):
    run, calls = Run(tmp_path), []
    run.student.encoder.register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
    batch = run.batch()
    outputs, terms = run.losses(batch)
    assert calls == [8], "four labelled and four unlabelled clips, together"
    rows = [len(outputs[name]) for name in ("reference_logits", "teacher_logits", "clip")]
    assert rows == [4, 8, 8] and set(terms) == {"supervised", "sequence", "encoder"}
    torch.testing.assert_close(terms["encoder"], run.terms["encoder"]["loss"](outputs["clip"], batch.clip))
    words = outputs["teacher_logits"].log_softmax(-1).gather(2, batch.teacher_ids[:, 1:, None])[..., 0]
    mask = batch.teacher_ids[:, 1:] != run.tokenizer.pad_id
    torch.testing.assert_close(terms["sequence"], -words[mask].mean())


def test_audio_only_clips_are_averaged_with_the_others_or_their_loss_is_added(tmp_path):
    runs = [Run(tmp_path, name=rule, audio_only_loss=rule) for rule in ("average", "add")]
    batch = runs[0].batch()
    for run in runs:
        run.student.eval()  # no dropout, and BatchNorm as it is
    (outputs, average), (_, added) = (run.losses(batch) for run in runs)
    torch.testing.assert_close(average["supervised"], added["supervised"])
    cross_entropy = CaptionCrossEntropy()
    parts = [
        cross_entropy(outputs["teacher_logits"][part], batch.teacher_ids[part, 1:])
        for part in (slice(4), slice(4, None))
    ]
    torch.testing.assert_close(added["sequence"], parts[0] + parts[1])
    assert min(parts) < average["sequence"] < max(parts)
    encoder = runs[1].terms["encoder"]["loss"]
    halves = [encoder(outputs["clip"][part], batch.clip[part]) for part in (slice(4), slice(4, None))]
    torch.testing.assert_close(added["encoder"], halves[0] + halves[1])


def test_a_term_without_weight_is_neither_computed_nor_logged(tmp_path):
    run = Run(tmp_path, {"supervised": 1.0, "sequence": 0.0, "encoder": 0.0}).fit()
    assert set(run.history()[-1]["train"]) == {"loss", "supervised"}


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_words_a_teacher_held_possible_are_learnt_from_the_pass_over_its_caption(temperature, tmp_path):
    weights, teacher = {"supervised": 1.0, "sequence": 1.0, "token": 0.5}, WordyTeacher()
    run, passes = Run(tmp_path, weights, teacher=teacher, temperature=temperature), []
    asked = len(teacher.asked)
    run.student.decoder.register_forward_hook(lambda module, inputs, output: passes.append(len(inputs[0])))
    batch = run.batch()
    outputs, terms = run.losses(batch)
    assert passes == [4, 8], "people's captions once, the teacher's once"
    assert set(terms) == set(weights) and len(teacher.asked) == asked
    wanted = TokenKD(temperature)(outputs["teacher_logits"], (batch.token_ids, batch.token_probs))
    torch.testing.assert_close(terms["token"], wanted)


def test_the_token_term_alone_trains_and_is_logged_alone(tmp_path):
    run = Run(tmp_path, {"token": 1.0}, teacher=WordyTeacher(), select_by="cider_d").fit()
    assert all(set(record["train"]) == {"loss", "token"} for record in run.history())
    assert run.history()[-1]["train"]["token"] < run.history()[0]["train"]["token"]


def test_unlabelled_clips_alone_are_enough(tmp_path):
    run = Run(tmp_path, {"sequence": 1.0, "encoder": 1.0}, select_by="cider_d").fit()
    assert set(run.history()[-1]["train"]) == {"loss", "sequence", "encoder"}


def test_without_targets_people_s_words_are_all_there_is(tmp_path):
    run = Run(tmp_path, {"supervised": 1.0}, with_targets=False).fit()
    assert run.history()[-1]["train"]["supervised"] > 0
    assert set(run.history()[-1]["valid"]) == {"loss", "supervised"}


def test_the_best_epoch_is_the_one_with_the_best_captions(tmp_path):
    run = Run(tmp_path, select_by=None).fit()
    scores = [record["valid"]["cider_d"] for record in run.history()]
    assert len(scores) == 2 and all(score >= 0 for score in scores)
    assert run.brain.recover_best()["criterion"] == -max(scores)
    run.brain.release(tmp_path / "released", {})
    captioner, _ = load_student(tmp_path / "released")
    assert isinstance(captioner.caption([torch.zeros(RATE)], RATE)[0], str)


def test_swa_averages_from_its_epoch_on_and_is_what_is_released(tmp_path):
    run = Run(tmp_path, swa_from_epoch=2)
    assert run.brain.evaluated_student() is run.student, "before its epoch there is no average"
    run.fit()
    assert int(run.brain.average.n_averaged) == 2, "two steps of the second epoch"
    assert run.brain.evaluated_student() is run.brain.average.module


@pytest.mark.parametrize("options", [{"scheduled_sampling": 1.0}, {"spec_augment": SpecAugment(1, 4, 1, 2)}])
def test_options_change_training_and_not_validation(options, tmp_path):
    torch.manual_seed(0)
    plain, other = Run(tmp_path), Run(tmp_path, name="other", **options)
    batch = plain.batch()
    for run in (plain, other):
        run.student.eval()  # no dropout
        run.brain.steps_per_epoch, run.brain.step = 2, 1
        run.brain.hparams.epoch_counter.current = 2
    outputs = [run.brain.compute_forward(batch, sb.Stage.TRAIN)[0]["reference_logits"] for run in (plain, other)]
    assert not torch.allclose(*outputs)
    outputs = [run.brain.compute_forward(batch, sb.Stage.VALID)[0]["reference_logits"] for run in (plain, other)]
    torch.testing.assert_close(*outputs)


class Waits(TorchDispatchMode):
    """Counts operations for which the host would wait for a GPU."""

    n_waits = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.n_waits += function.overloadpacket.__name__ in ("_local_scalar_dense", "is_nonzero", "equal", "nonzero")
        return function(*args, **(kwargs or {}))


def test_the_host_waits_for_the_device_in_no_step(tmp_path):
    weights = {"supervised": 1.0, "sequence": 1.0, "token": 1.0, "encoder": 1.0}
    options = {"scheduled_sampling": 0.5, "spec_augment": SpecAugment(1, 4, 1, 2), "swa_from_epoch": 1}
    run, waits = Run(tmp_path, weights, teacher=WordyTeacher(), **options), []
    fit_batch = run.brain.fit_batch

    def watched(batch):
        with Waits() as mode:
            loss = fit_batch(batch)
        waits.append(mode.n_waits)
        return loss

    run.brain.fit_batch = watched
    run.fit()
    assert waits == [0, 0, 0, 0]


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
        ({"select_by": "bleu"}, "select_by: 'bleu' is unknown; choose one of cider_d, loss, supervised"),
        ({"weights": {"supervised": 0.0}}, "every term has weight 0"),
        ({"audio_only_loss": "sum"}, "audio_only_loss: 'sum' is unknown; choose one of average, add"),
        ({"scheduled_sampling": 1.5}, "scheduled_sampling: 1.5; it is a fraction"),
        ({"swa_from_epoch": 2, "ema_decay": 0.9}, "ema_decay or swa_from_epoch, not both"),
        ({"weights": {"supervised": 1.0, "token": 1.0}}, "teacher: token_choices; choose one of references, clip"),
        (
            {"weights": {"encoder": 1.0}, "with_targets": False},
            "teacher: clip, and there are no teacher targets; give --target_cache",
        ),
    ],
)
def test_options_that_mean_nothing_are_refused(options, says, tmp_path):
    with pytest.raises(ConfigError, match=says):
        Run(tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"unlabelled_per_labelled": -1}, "unlabelled_per_labelled=-1; it is a whole number from 0 on"),
        ({"examples_per_epoch": 2.5}, "examples_per_epoch=2.5"),
        ({"max_words": float("nan")}, "max_words=nan"),
        ({"labelled_fraction": 1.5}, "labelled_fraction=1.5"),
    ],
)
def test_options_of_the_data_that_mean_nothing_are_refused_before_any_work(options, says, tmp_path):
    with pytest.raises(ConfigError, match=says):
        Run(tmp_path, make_datasets=functools.partial(make_caption_sets, **options))


def test_a_live_captioning_teacher_is_refused_before_any_work(tmp_path):
    run = Run(tmp_path)
    live = TeacherTargets(LoudnessTeacher(), run.targets.views, ["clip", "caption"])
    hparams = {**vars(run.brain.hparams), "modules": {"student": run.student, "teacher": live}}
    with pytest.raises(ConfigError, match="cached teacher targets; give --target_cache FOLDER"):
        CaptioningBrain.check(hparams)
    assert not live.teacher.is_loaded


@pytest.mark.parametrize(
    ("teacher_dim", "options"),
    [(5, {}), (12, {}), (5, {"projection": "student"}), (12, {"projection": "none"}), (5, {"kind": "mse"})],
)
def test_a_loss_for_embeddings_of_another_width_is_refused(teacher_dim, options, tmp_path):
    terms = make_terms({"encoder": 1.0})
    terms["encoder"]["loss"] = EncoderKDLoss(12, teacher_dim, 8, **options)
    with pytest.raises(ConfigError, match="12 dimensions, the loudness teacher's 4; give --teacher_dim 4"):
        Run(tmp_path, terms=terms)


@pytest.mark.parametrize("special", [["<unk>", "<end>", "<pad>", "<start>"], ["<end>", "<start>", "<unk>", "<pad>"]])
def test_padding_counts_in_no_loss_whatever_its_id(special, tmp_path):
    run = Run(tmp_path, {"sequence": 1.0}, teacher=WordyTeacher(), special=special)
    batch = run.batch()
    outputs, terms = run.losses(batch)
    wanted = batch.teacher_ids[:, 1:]
    counts = wanted != special.index("<pad>")
    assert (~counts).any() and (wanted == special.index("<end>")).any()
    log_p = outputs["teacher_logits"].log_softmax(-1).gather(2, wanted[..., None])[..., 0]
    torch.testing.assert_close(terms["sequence"], -log_p[counts].mean())


def test_words_of_the_teacher_go_with_the_logits_over_its_captions(tmp_path):
    terms = make_terms({"sequence": 1.0})
    terms["sequence"]["student"] = "reference_logits"
    with pytest.raises(ConfigError, match="teacher: teacher_captions, which goes with student: teacher_logits"):
        Run(tmp_path, terms=terms)
