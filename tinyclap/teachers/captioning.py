"""Captioning teachers: clips → an embedding and a caption of each.

Source: Xu et al., "Efficient Audio Captioning with Encoder-Level Knowledge Distillation", Interspeech 2024.
"""

from functools import cached_property
from pathlib import Path

import torch

from tinyclap.checkpoints.state import load_student
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.files import sha256_of, sha256_of_json
from tinyclap.losses.common import is_number
from tinyclap.models.captioner import Captioner
from tinyclap.published.networks import load_published
from tinyclap.published.table import PUBLISHED
from tinyclap.published.tokenizers import BART, hub_tokenizer
from tinyclap.teachers.base import FrozenTeacher
from tinyclap.teachers.precision import in_bf16


class CaptioningTeacher(FrozenTeacher):
    """Base of captioning teachers, of name `kind`; ``clip`` is not normalised. `weights` may be None with a cache."""

    columns = ("clip", "caption")

    def __init__(self, kind, weights):
        super().__init__(kind)
        self.weights = None if weights is None else str(weights)

    def _to_bf16(self):
        self.model.encoder = in_bf16(self.model.encoder)

    def _load_run(self, kind_of_model, advice):
        """Load a folder of ours that holds a model of one class, with its config."""
        self.model, self._folder_config = load_student(self.weights)
        if not isinstance(self.model, kind_of_model):
            raise CheckpointError(f"{self.weights} holds a {type(self.model).__name__}{advice}")


class WavcapsTeacher(CaptioningTeacher):
    """WavCaps' HTSAT-BART, the teacher of the paper, on the first 10 s of a clip, zero-padded, as published.

    The embedding is the mean of HTS-AT's 32 frames: how the paper's authors pooled is not published.

    Arguments
    ---------
    weights : str or os.PathLike or None. The published file, or one of the same names.
    tokenizer : str or os.PathLike. Local folder or hub name of BART's tokenizer.
    beam, max_length, batch_size : int. 1 beam is greedy; maximum tokens of a caption; clips in one pass.
    htsat, bart : dict, optional. Sizes, as for :class:`tinyclap.published.wavcaps.WavcapsHtsatBart`.
    """

    def __init__(self, weights=None, tokenizer=BART, beam=3, max_length=30, batch_size=4, htsat=None, bart=None):
        super().__init__("wavcaps_htsat_bart", weights)
        self.tokenizer, self.beam, self.max_length, self.batch_size = str(tokenizer), beam, max_length, batch_size
        self.sizes = {name: sizes for name, sizes in (("htsat", htsat), ("bart", bart)) if sizes}

    def _load(self):
        self.model = load_published("wavcaps-htsat-bart", path=self.weights, tokenizer=self.tokenizer, **self.sizes)
        self.sample_rate_hz, self.embed_dim = self.model.sample_rate_hz, self.model.embed_dim
        self.model.load_tokenizer()  # a missing one is better known now

    def _targets(self, wavs, sample_rate_hz, columns):
        if columns == {"clip"}:
            encodings = self.model.encode_first(wavs, sample_rate_hz, self.batch_size)
            return {"clip": torch.cat([encoding.clip for encoding in encodings]).float()}
        options = {"beam": self.beam, "max_length": self.max_length, "batch_size": self.batch_size}
        rows, ids = self.model.describe(wavs, sample_rate_hz, **options)
        return {"clip": rows.float(), "caption": self.model.strings(ids)}

    def _decides(self):
        vocabulary = sha256_of_json(hub_tokenizer(self.tokenizer, BART).get_vocab())
        found = {"weights_sha256": self._weights_sha256, "vocabulary_sha256": vocabulary, "beam": self.beam}
        return {**found, "max_length": self.max_length, "input": "the first 10 s", **self.sizes}

    @cached_property
    def _weights_sha256(self):
        return sha256_of(PUBLISHED["wavcaps-htsat-bart"].at(self.weights))  # 2 GB take seconds


class CaptionerTeacher(CaptioningTeacher):
    """A captioner of ours: a larger one that teaches a smaller one. The embedding is the mean of the encoder's frames.

    Arguments
    ---------
    weights : str or os.PathLike or None. A run's folder, or the folder of a saved captioner.
    beam, max_words : int. 1 beam is greedy; maximum words of a caption.
    n_word_choices : int. Most probable words of each place, stored for token-level distillation; 0 stores none.
    """

    weights_are_a_run = True

    def __init__(self, weights=None, beam=3, max_words=20, n_word_choices=0):
        super().__init__("captioner", weights)
        if not is_number(n_word_choices, int) or n_word_choices < 0:
            raise ConfigError(f"n_word_choices={n_word_choices!r}; give a whole number from 0 on")
        self.beam, self.max_words, self.n_word_choices = beam, max_words, n_word_choices

    def _load(self):
        self._load_run(Captioner, ", which writes no captions; give the run of a captioner")
        self.sample_rate_hz, self.embed_dim = self.model.sample_rate_hz, self.model.caption_dim

    @property
    def columns(self):
        """Names of its targets."""
        return ("clip", "caption", "token_choices") if self.n_word_choices else ("clip", "caption")

    def _targets(self, wavs, sample_rate_hz, columns):
        if columns == {"clip"}:
            return {"clip": self.model.embed_audio(wavs, sample_rate_hz).float()}
        options, found = {"beam": self.beam, "max_words": self.max_words}, {}
        if "token_choices" in columns:
            rows, choices = self.model.describe_words(wavs, sample_rate_hz, self.n_word_choices, **options)
            found, ids = {"token_choices": choices}, choices.words
        else:
            rows, hypotheses = self.model.describe(wavs, sample_rate_hz, **options)
            ids = hypotheses.ids[:, 0]
        return {**found, "clip": rows.float(), "caption": [self.model.tokenizer.decode(row) for row in ids.tolist()]}

    @property
    def words(self):
        """Its vocabulary, a list of str."""
        return self.model.tokenizer.words

    def _decides(self):
        self.load()
        config, choices = self._folder_config, {"n_word_choices": self.n_word_choices} if self.n_word_choices else {}
        found = {"weights_sha256": config["weights_sha256"], "model_sha256": sha256_of_json(config["model"])}
        return {**found, "beam": self.beam, "max_words": self.max_words, **choices}


class Effb2TrmTeacher(CaptionerTeacher):
    """A published efficient captioner, each clip by itself: the published code's spectrogram depends on the batch.

    Arguments
    ---------
    weights : str or os.PathLike or None. ``pytorch_model.bin`` or ``swa.pth``.
    tokenizer : str or os.PathLike, optional. File of its words; by default ``vocabulary.json`` beside the weights.
    beam, max_words : int. 1 beam is greedy, the authors' is 3; maximum words of a caption.
    """

    weights_are_a_run = False

    def __init__(self, weights=None, tokenizer=None, beam=3, max_words=20):
        super().__init__(weights, beam, max_words)
        self.kind, self.tokenizer = "effb2_trm", tokenizer

    def _files(self):
        weights = PUBLISHED["effb2-trm"].at(self.weights)
        words = weights.with_name("vocabulary.json") if self.tokenizer is None else Path(self.tokenizer)
        if not words.is_file():
            advice = "a released captioner is its weights and its words: give the second by the option tokenizer"
            raise CheckpointError(f"no file {words}; {advice}")
        return weights, words

    def _load(self):
        weights, words = self._files()
        self.model = load_published("effb2-trm", path=weights, tokenizer=words).captioner
        self.sample_rate_hz, self.embed_dim = self.model.sample_rate_hz, self.model.caption_dim

    def _decides(self):
        sums = dict(zip(("weights_sha256", "vocabulary_sha256"), map(sha256_of, self._files()), strict=True))
        return {**sums, "beam": self.beam, "max_words": self.max_words}
