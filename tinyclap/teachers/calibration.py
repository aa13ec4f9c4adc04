"""Mean probability of each tag, and mean and spread of its logit, over training clips: calibrate a tagger's student."""

from pathlib import Path

import torch
from filelock import FileLock
from tqdm import tqdm

from tinyclap.audio.io import read_audio
from tinyclap.data.manifest import read_manifest
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.files import read_json, sha256_of_json, write_json

_KEYS = ("prior", "logit_mean", "logit_std", "made_of", "weights_sha256")
_ADVICE = "delete it to make it again"


class TagCalibration:
    """Mean probability, and mean and standard deviation of the logit, of every tag over unlabelled training clips.

    Arguments
    ---------
    teacher : tinyclap.teachers.TaggerTeacher or EnsembleTeacher of them. In the sentence space nothing is done.
    corpora : tinyclap.data.corpora.Corpora. Their training parts alone are used, without labels.
    path : str or os.PathLike. JSON file of the result; used again while teacher and manifests are the same.
    loss : torch.nn.Module, optional. Gets the prior by ``set_prior``.
    head : torch.nn.Module, optional. Gets mean and standard deviation by ``calibrate``.
    """

    def __init__(self, teacher, corpora, path, loss=None, head=None):
        self.teacher, self.corpora, self.path, self.loss, self.head = teacher, corpora, Path(path), loss, head

    def load(self):
        """Read the statistics, or compute them (one process does, others wait); give them to teacher, loss and head."""
        self.teacher.load()
        if self.teacher.score_kind != "sqrt_dot":
            return
        clips, facts = self._clips_and_facts()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(f".{self.path.name}.lock")):
            note = read_calibration(self.path) if self.path.exists() else {}
            if any(note.get(key) != value for key, value in facts.items()):  # of other clips, or another teacher
                note = {**self._fitted(clips), **facts}
                write_json(self.path, note)
        self.teacher.set_prior(note["prior"])
        if self.loss is not None:
            self.loss.set_prior(note["prior"])
        if self.head is not None:
            self.head.calibrate(note["logit_mean"], note["logit_std"])

    def _clips_and_facts(self):
        """Paths of the training clips, and what decides the statistics, for the file."""
        clips, made_of = [], {}
        for path, folder in self.corpora.manifests("train"):
            manifest = read_manifest(path, folder)
            clips += [item["wav"] for item in manifest.items]
            made_of[Path(path).stem] = {"options": manifest.meta["options_hash"], "n_clips": len(manifest.items)}
        identity = self.teacher.identity()
        sha256 = identity.get("weights_sha256") or sha256_of_json(identity)  # of an ensemble: of all that it is of
        return clips, {"made_of": made_of, "weights_sha256": sha256}

    def _fitted(self, clips):
        if len(clips) < 2:
            raise ConfigError(f"the tags' priors and spreads need two training clips at least; {len(clips)} given")
        rows = torch.cat(list(self._probabilities(clips))).double()
        logits = torch.logit(rows.clamp(1e-7, 1 - 1e-7))
        found = {"prior": rows.mean(dim=0), "logit_mean": logits.mean(dim=0), "logit_std": logits.std(dim=0)}
        return {name: values.tolist() for name, values in found.items()}

    def _probabilities(self, clips):
        """Probabilities of batches of clips of one sample rate, in no particular order."""
        waiting = {}
        for path in tqdm(clips, unit="clip", desc="tag calibration"):
            waveform, rate = read_audio(path)
            waiting.setdefault(rate, []).append(waveform)
            if len(waiting[rate]) == 32:
                yield self.teacher.targets(waiting.pop(rate), rate, ["tags"])["tags"]
        for rate, waveforms in waiting.items():
            yield self.teacher.targets(waveforms, rate, ["tags"])["tags"]


def read_calibration(path):
    """Read the file of :class:`TagCalibration`: a dict of :data:`_KEYS`."""
    note = read_json(path, advice=_ADVICE)
    missing = [key for key in _KEYS if key not in note]
    if missing:
        raise CheckpointError(f"{path} is no calibration of a tagger: it lacks {', '.join(missing)}; {_ADVICE}")
    return note
