"""An exported captioner: clips of any length, rate and format to captions, without torch.

Three graphs: waveform to encoder frames (which `engine` and `precision` apply to), frames to cross-attention keys and
values, and one decoding step. The last two run in onnxruntime: at three rows a step it is twice as quick as OpenVINO.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyclap.audio.clips import as_clips
from tinyclap.audio.windows import clip_groups
from tinyclap.checkpoints.folder import checked_file, read_arrays
from tinyclap.decoding.rule import Hypotheses
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.runtime.audio_model import GOLDEN, resolved_precision, window_policy
from tinyclap.runtime.caption_search import GraphDecoder
from tinyclap.runtime.session import open_session
from tinyclap.text.tokenizer import WordTokenizer

if TYPE_CHECKING:
    from tinyclap.audio.clips import Audio

VOCABULARY = "vocabulary.json"
_SHARED = ("n_words", "start_id", "end_id", "pad_id")  # what the decoder and its vocabulary both state
_BATCH_SIZE = 16


class CaptionModel:
    """The graphs of a captioner with its vocabulary; made by :func:`tinyclap.runtime.load`.

    `folder`, `engine` and `precision` (of the encoder) and `n_threads` as there; `config` is the folder's.

    Attributes
    ----------
    sample_rate_hz, embed_dim : int
    precision : {"fp32", "int8", "bf16"}. Of the encoder; the decoder is fp32.
    tokenizer : tinyclap.text.tokenizer.WordTokenizer
    frames_graph, memory_graph : Session. Waveforms (B, T) to frames; these and their number to the decoder's memory.
    decoder : tinyclap.runtime.caption_search.GraphDecoder
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        config: dict[str, Any],
        engine: str = "onnxruntime",
        precision: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        self.folder, self.config = Path(folder), config
        self.sample_rate_hz, self.embed_dim = config["sample_rate_hz"], config["embed_dim"]
        self.policy = window_policy(folder, config)
        self.precision = resolved_precision(config, engine, precision)
        frames = checked_file(folder, config, config["graphs"]["int8" if self.precision == "int8" else "fp32"])
        level = "unpacked" if config.get("compact") else "all"
        frames_level = "all" if self.precision == "int8" else level
        self.frames_graph = open_session(frames, engine, self.precision, n_threads, level=frames_level)
        memory, step = (checked_file(folder, config, config["graphs"][name]) for name in ("memory", "step"))
        self.memory_graph = open_session(memory, n_threads=n_threads, level=level)
        self.decoder = GraphDecoder(open_session(step, n_threads=n_threads, level=level), config["decoder"])
        self.tokenizer = WordTokenizer.load(checked_file(folder, config, VOCABULARY))
        sizes = config["decoder"]
        if config["decoding"]["max_words"] > sizes["max_positions"]:
            raise CheckpointError(f"{folder}: decoding.max_words is more than its decoder can say; export it again")
        if any(sizes[key] != getattr(self.tokenizer, key) for key in _SHARED):
            raise CheckpointError(f"{folder}: its decoder has other words than {VOCABULARY}; export the model again")

    def caption(self, audio: Audio, sample_rate_hz: float | None = None, **options: Any) -> list[str]:
        """Caption clips: list of str; arguments as for `describe`."""
        if not self.config["has_words"]:
            raise ConfigError(f"{self.folder}: exported without a vocabulary; export again with the file of its words")
        return [self.tokenizer.decode(ids[0]) for ids in self.describe(audio, sample_rate_hz, **options)[1].ids]

    def describe(
        self,
        audio: Audio,
        sample_rate_hz: float | None = None,
        beam: int | None = None,
        max_words: int | None = None,
        batch_size: int = _BATCH_SIZE,
        **options: Any,
    ) -> tuple[np.ndarray, Hypotheses]:
        """The mean frames of clips, and their best captions.

        Arguments
        ---------
        audio, sample_rate_hz : Paths or arrays; see :func:`tinyclap.audio.clips.as_clips`.
        beam, max_words : int or None. None takes what ``config["decoding"]`` says.
        batch_size : int. Clips of one length in one pass.
        **options : ``min_words``, ``n_best`` and ``forbidden_ids`` of :class:`tinyclap.decoding.rule.BeamRule`.

        Returns
        -------
        numpy.ndarray, shape (B, C), float32. Not normalised.
        tinyclap.decoding.rule.Hypotheses. Of numpy arrays.
        """
        usual = self.config["decoding"]
        n_beams: int = usual["beam"] if beam is None else beam
        longest: int = usual["max_words"] if max_words is None else max_words

        def work(clip, memory):
            return clip, *self.decoder.search(memory, n_beams, longest, **options)

        rows, *found = self._over(audio, sample_rate_hz, batch_size, work)
        return rows, Hypotheses(*found)

    def embed(self, audio: Audio, sample_rate_hz: float | None = None, batch_size: int = _BATCH_SIZE) -> np.ndarray:
        """The mean frames of clips: (B, C), float32, not normalised; arguments as for `describe`."""
        return self._over(audio, sample_rate_hz, batch_size, lambda clip, memory: (clip,))[0]

    def check(self) -> dict[str, float]:
        """Differences between this machine's outputs and torch's, over the folder's golden clips: dict of str to float.

        "clip": maximum difference of the mean frames. "captions": fraction of clips with another caption.
        """
        worst, other = 0.0, []
        golden = read_arrays(checked_file(self.folder, self.config, GOLDEN), "sample_rates_hz", "clip", "ids")
        for index, rate_hz in enumerate(golden["sample_rates_hz"]):
            rows, found = self.describe([golden[f"clip_{index}"]], int(rate_hz))
            worst = max(worst, float(np.abs(rows[0] - golden["clip"][index]).max()))
            other.append(not np.array_equal(found.ids[0, 0], golden["ids"][index]))
        return {"clip": worst, "captions": float(np.mean(other))}

    def _over(self, audio, sample_rate_hz, batch_size, work):
        """Apply `work` to mean frames and memory of every group of clips; results come in the order of the clips."""
        clips = as_clips(audio, self.sample_rate_hz, self.config["resampler"], sample_rate_hz)
        owners, done = [], []
        for of_group, pieces in clip_groups(clips, self.sample_rate_hz, self.policy, batch_size):
            owners += of_group
            done.append(work(*self._encode(np.concatenate(pieces), len(of_group))))
        order = np.argsort(owners)
        return [np.concatenate(parts)[order] for parts in zip(*done, strict=True)]

    def _encode(self, pieces, n_clips):
        """Encode the pieces of clips: the clips' mean frames, and the decoder's memory."""
        frames = self.frames_graph.run({"wavs": np.ascontiguousarray(pieces)})[0]
        n_counting = n_valid(pieces.shape[1], frames.shape[1], **self.config["frames"])  # all pieces have one length
        frames = frames[:, :n_counting].reshape(n_clips, -1, frames.shape[-1])
        n_frames = np.full(n_clips, frames.shape[1])
        clip, *memory = self.memory_graph.run({"frames": frames, "n_frames": n_frames})
        return clip, memory


def n_valid(n_samples: int, n_frames: int, n_dropped: int, hop_length: int, mel_frames_each: int | None) -> int:
    """Valid frames of a clip, as :func:`tinyclap.models.encoding.valid_frames` counts them.

    Arguments
    ---------
    n_samples, n_frames : int. Of the clip, and of the encoder's output.
    n_dropped, hop_length : int. Samples that the front end drops, and samples between its frames.
    mel_frames_each : int or None. Mel frames for each encoder frame; None where all frames are valid.

    Example
    -------
    >>> n_valid(160000, 32, n_dropped=0, hop_length=160, mel_frames_each=32)
    31
    """
    n_mel = (n_samples - n_dropped) // hop_length + 1
    return n_frames if mel_frames_each is None else min(max(n_mel // mel_frames_each, 1), n_frames)
