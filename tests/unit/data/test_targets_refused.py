"""A target cache refuses what it was not made for, and needs no teacher once it is whole."""

import pytest
import torch
from caption_run import LoudnessTeacher, captioned
from caption_run import make_corpora as make_captioned
from caption_run import make_views as make_windows
from small_run import ToneTeacher, make_features, make_views

from tinyclap.config.registry import build
from tinyclap.data import targets as module
from tinyclap.data.augment import FunctionMatchingAugment
from tinyclap.data.targets import TeacherTargets
from tinyclap.errors import CheckpointError, ConfigError, DownloadError, ManifestError

COLUMNS = ("clip", "frames", "middle", "tags")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher": ToneTeacher(embed_dim=7)}, r"another target cache: teacher embed_dim \(6 there, 7 here\)"),
        ({"precision": "bf16"}, r"another target cache: precision \(fp32 there, bf16 here\)"),
    ],
)
def test_another_teacher_or_precision_is_refused(make, change, message):
    make().load()
    with pytest.raises(CheckpointError, match=message) as caught:
        make(**change).load()
    assert "delete" in str(caught.value) and "\n" not in str(caught.value)


def test_another_front_end_is_refused(make, corpora, tmp_path):
    targets = make().load()
    features = build({**make_features().config, "hop_length": 160})
    other = TeacherTargets(ToneTeacher(), make_views(corpora), COLUMNS, targets.folder, features)
    with pytest.raises(CheckpointError, match=r"another target cache: log_mel .*hop_length \(320 there, 160 here\)"):
        other.load()


def test_some_columns_of_a_cache_are_enough_and_a_missing_one_is_named(make):
    make("all").load()
    some = make("all", columns=("tags",), features=False).load()
    assert some.columns == ("tags",) and not some.has_log_mel
    assert list(some.example(*some.views[0].keys()[0])) == ["tags"]
    make("few", columns=("clip",), features=False).load()
    with pytest.raises(CheckpointError, match=r"columns \(.*'clip'.* there, .*'frames', 'log_mel'.* here\).*another"):
        make("few", columns=("clip", "frames")).load()


def test_missing_shards_of_a_cache_with_more_columns_are_made_with_all(make):
    whole = make().load()
    lost = next(whole.folder.glob("*.arrow"))
    wanted = lost.read_bytes()
    lost.unlink()
    with pytest.raises(ConfigError, match="1 of .* shards .* are missing, and the others have log_mel"):
        make(columns=("clip",), features=False).load()
    make(columns=("clip",)).load()
    assert lost.read_bytes() == wanted


def test_other_views_and_other_clips_are_refused(make, make_captions, corpora, captions, tmp_path):
    make("crops").load()
    with pytest.raises(ManifestError, match=r"other views of esc50_train_crops: n_views \(2 there, 4 here\)"):
        make("crops", views=make_views(corpora, n_views=4)).load()
    make_captions("windows").load()
    with pytest.raises(ManifestError, match=r"toy_train_windows: duration_s \(1.0 there, 0.5 here\).*--target_cache"):
        make_captions("windows", views=make_windows(captions, duration_s=0.5)).load()
    fewer = make_captioned(tmp_path / "fewer", train=captioned(9))
    with pytest.raises(ManifestError, match=r"other clips.*of toy_train_windows: clips .* delete toy_train_windows_\*"):
        make_captions("windows", views=make_windows(fewer)).load()
    for path in (tmp_path / "windows").glob("toy_train_windows_*"):
        path.unlink()
    assert len(make_captions("windows", views=make_windows(fewer)).load()) == 27, "the advice helps"


@pytest.mark.parametrize("name", ["store.json", "pool.json", "0123456789abcdef/pool.json"])
def test_a_folder_of_an_earlier_format_is_named(make, tmp_path, name):
    (tmp_path / "cache" / name).parent.mkdir(parents=True)
    (tmp_path / "cache" / name).write_text("{}")
    with pytest.raises(CheckpointError, match=rf"{name} is of a cache of an earlier tinyclap, which cannot be read"):
        make().load()


def test_a_cache_of_a_later_format_or_with_a_broken_note_is_named(make):
    note = make().load().folder / "targets.json"
    content = note.read_text("utf-8")
    note.write_text(content.replace('"format": 1', '"format": 2'))
    with pytest.raises(CheckpointError, match=r"format \(2 there, 1 here\)"):
        make().load()
    note.write_text(content[:100])
    with pytest.raises(CheckpointError, match="targets.json: not readable"):
        make().load()


def test_two_kinds_of_windows_of_one_manifest_are_refused(make_captions, captions):
    with pytest.raises(ConfigError, match="two views of this run are called toy_train_windows, and differ"):
        make_captions(views=[make_windows(captions), make_windows(captions, n_views=1)]).load()


def test_a_cache_of_nothing_is_refused(make_captions):
    with pytest.raises(ConfigError, match="no clips to fill"):
        make_captions(views=[make_windows(None)]).load()


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"shard_size": 0}, {"batch_size": 2.5}, {"columns": "words"}])
def test_options_out_of_their_range_are_refused(make, options):
    with pytest.raises(ConfigError, match=str(next(iter(options.values())))):
        make(**options)


class Answers(LoudnessTeacher):
    """A teacher that gives what it is told to."""

    def __init__(self, **answer):
        super().__init__()
        self.answer = answer

    def targets(self, wavs, sample_rate_hz, columns=("clip",)):
        """The same to all."""
        return self.answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"clip": torch.full((4, 2), 1e6), "caption": ["x"] * 4}, "clip for view w0 of toy_train/c0 is not finite"),
        ({"clip": torch.full((4, 2), float("nan")), "caption": ["x"] * 4}, "not finite"),
        ({"clip": torch.zeros(3, 2), "caption": ["x"] * 4}, "3 rows of clip for 4 views"),
        ({"clip": torch.zeros(4, 2), "caption": ["x"] * 3}, "3 rows of caption"),
        ({"clip": torch.zeros(4, 2)}, "no caption"),
    ],
)
def test_a_teacher_that_gives_nonsense_is_stopped(make_captions, answer, message):
    with pytest.raises(CheckpointError, match=message):
        make_captions(teacher=Answers(**answer)).load()


def test_columns_that_need_views_of_one_length_say_so(tmp_path):
    corpora = make_captioned(tmp_path / "corpus", train={"long": (2.0, 100, 0.1, {}), "short": (0.4, 100, 0.1, {})})

    class Framed(LoudnessTeacher):
        columns = ("clip", "frames")

        def _targets(self, wavs, sample_rate_hz):
            return {"clip": torch.zeros(len(wavs), 2), "frames": torch.zeros(len(wavs), max(map(len, wavs)), 2)}

    for options, message in (({"batch_size": 1}, "frames has several shapes"), ({"features": 1}, "different lengths")):
        features = torch.nn.Identity() if "features" in options else None
        if features:
            features.config = {}
        columns = ("frames",) if features is None else ("clip",)
        batch_size = options.get("batch_size", 8)
        targets = TeacherTargets(
            Framed(), make_windows(corpora), columns, tmp_path / message[:5], features, batch_size=batch_size
        )
        with pytest.raises(ConfigError, match=message):
            targets.load()


def test_a_damaged_shard_is_named_when_the_cache_is_opened(make_captions):
    targets = make_captions().load()
    path = targets.folder / "toy_train_windows_0000008.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="windows_0000008.arrow.*another sha256.*delete toy_train_windows_0"):
        make_captions().load()
    for file in targets.folder.glob(f"{path.stem}.*"):
        file.unlink()
    assert len(make_captions().load(verify=True)) == 30


# Without the teacher's weights ----------------------------------------------------------------------------------------


class Forgotten(ToneTeacher):
    """A teacher whose weights are no longer there."""

    weights, error = "gone.pt", CheckpointError("no file gone.pt")

    def identity(self):
        """Asks for the file."""
        raise CheckpointError("not loaded")

    def _load(self):
        raise self.error


class Unreachable(Forgotten):
    """A teacher whose weights would have to be fetched."""

    weights, error = "download", DownloadError("no network")


@pytest.mark.parametrize("teacher_class", [Forgotten, Unreachable])
def test_a_whole_cache_needs_no_weights_and_says_who_made_it(make, teacher_class, caplog):
    made = make().load()
    used = make(teacher=teacher_class()).load()
    assert len(used) == len(made) and used.embed_dim == 6 and used.kind == "tone" and used.text_side()
    assert "used as it is" in caplog.text and "embed_dim" in caplog.text
    next(used.folder.glob("*.arrow")).unlink()
    with pytest.raises(CheckpointError, match=r"1 of its \d shards are missing.*(gone.pt|no network).*precompute.py"):
        make(teacher=teacher_class()).load()
    with pytest.raises(CheckpointError, match="targets.json does not exist.*(gone.pt|no network)"):
        make("other", teacher=teacher_class()).load()


def test_without_a_teacher_a_cache_is_taken_as_it_is_and_must_be_whole(make_captions, captions):
    with pytest.raises(CheckpointError, match="targets.json does not exist.*python precompute.py RECIPE.yaml"):
        make_captions(teacher=None).load()
    made = make_captions().load()
    used = make_captions(teacher=None).load()
    assert used.get("toy_train/c0", "w0", "caption") == made.get("toy_train/c0", "w0", "caption")
    assert used.identity == LoudnessTeacher().identity()
    with pytest.raises(ManifestError, match="duration_s"):
        make_captions(teacher=None, views=make_windows(captions, duration_s=0.5)).load()
    mixtures = {"kind": "mixtures", "augment": FunctionMatchingAugment(), "n_views": 1, "valid_fraction": 0.3}
    with pytest.raises(CheckpointError, match="of its 2 shards are missing.*no teacher is given"):
        make_captions(teacher=None, views=make_windows(captions, **mixtures)).load()


def test_a_folder_that_can_only_be_read_is_read(make_captions, monkeypatch):
    make_captions().load()

    def refused(*anything, **options):
        raise PermissionError("read-only")

    monkeypatch.setattr(module, "write_json", refused)
    monkeypatch.setattr(module, "FileLock", refused)
    assert len(make_captions().load()) == 30
