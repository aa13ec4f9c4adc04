"""The captioning paper's released students as captioning teachers: to score them, or to distil from them.

Source: huggingface.co/wsntxxn/effb2-trm-audiocaps-captioning and -clotho-captioning.
"""

from pathlib import Path

from tinyclap.checkpoints.state import sha256_of
from tinyclap.errors import CheckpointError
from tinyclap.published.networks import load_published
from tinyclap.teachers.captioning import CaptioningTeacher

VOCABULARY_FILE = "vocabulary.json"


class Effb2TrmTeacher(CaptioningTeacher):
    """A released EfficientNet-B2 captioner.

    Arguments
    ---------
    weights : str or os.PathLike or None
        The published file, ``pytorch_model.bin`` or ``swa.pth``.
    tokenizer : str or os.PathLike, optional
        File of its words, see :meth:`WordTokenizer.load`; by default ``vocabulary.json`` beside the
        weights.
    beam : int
        1 is greedy; the authors' is 3.
    max_words : int
        Most words of a caption.

    Notes
    -----
    The embedding is the mean of the encoder's frames. A clip of any length is heard whole, each for itself: the
    published computation hangs the floor of the spectrogram on the loudest clip of the batch.
    """

    def __init__(self, weights, tokenizer=None, beam=3, max_words=20):
        super().__init__("effb2_trm", weights)
        self.tokenizer, self.beam, self.max_words = tokenizer, beam, max_words

    def _load(self):
        self._require_file()
        self.model = load_published("effb2-trm", path=self.weights, tokenizer=self._words_file()).captioner
        self.sample_rate_hz, self.caption_dim = self.model.sample_rate_hz, self.model.caption_dim

    def _words_file(self):
        return Path(self.weights).with_name(VOCABULARY_FILE) if self.tokenizer is None else Path(self.tokenizer)

    def _teach(self, clips, sample_rate_hz):
        rows, found = self.model.describe(clips, sample_rate_hz, beam=self.beam, max_words=self.max_words)
        return rows, [self.model.tokenizer.decode(ids) for ids in found.ids[:, 0].tolist()]

    def _decides(self):
        self._require_file()
        return {
            "weights_sha256": sha256_of(self.weights),
            "vocabulary_sha256": sha256_of(self._words_file()),
            "beam": self.beam,
            "max_words": self.max_words,
        }

    def _require_file(self):
        missing = [path for path in (Path(self.weights), self._words_file()) if not path.is_file()]
        if missing:
            raise CheckpointError(
                f"no file {' and no file '.join(map(str, missing))}; a released captioner is its weights and its "
                "words: give the second by the option tokenizer"
            )
