"""A captioning teacher without audio–caption pairs: a tagger or CLAP, and a decoder that was trained on text alone."""

from pathlib import Path

from tinyclap.errors import CheckpointError
from tinyclap.files import sha256_of
from tinyclap.models.conditioners import TagConditioner
from tinyclap.models.text_captioner import TextCaptioner
from tinyclap.teachers import make_teacher
from tinyclap.teachers.captioning import CaptioningTeacher


class TextCaptionerTeacher(CaptioningTeacher):
    """A run of ``hparams/train_text_captioner.yaml`` and the teacher whose output it reads (its listener).

    The embedding of a clip is its evidence: for tags, how far each logit lies from its mean. (A tagger of AudioSet was
    trained on AudioCaps' clips: scores there are not those of new audio.)

    Arguments
    ---------
    weights : str or os.PathLike or None. The run's folder, or the folder of a saved captioner.
    listener_weights : str or os.PathLike, optional. The listener's weights, if they have moved since training.
    beam, max_words : int. 1 beam is greedy; maximum words of a caption.
    style : str, optional. Corpus whose wording is imitated; by default the first one that it was trained on.
    """

    weights_are_a_run = True

    def __init__(self, weights=None, listener_weights=None, beam=3, max_words=20, style=None):
        super().__init__("text_captioner", weights)
        self.listener_weights = None if listener_weights is None else str(listener_weights)
        self.beam, self.max_words, self.style = beam, max_words, style

    def _load(self):
        self._load_run(TextCaptioner, "; give a run of hparams/train_text_captioner.yaml")
        absent = [key for key in ("text_side", "listener") if key not in self._folder_config]
        if absent:
            raise CheckpointError(f"{self.weights}: its config.json lacks {', '.join(absent)}: not the folder of a run")
        listener = dict(self._folder_config["text_side"])
        if self.listener_weights is not None:
            listener["weights"] = self.listener_weights
        path, expected = listener["weights"], self._folder_config["listener"].get("weights_sha256")
        if not Path(path).exists():
            raise CheckpointError(f"no file {path}: the listener's weights have moved; give listener_weights")
        if expected is not None and sha256_of(path) != expected:
            what = f"the listener that {self.weights} was trained for (sha256 {expected[:12]}…)"
            raise CheckpointError(f"{path} is not {what}; give that file as listener_weights")
        self.listener = make_teacher(**listener).load()
        self.sample_rate_hz, self.embed_dim = self.listener.sample_rate_hz, self.model.caption_dim

    def evidence(self, wavs, sample_rate_hz):
        """The decoder's input for clips of any length, (B, D)."""
        self._require_loaded()
        column = "tags" if isinstance(self.model.conditioner, TagConditioner) else "clip"
        return self.model.conditioner.from_audio(self.listener.targets(wavs, sample_rate_hz, [column])[column])

    def _targets(self, wavs, sample_rate_hz, columns):
        evidence = self.evidence(wavs, sample_rate_hz)
        found = {"clip": self.model.conditioner.clip_vector(evidence).float()}
        if "caption" in columns:
            options = {"beam": self.beam, "max_words": self.max_words, "style": self.style}
            found["caption"] = [best[0] for best in self.model.caption(evidence, **options)]
        return found

    def _to_bf16(self):
        self.listener.use_precision("bf16")

    def _decides(self):
        self.load()
        found = {key: self._folder_config[key] for key in ("weights_sha256", "listener")}
        return {**found, "beam": self.beam, "max_words": self.max_words, "style": self.style}
