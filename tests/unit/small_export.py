"""A model of a few thousand parameters as an exported folder, made once for all tests of a process."""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import torch

from tests import tiny
from tinyclap.checkpoints.state import save_folder
from tinyclap.export.sources import Source, open_source
from tinyclap.export.write import ExportOptions, export_model
from tinyclap.features.front_ends import log_mel
from tinyclap.models.mobilenet import MobileNet
from tinyclap.models.projection import TagHead
from tinyclap.models.student import AudioStudent

LABELS = ["dog", "rain", "siren"]
TAGS = [f"tag {index}" for index in range(8)]


@cache
def _scratch():
    """A folder that lives as long as the process; the object that removes it is kept with it."""
    return tempfile.TemporaryDirectory(prefix="tinyclap-export-")


@cache
def recordings():
    """A folder with six recordings of other rates, lengths and channels."""
    folder = Path(_scratch().name) / "recordings"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for index, (rate_hz, duration_s, n_channels) in enumerate(
        [(16000, 1.0, 1), (44100, 0.5, 2), (8000, 2.6, 1), (22050, 1.7, 1), (16000, 0.3, 1), (48000, 1.04, 2)]
    ):
        time_s = np.arange(round(duration_s * rate_hz))[:, None] / rate_hz
        tone = 0.3 * np.sin(2 * np.pi * 300 * (index + 1) * time_s)
        soundfile.write(
            folder / f"{index}.wav", tone + 0.05 * generator.standard_normal((len(tone), n_channels)), rate_hz
        )
    return folder


@cache
def run():
    """The folder of a finished run: a student and a text tower in one space."""
    return tiny.saved_clap(Path(_scratch().name) / "run")


@cache
def exported():
    """The folder of that run's student: fp32 and int8, three labels. Returns (folder, source, what was reported)."""
    source = open_source(run())
    options = ExportOptions(
        labels=LABELS,
        precisions=["fp32", "int8"],
        calibration_audio=str(recordings()),
        check_audio=[str(recordings())],
        n_calibration=4,
        min_cosine=0.8,
        max_accuracy_drop=40.0,
    )
    target = Path(_scratch().name) / "exported"
    return target, source, export_model(source, target, options)


class _Tagger(torch.nn.Module):
    """A small network of the form of :class:`tinyclap.published.networks.EfficientAtMn`."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        features = log_mel("efficientat", n_mels=32)
        encoder = MobileNet(width=0.1, n_tags=len(TAGS), n_blocks=3, n_mels=32)
        self.audio = AudioStudent(features, encoder, window={"window_s": 2.0, "short": "native", "min_s": 0.5}).eval()

    def embed_audio(self, wavs, sample_rate_hz):
        return self.audio.embed_windows(lambda windows: self.audio(windows).clip, wavs, sample_rate_hz)

    def tag(self, wavs, sample_rate_hz):
        encoder = self.audio.encoder
        return self.audio.embed_windows(
            lambda windows: encoder.tag_logits(self.audio(windows).clip), wavs, sample_rate_hz
        )


@cache
def exported_tagger():
    """A tagger in fp32 without labels. Returns (folder, source)."""
    source = Source("tagger", _Tagger(), {"source": "a small tagger"}, tags=TAGS)
    target = Path(_scratch().name) / "exported_tagger"
    export_model(source, target, ExportOptions(check_audio=[str(recordings())]))
    return target, source


@cache
def tag_space_run():
    """A run whose student gives the probabilities of eight tags, and whose text side is a tag space."""
    student = tiny.student(embed_dim=len(TAGS))
    head = TagHead(student.encoder.embed_dim, len(TAGS))
    torch.nn.init.normal_(head.linear.weight)
    student = AudioStudent(student.features, student.encoder, head, {"window_s": 1.0}, "soxr", "sigmoid").eval()
    side = {"kind": "tag_space", "labels": TAGS, "prior": None}
    folder = Path(_scratch().name) / "tag_space"
    save_folder(student, folder / "student", {"text_side": side})
    return folder
