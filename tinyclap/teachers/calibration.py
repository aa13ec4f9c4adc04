"""What a tagger's student has to know of its teacher before training: priors, and where the logits lie."""

import json
import os
from pathlib import Path

import torch
from tqdm import tqdm

from tinyclap.audio.io import read_audio
from tinyclap.checkpoints.state import sha256_of
from tinyclap.data.manifest import read_manifest
from tinyclap.errors import CheckpointError, ConfigError


class TagCalibration:
    """Mean probability, and mean and spread of the logit, of every tag over unlabelled training clips.

    A teacher's sentence space has no use for them: there nothing is done.

    Arguments
    ---------
    teacher : tinyclap.teachers.TaggerTeacher
    corpora : tinyclap.data.corpora.Corpora
        Their training parts alone are heard; labels are not looked at.
    path : str or os.PathLike
        JSON file that keeps the result; used again while teacher and manifests are the same.
    loss : torch.nn.Module, optional
        Gets the prior by ``set_prior``.
    head : torch.nn.Module, optional
        Gets mean and spread by ``calibrate``.
    """

    def __init__(self, teacher, corpora, path, loss=None, head=None):
        self.teacher, self.corpora, self.path, self.loss, self.head = teacher, corpora, Path(path), loss, head

    def load(self):
        """Work the statistics out, or read them, and hand them to teacher, loss and head."""
        if self.teacher.space != "tag":
            return
        clips, made_of = [], {}
        for manifest_path, folder in self.corpora.manifests("train"):
            manifest = read_manifest(manifest_path, folder)
            clips += [item["wav"] for item in manifest.items]
            made_of[Path(manifest_path).stem] = {
                "options": manifest.meta["options_hash"],
                "n_clips": len(manifest.items),
            }
        note = self._kept(made_of) or self._fitted(clips, made_of)
        self.teacher.set_prior(note["prior"])
        if self.loss is not None:
            self.loss.set_prior(note["prior"])
        if self.head is not None:
            self.head.calibrate(note["logit_mean"], note["logit_std"])

    def _kept(self, made_of):
        if not self.path.exists():
            return None
        note = read_calibration(self.path)
        same = note["made_of"] == made_of and note["weights_sha256"] == sha256_of(self.teacher.weights)
        return note if same else None

    def _heard(self, clips):
        """Probabilities of batches of clips of one sample rate, in no particular order."""
        waiting = {}
        for path in tqdm(clips, unit="clip", desc="tag calibration"):
            waveform, rate = read_audio(path)
            waiting.setdefault(rate, []).append(waveform)
            if len(waiting[rate]) == 32:
                yield self.teacher.probabilities(waiting.pop(rate), rate)
        for rate, waveforms in waiting.items():
            yield self.teacher.probabilities(waveforms, rate)

    def _fitted(self, clips, made_of):
        if len(clips) < 2:
            raise ConfigError(f"the tags' priors and spreads need two training clips at least; {len(clips)} given")
        rows = torch.cat(list(self._heard(clips))).double()
        logits = torch.logit(rows.clamp(1e-7, 1 - 1e-7))
        note = {
            "prior": rows.mean(dim=0).tolist(),
            "logit_mean": logits.mean(dim=0).tolist(),
            "logit_std": logits.std(dim=0).tolist(),
            "made_of": made_of,
            "weights_sha256": sha256_of(self.teacher.weights),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = f"{self.path}.part"
        with open(part, "w", encoding="utf-8") as file:
            json.dump(note, file)
        os.replace(part, self.path)
        return note


def read_calibration(path):
    """Read what :class:`TagCalibration` wrote.

    Arguments
    ---------
    path : str or os.PathLike

    Returns
    -------
    dict
        ``prior``, ``logit_mean``, ``logit_std`` (lists, one number a tag), ``made_of``, ``weights_sha256``.

    Raises
    ------
    CheckpointError
        It is not such a file.
    """
    try:
        note = json.loads(Path(path).read_text(encoding="utf-8"))
        note["prior"], note["logit_mean"], note["logit_std"], note["made_of"], note["weights_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is no calibration of a tagger ({error!r}); delete it to make it again"
        ) from error
    return note
