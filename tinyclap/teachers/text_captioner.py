"""A captioning teacher that no audio–caption pair has taught: a listener, and a decoder that learnt from text alone."""

from pathlib import Path

from tinyclap.checkpoints.state import load_student, sha256_of
from tinyclap.errors import CheckpointError
from tinyclap.features.windows import as_waveforms
from tinyclap.models.conditioners import TagConditioner
from tinyclap.models.text_captioner import TextCaptioner
from tinyclap.teachers import make_teacher
from tinyclap.teachers.captioning import CaptioningTeacher


class TextCaptionerTeacher(CaptioningTeacher):
    """A run of ``hparams/train_text_captioner.yaml`` and the teacher whose evidence it reads.

    Arguments
    ---------
    weights : str or os.PathLike or None
        The run's folder, or the folder of a saved captioner.
    listener_weights : str or os.PathLike, optional
        Where the listener's weights are now, if they are not where they were in training.
    beam : int
        1 is greedy.
    max_words : int
        Most words of a caption.
    style : str, optional
        Whose wording; by default that of the first corpus that it was trained on.

    Notes
    -----
    The embedding of a clip is its evidence: for tags, how far each of the tagger's logits lies from its usual place.

    A tagger that was trained on AudioSet has heard the clips of AudioCaps, which are a part of it: scores on AudioCaps
    are not those of a system to which the audio is new.
    """

    def __init__(self, weights, listener_weights=None, beam=3, max_words=20, style=None):
        super().__init__("text_captioner", weights)
        self.listener_weights = None if listener_weights is None else str(listener_weights)
        self.beam, self.max_words, self.style = beam, max_words, style

    def _load(self):
        self.model, self._folder_config = load_student(self.weights)
        if not isinstance(self.model, TextCaptioner):
            raise CheckpointError(
                f"{self.weights} holds a {type(self.model).__name__}; give a run of hparams/train_text_captioner.yaml"
            )
        absent = [key for key in ("text_side", "listener") if key not in self._folder_config]
        if absent:
            raise CheckpointError(f"{self.weights}: its config.json lacks {', '.join(absent)}: not the folder of a run")
        listener = dict(self._folder_config["text_side"])
        if self.listener_weights is not None:
            listener["weights"] = self.listener_weights
        self._require_listener(listener["weights"])
        self.listener = make_teacher(listener.pop("kind"), **listener).load()
        self.sample_rate_hz, self.caption_dim = self.listener.sample_rate_hz, self.model.caption_dim

    def _require_listener(self, path):
        """Other weights of the listener would be another language to the decoder."""
        expected = self._folder_config["listener"].get("weights_sha256")
        if not Path(path).exists():
            raise CheckpointError(f"no file {path}: the listener's weights have moved; give listener_weights")
        if expected is not None and sha256_of(path) != expected:
            raise CheckpointError(
                f"{path} is not the listener that {self.weights} was trained for (sha256 {expected[:12]}…); give that "
                "file as listener_weights"
            )

    def evidence(self, wavs, sample_rate_hz):
        """What the decoder is shown of clips of any length, (B, D)."""
        self._require_loaded()
        is_tags = isinstance(self.model.conditioner, TagConditioner)
        heard = self.listener.probabilities if is_tags else self.listener.embed_audio
        return self.model.conditioner.from_audio(heard(as_waveforms(wavs), sample_rate_hz).float())

    def caption(self, wavs, sample_rate_hz, n_best=1, **options):
        """Captions of clips: list of B lists of `n_best` strings, best first.

        Arguments
        ---------
        wavs : see :func:`tinyclap.features.windows.as_waveforms`
        sample_rate_hz : int
        n_best : int
            At most ``beam``.
        options
            See :meth:`tinyclap.models.text_captioner.TextCaptioner.generate`.
        """
        return self._say(self.evidence(wavs, sample_rate_hz), n_best=n_best, **options)

    def _say(self, evidence, **options):
        usual = {"beam": self.beam, "max_words": self.max_words, "style": self.style}
        return self.model.caption(evidence, **{**usual, **options})

    def _teach(self, clips, sample_rate_hz):
        evidence = self.evidence(clips, sample_rate_hz)
        return self.model.conditioner.clip_vector(evidence), [best[0] for best in self._say(evidence)]

    def _decides(self):
        self.load()
        return {
            "weights_sha256": self._folder_config["weights_sha256"],
            "listener": self._folder_config["listener"],
            "beam": self.beam,
            "max_words": self.max_words,
            "style": self.style,
        }
