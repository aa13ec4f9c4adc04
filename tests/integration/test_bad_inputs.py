"""The twelve bad or unusual inputs, from the corpus' folder to the scores: each a clear error, or a right result.

Every test scores a tiny CLAP on a tiny ESC-50 with one thing changed, by the very function that ``evaluate.py`` runs.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
import torchaudio

import evaluate
from tests import fakes, tiny
from tinyclap.audio.io import read_audio
from tinyclap.checkpoints.state import CONFIG
from tinyclap.errors import AudioError, CheckpointError, ConfigError, DataLayoutError

RECIPE = str(Path(__file__).resolve().parents[2] / "hparams/esc50.yaml")
CLASSES = ["dog", "rain", "siren"]


class Place:
    """A tiny ESC-50 with two clips a class, a run to score, and a folder for the scores."""

    def __init__(self, folder):
        self.folder = folder
        self.corpus = fakes.esc50(folder, folds=(1, 2), n_per_fold=1)
        self.table = self.corpus / "meta/esc50.csv"
        self.clips = sorted((self.corpus / "audio").iterdir())
        self.run = tiny.saved_clap(folder / "run")

    def score(self, *more, corpus=None):
        """Prepare, embed and score; returns the metrics and the rows of scores by the clips' names."""
        output = self.folder / "scores"
        arguments = [RECIPE, "--data_folder", str(corpus or self.corpus), "--weights", str(self.run)]
        evaluate.main([*arguments, "--output_folder", str(output), "--subset", "listed", "--device", "cpu", *more])
        with open(output / "predictions.csv", newline="", encoding="utf-8") as file:
            rows = {
                row["id"]: [float(value) for key, value in row.items() if key.startswith("score:")]
                for row in csv.DictReader(file)
            }
        return json.loads((output / "metrics.json").read_text(encoding="utf-8")), rows

    def scores_of_first_clip(self):
        """Scores of the first clip, (3,), after all six were scored."""
        metrics, rows = self.score()
        assert metrics["n_items"] == 6 and np.isfinite(list(rows.values())).all()
        return torch.tensor(rows[self.clips[0].stem])


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def expected_scores(embedding):
    """Cosines of an audio embedding (D,) of the tiny CLAP with the prompts of the three classes."""
    text = tiny.clap().embed_text([f"this is the sound of {name}" for name in CLASSES])
    return text @ F.normalize(embedding, dim=0)


def windows_of_one_second(wav):
    """Embeddings of whole seconds (n, D), by one plain pass of the network each: no policy, no resampling."""
    with torch.no_grad():
        return torch.cat([F.normalize(tiny.clap().audio(part).clip, dim=-1) for part in wav.reshape(-1, 1, 16000)])


def test_01_a_wrong_folder_says_what_is_missing_what_is_there_and_where_to_get_it(place):
    with pytest.raises(DataLayoutError) as caught:
        place.score(corpus=place.run)
    text = str(caught.value)
    assert "ESC-50 in " in text and str(place.run) in text
    assert "missing: meta/esc50.csv" in text and "found in the folder: student" in text
    assert "audio/{fold}-{freesound id}-{take}-{target}.wav" in text and "https://github.com/karolpiczak" in text


def test_02_three_missing_files_are_all_named_at_once(place):
    for path in place.clips[:3]:
        path.unlink()
    with pytest.raises(DataLayoutError, match="3 problem\\(s\\)") as caught:
        place.score()
    assert caught.value.problems == [f"missing: audio/{path.name}" for path in place.clips[:3]]


def test_03_a_truncated_wav_is_found_before_anything_is_scored(place):
    content = place.clips[0].read_bytes()
    place.clips[0].write_bytes(content[: len(content) // 2])
    with pytest.raises(DataLayoutError, match=f"unusable: {place.clips[0].name} is cut short: .* fetch it again"):
        place.score()
    assert not (place.folder / "scores/metrics.json").exists()


def test_04_an_empty_file_is_named_beside_every_other_problem(place):
    place.clips[0].write_bytes(b"")
    place.clips[1].unlink()
    with pytest.raises(DataLayoutError, match="2 problem\\(s\\)") as caught:
        place.score()
    assert f"unusable: {place.clips[0].name} the file is empty (0 bytes)" in str(caught.value)
    assert f"missing: audio/{place.clips[1].name}" in str(caught.value)


def test_05_nan_samples_are_located_and_give_no_score(place):
    samples = np.zeros(4000, np.float32)
    samples[1000] = np.nan
    soundfile.write(place.clips[0], samples, 8000, subtype="FLOAT")
    with pytest.raises(AudioError, match=f"{place.clips[0].name}: 1 samples are NaN or infinite, the first at 0.125 s"):
        place.score()
    assert not (place.folder / "scores/metrics.json").exists()


def test_06_24_bit_stereo_is_scored_as_the_mean_of_its_channels(place):
    samples = fakes.write_audio(place.clips[0], 1.0, rate=16000, channels=2, subtype="PCM_24")
    assert soundfile.info(place.clips[0]).subtype == "PCM_24"
    wav = torch.tensor(samples.mean(axis=1), dtype=torch.float32)
    expected = expected_scores(windows_of_one_second(wav)[0])
    torch.testing.assert_close(place.scores_of_first_clip(), expected, atol=1e-4, rtol=0)


def test_07_8_khz_is_resampled_to_the_rate_of_the_network(place):
    fakes.write_audio(place.clips[0], 1.0, rate=8000)
    wav = torch.from_numpy(read_audio(place.clips[0])[0])
    expected = expected_scores(windows_of_one_second(torchaudio.functional.resample(wav, 8000, 16000))[0])
    torch.testing.assert_close(place.scores_of_first_clip(), expected, atol=1e-4, rtol=0)


def test_08_a_twentieth_of_a_second_is_repeated_to_a_window(place):
    fakes.write_audio(place.clips[0], 0.05, rate=16000)
    wav = torch.from_numpy(read_audio(place.clips[0])[0])
    assert wav.shape == (800,)
    expected = expected_scores(windows_of_one_second(wav.repeat(20))[0])
    torch.testing.assert_close(place.scores_of_first_clip(), expected, atol=1e-4, rtol=0)


def test_09_ten_minutes_are_heard_to_the_end(place):
    # 540 times one second of tone, then 60 times one of noise: what hears a part alone, or crops, scores another clip
    tone = 0.3 * torch.sin(2 * torch.pi * 440 * torch.arange(16000) / 16000)
    noise = torch.rand(16000, generator=torch.Generator().manual_seed(0)) - 0.5
    wav = torch.cat([tone.repeat(540), noise.repeat(60)])
    soundfile.write(place.clips[0], wav.numpy(), 16000, subtype="FLOAT")
    seconds = windows_of_one_second(torch.cat([tone, noise]))
    expected = expected_scores(0.9 * seconds[0] + 0.1 * seconds[1])
    found = place.scores_of_first_clip()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (found - expected_scores(seconds[0])).abs().max() > 1e-3, "the last minute counts"


def test_10_a_missing_class_is_named_unless_the_corpus_is_said_to_be_a_part(place):
    place.table.write_text("".join(line for line in place.table.open() if ",siren," not in line))
    with pytest.raises(DataLayoutError, match="48 class\\(es\\) missing: .*siren") as caught:
        place.score("--subset", "null")
    assert "subset='listed' takes what is there" in str(caught.value)
    metrics, rows = place.score()
    assert metrics["classes"] == ["dog", "rain"] and {len(scores) for scores in rows.values()} == {2}


def test_11_a_checkpoint_of_another_width_is_refused_with_both_shapes(place):
    path = place.run / "student" / CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model"]["audio"]["projection"]["d_out"] = config["model"]["text"]["embed_dim"] = 24
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError, match="does not fit Clap; nothing was loaded") as caught:
        place.score()
    assert "audio.projection.linear.weight is (16, " in str(caught.value) and "should be (24, " in str(caught.value)


def test_12_a_mistyped_key_on_the_command_line_is_named_with_what_was_meant(place):
    message = r"has no key --batch_sise; did you mean --batch_size\? All keys: --help$"
    with pytest.raises(ConfigError, match=message):
        place.score("--batch_sise", "4")
    assert not (place.folder / "scores").exists(), "nothing was started"
