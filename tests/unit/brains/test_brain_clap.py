"""Training a small CLAP from pairs: both towers and the temperature learn, and it ends as a teacher."""

import torch
from small_run import RATE, make_brain, make_student
from speechbrain.dataio.dataset import DynamicItemDataset

from tinyclap.brains import ClapBrain
from tinyclap.checkpoints.state import load_folder
from tinyclap.losses.contrastive import ClapContrastiveLoss
from tinyclap.models.student import Clap
from tinyclap.models.text import WordTextTower

CAPTIONS = ["a low tone", "a high tone", "noise"]


def pairs(n):
    """Three kinds of sound with their captions."""

    def sound(kind):
        if kind == 2:
            return torch.randn(RATE // 5, generator=torch.Generator().manual_seed(0)) * 0.1
        return 0.3 * torch.sin(torch.arange(RATE // 5) * (0.2 + kind))

    dataset = DynamicItemDataset({str(index): {"kind": index % 3} for index in range(n)})
    dataset.add_dynamic_item(sound, takes="kind", provides="wav")
    dataset.add_dynamic_item(lambda kind: CAPTIONS[kind], takes="kind", provides="caption")
    dataset.set_output_keys(["id", "wav", "caption"])
    return dataset


def test_a_clap_learns_which_caption_belongs_to_which_sound(tmp_path):
    torch.manual_seed(0)
    text = WordTextTower(["a", "low", "high", "tone", "noise"], 6, width=16, n_layers=1)
    clap = Clap(make_student(), text)
    scale = clap.logit_scale.item()
    brain = make_brain(
        ClapBrain,
        tmp_path / "run",
        clap,
        {"clap_loss": ClapContrastiveLoss()},
        loss_weights={"contrastive": 1.0},
        ema_decay=0.5,
    )
    brain.hparams.epoch_counter.limit = 3
    loader = {"batch_size": 3}
    brain.fit(brain.hparams.epoch_counter, pairs(60), pairs(3), train_loader_kwargs=loader, valid_loader_kwargs=loader)
    assert clap.logit_scale.item() != scale
    assert all(parameter.requires_grad for parameter in clap.parameters())
    brain.release(tmp_path / "released", {})
    teacher, _ = load_folder(tmp_path / "released")
    wavs = torch.stack([item["wav"] for item in pairs(3)])
    scores = teacher.embed_audio(wavs, RATE) @ teacher.embed_text(CAPTIONS).T
    assert scores.argmax(dim=-1).tolist() == [0, 1, 2]
