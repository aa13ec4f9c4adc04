"""Training a small CLAP from pairs: both towers and the temperature learn, and it ends as a teacher."""

import torch
from small_run import RATE, make_brain, make_student

from tinyclap.brains import ClapBrain
from tinyclap.checkpoints.state import load_folder
from tinyclap.data.batches import EpochDataset
from tinyclap.losses import ClapContrastiveLoss
from tinyclap.models.student import Clap
from tinyclap.models.text import WordTextTower

CAPTIONS = ["a low tone", "a high tone", "noise"]


class Pairs(EpochDataset):
    """Three kinds of sound with their captions."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def example(self, epoch, index):
        """One of the kinds, in turn."""
        kind = index % 3
        wav = 0.3 * torch.sin(torch.arange(RATE // 5) * (0.2 + kind))
        if kind == 2:
            wav = torch.randn(RATE // 5, generator=torch.Generator().manual_seed(0)) * 0.1
        return {"id": str(index), "wav": wav, "texts": CAPTIONS[kind]}


def test_a_clap_learns_which_caption_belongs_to_which_sound(tmp_path):
    torch.manual_seed(0)
    text = WordTextTower(["a", "low", "high", "tone", "noise"], 6, width=16, n_layers=1)
    clap = Clap(make_student(), text)
    scale = clap.logit_scale.item()
    terms = {"contrastive": {"loss": ClapContrastiveLoss()}}
    brain = make_brain(ClapBrain, tmp_path / "run", clap, terms=terms, ema_decay=0.5)
    brain.hparams.epoch_counter.limit = 3
    options = {"batch_size": 3, "shuffle": False}
    brain.fit(
        brain.hparams.epoch_counter, Pairs(60), Pairs(3), train_loader_kwargs=options, valid_loader_kwargs=options
    )
    assert clap.logit_scale.item() != scale
    assert all(parameter.requires_grad for parameter in clap.parameters())
    brain.release(tmp_path / "released", {})
    teacher, _ = load_folder(tmp_path / "released")
    wavs = torch.stack([Pairs(3)[index]["wav"] for index in range(3)])
    scores = teacher.embed_audio(wavs, RATE) @ teacher.embed_text(CAPTIONS).T
    assert scores.argmax(dim=-1).tolist() == [0, 1, 2]
