"""The official tinyCLAP code's way of doing things, eager and from its description, as the peer of the benchmarks.

Source: Paissan & Farella, "tinyCLAP", Interspeech 2024, and its released code: torchlibrosa front end, a teacher and
its text tower in every step, default memory format, one optimiser kernel for each operation.
"""

import harness  # noqa: F401  (makes tinyclap importable from a checkout)
import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from peer_front_end import TorchlibrosaLogMel
from torch import nn

from tinyclap.features.front_ends import log_mel
from tinyclap.models.cnn14 import Cnn14
from tinyclap.models.phinet import PhiNet
from tinyclap.models.projection import ClapProjection
from tinyclap.models.student import AudioStudent
from tinyclap.models.text import BertTextTower

SIZES = {
    "L": {"alpha": 1.5, "beta": 0.75, "t_zero": 6, "n_layers": 7},
    "M": {"alpha": 0.75, "beta": 0.75, "t_zero": 4, "n_layers": 7},
    "S": {"alpha": 0.35, "beta": 0.75, "t_zero": 4, "n_layers": 7},
}
RATE, CLIP_S, N_FRAMES, N_MELS, DIM, N_TOKENS = 44100, 5, 690, 64, 1024, 100


def make_student(size):
    """A student of ours of a published size, with random weights that are the same each time."""
    torch.manual_seed(0)
    encoder = PhiNet(**SIZES[size])
    return AudioStudent(log_mel("clap2022"), encoder, ClapProjection(encoder.embed_dim, DIM))


def make_teacher():
    """CNN14 and its head, of the published size, with random weights, in evaluation mode."""
    torch.manual_seed(0)
    encoder = Cnn14(n_tags=0)
    return AudioStudent(log_mel("clap2022"), encoder, ClapProjection(encoder.embed_dim, DIM)).eval()


class OfficialStudent(nn.Module):
    """The student as the official code runs it: torchlibrosa, norms of their own (but our memory format in training).

    Arguments
    ---------
    size : {"L", "M", "S"}
    """

    def __init__(self, size):
        super().__init__()
        self.front_end, self.student = TorchlibrosaLogMel(), make_student(size)

    def forward(self, wavs):
        """Waveforms (B, T) to embeddings (B, 1024)."""
        return self.student(log_mel=self.front_end(wavs)).clip


class OfficialStep:
    """A training step: decode, log-mel, CNN14, BERT over padded tokens, student, Adam. Nothing is stored.

    Arguments
    ---------
    size : {"L", "M"}
    paths : list of pathlib.Path
        The batch's files: 5 s at 44.1 kHz.
    """

    def __init__(self, size, paths):
        self.paths = paths
        self.official, self.teacher = OfficialStudent(size).train(), make_teacher()
        self.text = BertTextTower(DIM).eval()
        self.optimizer = torch.optim.Adam(self.official.student.parameters(), lr=1e-3)
        self.tokens = torch.randint(1000, 20000, (len(paths), N_TOKENS))

    def decode(self):
        """The batch's waveforms (B, T)."""
        return torch.from_numpy(np.stack([soundfile.read(path, dtype="float32")[0] for path in self.paths]))

    def teach(self, log_mels):
        """The teacher's embeddings (B, 1024)."""
        with torch.no_grad():
            return self.teacher(log_mel=log_mels).clip

    def read_captions(self):
        """The text tower's embeddings (B, 1024), which the loss does not need."""
        with torch.no_grad():
            return self.text(self.tokens, torch.ones_like(self.tokens))

    def learn(self, log_mels, targets):
        """Forward, backward, Adam."""
        learn(self.official.student, self.optimizer, log_mels, targets)

    def __call__(self):
        """The whole step."""
        log_mels = self.official.front_end(self.decode())
        targets = self.teach(log_mels)
        self.read_captions()
        self.learn(log_mels, targets)


def learn(student, optimizer, log_mels, targets):
    """One step of distillation by the cosine, from spectrograms (B, F, M) and targets (B, 1024)."""
    loss = 1 - F.cosine_similarity(student(log_mel=log_mels).clip.float(), targets, dim=-1).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
