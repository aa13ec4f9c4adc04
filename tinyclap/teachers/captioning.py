"""Captioning teachers: clips in, an embedding and a caption of each out. Any of them can fill a caption store.

Source: Xu et al., "Efficient Audio Captioning with Encoder-Level Knowledge Distillation", Interspeech 2024 (the teacher
is WavCaps' HTSAT-BART); a captioner of ours can stand in its place.
"""

import hashlib
import importlib
import json
from functools import cached_property
from pathlib import Path

import torch

from tinyclap.checkpoints.state import load_student, sha256_of
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.features.windows import as_waveforms
from tinyclap.models.captioner import Captioner
from tinyclap.published.hub_tokenizers import bart_tokenizer
from tinyclap.published.networks import load_published
from tinyclap.teachers.base import FrozenTeacher, fitting_options


class CaptioningTeacher(FrozenTeacher):
    """Base of the captioning teachers: always in eval mode, never with gradients, weights loaded by ``load()``.

    A subclass sets ``caption_dim`` (width D of its clip embedding) and ``sample_rate_hz`` at the latest in ``_load``,
    and implements ``_load``, ``_teach(clips, sample_rate_hz)`` → (embeddings (B, D), B strings), and ``_decides()`` →
    what of its identity is its own. One that can say what other words it held possible sets ``n_word_choices`` and has
    ``words`` (its vocabulary, a list) and ``_teach_words(clips, sample_rate_hz)`` → (embeddings, strings, WordChoices).

    Arguments
    ---------
    kind : str
        Its name in recipes.
    weights : str or os.PathLike or None
        None where what it says is stored already; then it cannot be loaded.
    """

    n_word_choices = 0

    def __init__(self, kind, weights):
        super().__init__(kind)
        self.weights = None if weights is None else str(weights)

    def load(self):
        """Read the weights from disk, strictly; returns itself.

        Raises
        ------
        CheckpointError
            None were given, or they cannot be read or do not fit.
        """
        self._require_weights()
        return super().load()

    @torch.no_grad()
    def teach_captions(self, wavs, sample_rate_hz):
        """Embed and caption clips; each alone gives the same as in a batch.

        Arguments
        ---------
        wavs : list of torch.Tensor, each of shape (T_i,)
            Or anything else that :func:`tinyclap.features.windows.as_waveforms` takes.
        sample_rate_hz : int

        Returns
        -------
        torch.Tensor, shape (B, D), float32
            Not normalised.
        list of str
            B captions.
        """
        self._require_loaded()
        embeddings, captions = self._teach(as_waveforms(wavs), sample_rate_hz)
        return embeddings.float(), captions

    @torch.no_grad()
    def teach_words(self, wavs, sample_rate_hz):
        """As :meth:`teach_captions`, and what could have been said in each place of the captions.

        Arguments
        ---------
        wavs, sample_rate_hz
            As there.

        Returns
        -------
        torch.Tensor, shape (B, D), float32
        list of str
        tinyclap.decoding.beam_search.WordChoices
            ``n_word_choices`` words of each place; ids are places in ``words``.

        Raises
        ------
        ConfigError
            This kind of teacher has no such distributions, or was not asked for them.
        """
        self._require_loaded()
        if not self.n_word_choices:
            raise ConfigError(
                f"the {self.kind} teacher gives no word choices; a captioner does, with the option n_word_choices: 8"
            )
        embeddings, captions, choices = self._teach_words(as_waveforms(wavs), sample_rate_hz)
        return embeddings.float(), captions, choices

    def identity(self):
        """What decides its outputs, JSON-able, weights included: for stores that must not be mixed up.

        Raises
        ------
        CheckpointError
            The weights, or what else decides, cannot be read.
        """
        self._require_weights()
        choices = {"n_word_choices": self.n_word_choices} if self.n_word_choices else {}
        return {**super().identity(), **choices}

    def _require_weights(self):
        if self.weights is None:
            raise CheckpointError(f"the {self.kind} teacher has no weights; give their path as teacher_weights")


class WavcapsTeacher(CaptioningTeacher):
    """WavCaps' HTSAT-BART, the teacher of the paper. It hears the first 10 s of a clip, zero-padded, as published.

    Arguments
    ---------
    weights : str or os.PathLike or None
        The published file, or any of the same names, such as a fine-tuned one.
    tokenizer : str or os.PathLike
        Local folder or hub name of BART's tokenizer.
    beam : int
        1 is greedy.
    max_length : int
        Tokens of a caption, start and end counted.
    batch_size : int
        Clips in one pass.
    htsat, bart : dict, optional
        Sizes that differ from the published ones; see :class:`tinyclap.published.wavcaps.WavcapsHtsatBart`.

    Notes
    -----
    The embedding is the mean of HTS-AT's 32 frames of the same 10 s: how the paper's authors pooled is not published.
    """

    def __init__(
        self,
        weights,
        tokenizer="facebook/bart-base",
        beam=3,
        max_length=30,
        batch_size=4,
        htsat=None,
        bart=None,
    ):
        super().__init__("wavcaps_htsat_bart", weights)
        self.tokenizer, self.beam, self.max_length, self.batch_size = str(tokenizer), beam, max_length, batch_size
        self.sizes = {name: sizes for name, sizes in (("htsat", htsat), ("bart", bart)) if sizes}

    def _load(self):
        self._require_file()
        self.model = load_published("wavcaps-htsat-bart", path=self.weights, tokenizer=self.tokenizer, **self.sizes)
        self.sample_rate_hz, self.caption_dim = self.model.sample_rate_hz, self.model.embed_dim
        self.model.load_tokenizer()  # strings are needed in any case: that it is missing is better known now

    def _teach(self, clips, sample_rate_hz):
        embeddings, ids = self.model.describe(
            clips, sample_rate_hz, self.beam, self.max_length, batch_size=self.batch_size
        )
        return embeddings, self.model.strings(ids)

    def _decides(self):
        self._require_file()
        return {
            "weights_sha256": self._weights_sha256,
            "vocabulary_sha256": _sha256_of_json(bart_tokenizer(self.tokenizer).get_vocab()),
            "beam": self.beam,
            "max_length": self.max_length,
            "hears": "the first 10 s",
            **self.sizes,
        }

    @cached_property
    def _weights_sha256(self):
        return sha256_of(self.weights)  # 2 GB take seconds

    def _require_file(self):
        if not Path(self.weights).is_file():
            raise CheckpointError(
                f"no file {self.weights}; give the path of a HTSAT-BART checkpoint of WavCaps (the authors' page, "
                "github.com/XinhaoMei/WavCaps, under captioning, links them)"
            )


class CaptionerTeacher(CaptioningTeacher):
    """A captioner of ours: a larger one that teaches a smaller one.

    Arguments
    ---------
    weights : str or os.PathLike or None
        A run's folder, or the folder of a saved captioner.
    beam : int
        1 is greedy.
    max_words : int
        Most words of a caption.
    n_word_choices : int
        So many of the most probable words of each place are stored beside a caption, for token-level distillation; 0
        stores none. Which part of the probability they hold, a run that reads the store says in its log.

    Raises
    ------
    ConfigError
        `n_word_choices` is negative.

    Notes
    -----
    The embedding is the mean of the encoder's frames. A clip of any length is heard whole.
    """

    def __init__(self, weights, beam=3, max_words=20, n_word_choices=0):
        super().__init__("captioner", weights)
        if n_word_choices < 0:
            raise ConfigError(f"n_word_choices={n_word_choices}; it is at least 0")
        self.beam, self.max_words, self.n_word_choices = beam, max_words, n_word_choices

    def _load(self):
        self.model, self._folder_config = load_student(self.weights)
        if not isinstance(self.model, Captioner):
            raise CheckpointError(
                f"{self.weights} holds a {type(self.model).__name__}, which writes no captions; give the run of a "
                "captioner"
            )
        self.sample_rate_hz, self.caption_dim = self.model.sample_rate_hz, self.model.caption_dim

    def _teach(self, clips, sample_rate_hz):
        rows, found = self.model.describe(clips, sample_rate_hz, beam=self.beam, max_words=self.max_words)
        return rows, self._strings(found.ids[:, 0])

    def _teach_words(self, clips, sample_rate_hz):
        rows, choices = self.model.describe_words(clips, sample_rate_hz, self.n_word_choices, self.beam, self.max_words)
        return rows, self._strings(choices.words), choices

    def _strings(self, ids):
        return [self.model.tokenizer.decode(row) for row in ids.tolist()]

    @property
    def words(self):
        """Its vocabulary, a list of str."""
        return self.model.tokenizer.words

    def _decides(self):
        self.load()
        return {
            "weights_sha256": self._folder_config["weights_sha256"],
            "model_sha256": _sha256_of_json(self._folder_config["model"]),
            "beam": self.beam,
            "max_words": self.max_words,
        }


# kind → (module, class): a teacher's module, and what it needs, is imported when its kind is asked for
_KINDS = {
    "wavcaps_htsat_bart": (__name__, "WavcapsTeacher"),
    "captioner": (__name__, "CaptionerTeacher"),
    "text_captioner": ("tinyclap.teachers.text_captioner", "TextCaptionerTeacher"),
    "effb2_trm": ("tinyclap.teachers.effb2_trm", "Effb2TrmTeacher"),
}


def make_captioning_teacher(kind, weights=None, more=None, **options):
    """A captioning teacher by its name; its weights are read later, by ``load()``.

    Arguments
    ---------
    kind : {"wavcaps_htsat_bart", "captioner", "text_captioner", "effb2_trm"}
    weights : str or os.PathLike, optional
        None where a caption store is there already: the teacher then only stands for it.
    more : dict, optional
        Further arguments of its class, for a recipe's one key ``teacher_options``.
    options
        Arguments of its class; those that are None are left to their defaults.

    Returns
    -------
    CaptioningTeacher

    Raises
    ------
    ConfigError
        Unknown kind or unknown option.

    Example
    -------
    >>> make_captioning_teacher("captioner", "results/big", beam=2).beam
    2
    """
    if kind not in _KINDS:
        raise ConfigError(f"captioning teacher {kind!r} is unknown; choose one of {', '.join(_KINDS)}")
    module, name = _KINDS[kind]
    teacher_class = getattr(importlib.import_module(module), name)
    what = f"captioning teacher {kind!r}"
    return teacher_class(**fitting_options(teacher_class, what, more, options, weights=weights))


def _sha256_of_json(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
