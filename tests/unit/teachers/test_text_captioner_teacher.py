"""From tables of captions to a teacher: evidence that is kept, a run that resumes, and the listener it was made for."""

import csv
import json
import zlib
from pathlib import Path

import pytest
import speechbrain as sb
import torch
from small_run import Killed, ToneTeacher, make_brain

from tests import fakes
from tinyclap.brains import TextCaptioningBrain
from tinyclap.checkpoints.state import load_folder
from tinyclap.data.batches import Batch
from tinyclap.data.caption_texts import CaptionTexts, make_text_sets
from tinyclap.data.vocabulary import Vocabulary
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.losses import CaptionCrossEntropy
from tinyclap.models.caption_decoder import CaptionDecoder
from tinyclap.models.conditioners import EmbeddingConditioner, TagConditioner
from tinyclap.models.text_captioner import TextCaptioner
from tinyclap.published.networks import EfficientAtMn
from tinyclap.teachers import TaggerTeacher, make_teacher, tag_text, tagger
from tinyclap.teachers.tag_simulation import TagSimulator
from tinyclap.teachers.tagger import LABELS_FILE
from tinyclap.teachers.text_evidence import EmbeddingEvidence, TagEvidence, make_text_evidence
from tinyclap.text.tokenizer import WordTokenizer

DIM, RATE = 24, 32000
SOUNDS = ["a dog barks", "rain falls", "a man speaks", "an engine runs"]


class WordBag:
    """A sentence encoder of seconds less: the sum of random vectors of its words."""

    n_read = 0

    def __init__(self, name):
        self.name = name

    def __call__(self, sentences):
        WordBag.n_read += len(sentences)
        rows = [sum(self._word(word) for word in sentence.split()) for sentence in sentences]
        return torch.nn.functional.normalize(torch.stack(rows), dim=-1)

    @staticmethod
    def _word(word):
        return torch.randn(DIM, generator=torch.Generator().manual_seed(zlib.crc32(word.encode())))


@pytest.fixture(autouse=True)
def word_bag(monkeypatch):
    for module in (tag_text, tagger):
        monkeypatch.setattr(module, "SentenceEncoder", WordBag)


def write_tagger(folder, seed=0):
    """A tagger of random weights; four of its labels are what the captions tell of."""
    torch.manual_seed(seed)
    network = EfficientAtMn(width=0.1).train()
    network(torch.rand(4, 32_000) - 0.5)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {network.published_name(name): tensor for name, tensor in network.state_dict().items()}
    torch.save(weights, folder / "mn01.pt")
    names = [*SOUNDS, *(f"Sound {index}" for index in range(4, 527))]
    rows = [{"index": index, "mid": f"/m/{index}", "display_name": name} for index, name in enumerate(names)]
    fakes.write_table(folder / LABELS_FILE, rows)
    return folder / "mn01.pt"


class Run:
    """A run of 48 captions, two epochs of about four batches."""

    def __init__(self, folder, condition="tags", name="run", weights=None):
        captions = [f"{SOUNDS[n % 4]} and {SOUNDS[(n // 4) % 4]}" for n in range(48)]
        rows = [{"youtube_id": f"v{n}", "caption": caption} for n, caption in enumerate(captions)]
        (folder / "AudioCaps").mkdir(parents=True, exist_ok=True)
        fakes.write_table(folder / "AudioCaps" / "train.csv", rows)
        table = {"name": "audiocaps", "folder": folder / "AudioCaps", "file": "train.csv", "columns": ["caption"]}
        self.texts = CaptionTexts([{**table, "group": "youtube_id"}])
        self.teacher = TaggerTeacher(weights or write_tagger(folder / "tagger"), width=0.1, space="sentence")
        vocabulary = Vocabulary(self.texts, folder / "vocabulary.json")
        vocabulary.prepare()
        tokenizer = WordTokenizer.load(vocabulary.path)
        torch.manual_seed(0)
        if condition == "tags":
            conditioner = TagConditioner(527, DIM, 16, n_likeliest=4)
            options = {"simulator": TagSimulator(), "n_candidates": 3}
            self.evidence = TagEvidence(self.teacher, self.texts, conditioner, folder / "facts.npz", **options)
        else:
            conditioner = EmbeddingConditioner(DIM, 16, bank_size=8)
            self.evidence = EmbeddingEvidence(self.teacher, self.texts, conditioner, folder / "facts.npz")
        decoder = CaptionDecoder(tokenizer.n_words, 16, 16, n_heads=2, ffn_width=32, dropout=0.1)
        self.student = TextCaptioner(conditioner, decoder, tokenizer, self.texts.styles)
        self.evidence.load()
        modules = {"teacher": self.teacher, "evidence": self.evidence}
        terms = {"words": {"loss": CaptionCrossEntropy(tokenizer.pad_id, label_smoothing=0.1)}}
        options = {"ema_decay": 0.5, "terms": terms}
        self.brain = make_brain(TextCaptioningBrain, folder / name, self.student, modules, **options)
        self.sets = make_text_sets(self.texts, self.evidence, vocabulary.path, 7, 10, valid_fraction=0.2)

    def fit(self):
        """Train to the end."""
        options, counter = {"batch_size": 1}, self.brain.hparams.epoch_counter
        self.brain.fit(
            counter, self.sets["train"], self.sets["valid"], train_loader_kwargs=options, valid_loader_kwargs=options
        )
        return self

    def release(self):
        """The folder of the released captioner."""
        folder = Path(self.brain.hparams.output_folder) / "student"
        self.brain.release(folder, {"text_side": self.teacher.text_side()})
        return folder

    def steps(self):
        """What was logged of every step."""
        with open(self.brain.logs.steps, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The released captioner of a finished run, and its tagger's weights."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (tag_text, tagger):
            patch.setattr(module, "SentenceEncoder", WordBag)
        folder = tmp_path_factory.mktemp("trained")
        run = Run(folder).fit()
        return run.release(), folder / "tagger" / "mn01.pt"


def clips():
    """Three clips of different lengths."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(n, generator=generator) - 0.5 for n in (70_000, 90_000, 70_000)]


def test_captions_raise_the_tags_that_they_name(tmp_path):
    run = Run(tmp_path)
    tags, shares = run.evidence.take(torch.arange(48).numpy())
    assert tags.shape == (48, 2, 3) and tags[:, :, 0].tolist() == [[n % 4, (n // 4) % 4] for n in range(48)]
    torch.testing.assert_close(shares.sum(dim=-1), torch.ones(48, 2))
    assert run.evidence(tags, shares)[:, :4].mean() > run.evidence(tags, shares)[:, 4:].mean() + 0.3
    prior = run.student.conditioner.prior
    assert prior[:4].mean() > prior[4:].mean(), "and so these tags are the frequent ones"


def test_what_was_worked_out_is_read_again_and_made_again_for_other_captions(tmp_path):
    run = Run(tmp_path)
    before = WordBag.n_read
    run.evidence.load()
    assert WordBag.n_read == before
    run.texts.prepare()[0][0] = "wind blows"
    run.evidence.load()
    assert WordBag.n_read > before and run.evidence.facts["events"][0].tolist()[1] == -1


def test_the_loss_falls_and_terms_are_logged(tmp_path):
    steps = Run(tmp_path).fit().steps()
    assert float(steps[-1]["loss"]) < float(steps[0]["loss"]) and "words" in steps[0]


def test_validation_is_without_label_smoothing(tmp_path):
    run = Run(tmp_path)
    brain = run.brain
    batch = next(iter(brain.make_dataloader(run.sets["valid"], sb.Stage.VALID, None, batch_size=1)))
    tokenizer = brain.modules.student.tokenizer
    logits = torch.randn(*batch.ids[:, 1:].shape, tokenizer.n_words)
    words = batch.ids[:, 1:].masked_fill(batch.ids[:, 1:] == tokenizer.unk_id, tokenizer.pad_id)
    for stage, smoothing in ((sb.Stage.VALID, 0.0), (sb.Stage.TRAIN, 0.1)):
        wanted = CaptionCrossEntropy(tokenizer.pad_id, smoothing)(logits, words)
        torch.testing.assert_close(brain.loss_terms(logits, batch, stage)["words"], wanted)


def test_a_killed_run_repeats_an_unbroken_one(tmp_path):
    whole = Run(tmp_path, name="whole").fit()
    broken = Run(tmp_path, name="broken")
    start = broken.brain.on_fit_batch_start

    def stop(batch, should_step):
        if (broken.brain.hparams.epoch_counter.current, broken.brain.step) == (2, 2):
            raise Killed
        start(batch, should_step)

    broken.brain.on_fit_batch_start = stop
    with pytest.raises(Killed):
        broken.fit()
    resumed = Run(tmp_path, name="broken").fit()
    assert resumed.steps() == whole.steps()
    for name, tensor in whole.student.state_dict().items():
        torch.testing.assert_close(resumed.student.state_dict()[name], tensor, atol=0, rtol=0)


def test_unknown_words_are_not_to_be_said(tmp_path):
    run = Run(tmp_path)
    batch = run.sets["train"][0]
    logits = run.brain.compute_forward(batch, _Stage)
    loss = run.brain.loss_terms(logits, batch, _Stage)["words"]
    ids = batch.ids.clone()
    ids[:, 2] = run.student.tokenizer.unk_id
    other = run.brain.loss_terms(logits, Batch(batch, ids=ids), _Stage)["words"]
    kept = torch.ones_like(ids[:, 1:], dtype=torch.bool)
    kept[:, 1] = False
    expected = run.brain.loss_terms(
        logits[:, [0, *range(2, logits.shape[1])]], Batch(batch, ids=ids[:, [0, 1, *range(3, ids.shape[1])]]), _Stage
    )["words"]
    torch.testing.assert_close(other, expected)
    assert not torch.allclose(other, loss)


class _Stage:
    name = "TRAIN"


def test_the_release_says_what_it_listens_to(trained):
    _, config = load_folder(trained[0])
    assert config["listener"]["condition"] == "tags" and len(config["listener"]["weights_sha256"]) == 64
    assert config["text_side"]["kind"] == "tagger" and config["model"]["styles"] == ["audiocaps"]


def test_the_teacher_embeds_and_captions_alike_alone_and_in_a_batch(trained):
    teacher = make_teacher("text_captioner", weights=trained[0].parent).load()
    embeddings, captions = teacher.targets(clips(), RATE, ["clip", "caption"]).values()
    assert embeddings.shape == (3, 527) == (3, teacher.embed_dim) and embeddings.dtype == torch.float32
    assert all(set(caption.split()) <= set(" ".join(["and", *SOUNDS]).split()) and caption for caption in captions)
    for clip, embedding, caption in zip(clips(), embeddings, captions, strict=True):
        row, said = teacher.targets([clip], RATE, ["clip", "caption"]).values()
        torch.testing.assert_close(row[0], embedding, atol=1e-4, rtol=1e-4)
        assert said == [caption]
    probabilities = teacher.listener.targets(clips(), RATE, ["tags"])["tags"]
    centre = teacher.model.conditioner.centre
    torch.testing.assert_close(embeddings * 4 + centre, torch.logit(probabilities), atol=1e-3, rtol=1e-3)


def test_the_teacher_offers_several_captions(trained):
    teacher = make_teacher("text_captioner", weights=trained[0], beam=4).load()
    several = teacher.model.caption(teacher.evidence(clips(), RATE), n_best=3, beam=4)
    assert [len(set(of_clip)) for of_clip in several] == [3, 3, 3]
    assert [of_clip[0] for of_clip in several] == teacher.caption(clips(), RATE)


def test_who_the_teacher_is_depends_on_weights_listener_and_search(trained):
    identities = [
        make_teacher("text_captioner", weights=trained[0], **options).identity()
        for options in ({}, {"beam": 2}, {"style": "audiocaps"})
    ]
    assert json.loads(json.dumps(identities[0])) == make_teacher("text_captioner", weights=trained[0]).identity()
    assert identities[0]["kind"] == "text_captioner" and identities[0]["listener"]["weights_sha256"]
    assert len({json.dumps(identity) for identity in identities}) == 3


def test_another_listener_is_refused_and_a_moved_one_is_found(trained, tmp_path):
    folder, weights = trained
    other = write_tagger(tmp_path / "other", seed=1)
    with pytest.raises(CheckpointError, match="is not the listener that .* was trained for"):
        make_teacher("text_captioner", weights=folder, listener_weights=other).load()
    with pytest.raises(CheckpointError, match="weights have moved; give listener_weights"):
        make_teacher("text_captioner", weights=folder, listener_weights=tmp_path / "nowhere.pt").load()
    assert make_teacher("text_captioner", weights=folder, listener_weights=weights).load().is_loaded


def test_a_folder_of_something_else_is_refused(trained, tmp_path):
    with pytest.raises(CheckpointError, match="has no weights; give their path as teacher_weights"):
        make_teacher("text_captioner").load()
    with pytest.raises(CheckpointError, match="no model there"):
        make_teacher("text_captioner", weights=tmp_path).load()


def test_a_captioner_of_embeddings_is_trained_and_taught_with_the_same_space(tmp_path):
    run = Run(tmp_path, "embedding").fit()
    rows = run.evidence.take(torch.arange(48).numpy())[0]
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(48), atol=1e-3, rtol=1e-3)
    assert rows.mean(dim=0).abs().max() < 0.1, "what all captions share is taken away"
    teacher = make_teacher("text_captioner", weights=run.release()).load()
    embeddings, captions = teacher.targets(clips(), RATE, ["clip", "caption"]).values()
    assert embeddings.shape == (3, DIM) and len(captions) == 3 and all(captions)


def test_what_does_not_fit_is_said_before_the_training(tmp_path):
    run = Run(tmp_path)
    evidence = make_text_evidence("tags", ToneTeacher(), run.texts, run.student.conditioner, "x", TagSimulator(), 0.1)
    with pytest.raises(ConfigError, match="needs a tagger with space='sentence', not the tone teacher"):
        evidence.load()
    evidence = TagEvidence(run.teacher, run.texts, TagConditioner(527, 384), "x", TagSimulator())
    with pytest.raises(ConfigError, match=r"labels are \(527, 24\), the conditioner has room for \(527, 384\)"):
        evidence.load()
    for conditioner, message in (
        (EmbeddingConditioner(8, bank_size=4), "24 dimensions, the conditioner wants 8; give --embed_dim 24"),
        (EmbeddingConditioner(DIM, bank_size=49), "a bank of 49 texts, and 48 captions"),
    ):
        with pytest.raises(ConfigError, match=message):
            EmbeddingEvidence(run.teacher, run.texts, conditioner, "x").load()
    with pytest.raises(ConfigError, match="condition 'words' is unknown"):
        make_text_evidence("words", *[None] * 6)
