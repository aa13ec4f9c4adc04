"""A student as the tinyCLAP authors released it, scored with its teacher's text tower.

Weights: ``student_model.ckpt`` of huggingface.co/fpaissan/tinyCLAP.
"""

import torch

from tinyclap.checkpoints.state import sha256_of
from tinyclap.published.networks import load_published
from tinyclap.teachers.base import FrozenTeacher
from tinyclap.teachers.msclap import MsClapTeacher
from tinyclap.teachers.precision import in_bf16


class PublishedStudent(FrozenTeacher):
    """A released tinyCLAP student and Microsoft CLAP's text tower.

    Arguments
    ---------
    weights : str or os.PathLike
        ``student_model.ckpt``.
    text_weights : str or os.PathLike
        ``CLAP_weights_2022.pth``.
    alpha, beta, t_zero, n_layers
        The PhiNet, as the folder of the release is called (``phinet_alpha_1.50_beta_0.75_t0_6_N_7``).
    tokenizer : str
        See :class:`tinyclap.teachers.msclap.MsClapTeacher`.
    """

    def __init__(
        self, weights, text_weights, alpha=1.5, beta=0.75, t_zero=6, n_layers=7, tokenizer="bert-base-uncased"
    ):
        super().__init__("tinyclap-student")
        self.weights, self.text = weights, MsClapTeacher(text_weights, tokenizer)
        self.architecture = {"alpha": alpha, "beta": beta, "t_zero": t_zero, "n_layers": n_layers}
        self.sample_rate_hz, self.embed_dim = 44100, 1024

    def _load(self):
        self.text.load()
        self.model = load_published("tinyclap-student", path=self.weights, **self.architecture)

    def _to_bf16(self):
        self.model.audio = in_bf16(self.model.audio)

    def _decides(self):
        return {**self.architecture, "weights_sha256": sha256_of(self.weights)}

    @torch.no_grad()
    def embed_audio(self, wavs, sample_rate_hz):
        """Clips of any length → L2-normalised rows (B, 1024)."""
        self._require_loaded()
        return self.model.embed_audio(wavs, sample_rate_hz)

    def embed_text(self, texts):
        """Sentences → L2-normalised rows (N, 1024)."""
        return self.text.embed_text(texts)

    def text_side(self):
        """What a student of this teacher writes into its own config, to be scored later."""
        return self.text.text_side()
