"""The script that says how many times as fast as its teacher a captioner is: what it times, writes and refuses."""

import json
import sys

import pytest
from test_captioner import captioner

from tests import fakes
from tests.conftest import ROOT
from tinyclap.checkpoints.state import save_folder
from tinyclap.errors import ConfigError

sys.path.insert(0, str(ROOT / "recipes"))

import caption_speed


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The folders of a smaller and of a larger captioner."""
    folder = tmp_path_factory.mktemp("captioners")
    save_folder(captioner(), folder / "small", {})
    save_folder(captioner(more={"alpha": 1.0, "t_zero": 6}), folder / "large", {})
    return folder


def words(models, folder, *more):
    given = ["--student", "captioner", "--student_weights", str(models / "small"), "--teacher", "captioner"]
    given += ["--teacher_weights", str(models / "large"), "--clip_s", "0.5", "--turns", "2"]
    return [*given, "--output_folder", str(folder), *more]


def test_the_value_is_the_teacher_s_time_over_the_student_s(models, tmp_path):
    assert caption_speed.main(words(models, tmp_path)) == 0
    record = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    times = record["times"]
    assert record["value"] == times["teacher"]["median_ms"] / times["student"]["median_ms"] > 0
    assert times["teacher"]["n_parameters"] > times["student"]["n_parameters"]
    assert times["student"]["real_time_factor"] == pytest.approx(times["student"]["median_ms"] / 500)
    assert record["options"] == {"clip_s": 0.5, "n_clips": 1, "turns": 2, "threads": 1}


def test_real_clips_are_tiled_to_one_length(tmp_path):
    for index in range(3):
        fakes.write_audio(tmp_path / f"{index}.wav", 0.2 + 0.1 * index, pitch_hz=300.0)
    clips = caption_speed.clips_of(tmp_path, 0.25, 2)
    assert [len(clip) for clip in clips] == [8000, 8000]


def test_what_cannot_be_timed_is_refused(models, tmp_path):
    with pytest.raises(ConfigError, match="at least 1"):
        caption_speed.main(words(models, tmp_path, "--threads", "0"))
    with pytest.raises(ConfigError, match="holds no .wav"):
        caption_speed.clips_of(tmp_path, 1.0, 1)
