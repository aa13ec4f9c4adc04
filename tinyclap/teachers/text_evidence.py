"""Evidence that stands for audio where a captioner is trained on text alone, computed from captions.

Two kinds: tags that a tagger might have found, or the text's embedding with noise for the gap to audio (Li et al.,
"DeCap", ICLR 2023; Deshmukh et al., "Training audio captioning models without audio", ICASSP 2024).
"""

import logging
import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from tinyclap.errors import ConfigError
from tinyclap.files import atomic_path, sha256_of_json
from tinyclap.teachers.tag_text import TagSpaceText

logger = logging.getLogger(__name__)

_N_PRIOR = 8192  # captions for the tags' priors
_PIECE = 2048


class _TextEvidence(nn.Module):
    """Base: a teacher, the texts, the conditioner that is calibrated, and the file of what was computed."""

    condition = None

    def __init__(self, teacher, texts, conditioner, path):
        super().__init__()
        # A tuple, so that they are no parts of this module: the conditioner is the student's, to be trained there.
        self._parts, self.path = (teacher, texts, conditioner), Path(path)

    def load(self):
        """Compute the facts, or read them, and calibrate the conditioner."""
        teacher, texts, conditioner = self._parts
        teacher.load()
        self._check(teacher, texts, conditioner)
        key = sha256_of_json([self._describe(teacher), texts.captions()])
        self.facts = self._cached(key)
        if self.facts is None:
            self.facts = self._compute(teacher, texts)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(self.path) as part, open(part, "wb") as file:
                np.savez(file, key=np.array(key), **self.facts)
        self._calibrate(teacher, conditioner)

    def identity(self):
        """What decides the evidence, JSON-able; a captioner takes no other afterwards."""
        return {"condition": self.condition, **self._parts[0].identity()}

    def _cached(self, key):
        """The facts of the file, or None where it is missing or of other captions."""
        try:
            with np.load(self.path, allow_pickle=False) as file:
                facts = dict(file)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            facts = {}
        if str(facts.pop("key", "")) == key:
            return facts
        logger.info("%s is damaged, or of other captions or another teacher; computing it again", self.path)
        return None


class TagEvidence(_TextEvidence):
    """Tags that a tagger might have found, given a caption.

    A caption is split into its events; an event's candidates are the tags whose labels are closest to it. Each time a
    caption is used, some of them are drawn, and the tagger's logits given those.

    Arguments
    ---------
    teacher : tinyclap.teachers.TaggerTeacher. Its space is "sentence".
    texts : tinyclap.data.caption_texts.CaptionTexts
    conditioner : tinyclap.models.conditioners.TagConditioner. Gets labels' embeddings, mean probabilities and logits.
    path : str or os.PathLike. Cache of the captions' candidates (``.npz``).
    simulator : tinyclap.teachers.tag_simulation.TagSimulator
    temperature, n_candidates : float and int. Of the softmax over labels (cosines), and tags of an event.
    """

    condition = "tags"

    def __init__(self, teacher, texts, conditioner, path, simulator, temperature=0.05, n_candidates=12):
        super().__init__(teacher, texts, conditioner, path)
        self.simulator, self.temperature, self.n_candidates = simulator, temperature, n_candidates

    def _check(self, teacher, texts, conditioner):
        if getattr(teacher, "space", None) != "sentence":
            raise ConfigError(f"evidence of tags needs a tagger with space='sentence', not the {teacher.kind} teacher")
        ours, room = tuple(teacher.label_rows.shape), tuple(conditioner.label_rows.shape)
        if ours != room:
            advice = "give --n_tags and --label_dim"
            raise ConfigError(f"the tagger's labels are {ours}, the conditioner has room for {room}; {advice}")

    def _describe(self, teacher):
        return [teacher.label_names, str(teacher.sentence_encoder), self.temperature, self.n_candidates]

    def _compute(self, teacher, texts):
        events = texts.events()
        phrases = sorted({phrase for of_caption in events for phrase in of_caption}, key=lambda p: (len(p), p))
        reader = TagSpaceText(teacher.label_names, None, teacher.sentence_encoder, self.temperature)
        found = []
        for first in tqdm(range(0, len(phrases), _PIECE), desc="captions' tags", unit=f"{_PIECE} events"):
            rows = reader.embed_text(phrases[first : first + _PIECE])
            found.append(rows.topk(min(self.n_candidates, rows.shape[1]), dim=-1))
        likeliest, tags = (torch.cat(parts) for parts in zip(*found, strict=True))
        places = {phrase: place for place, phrase in enumerate(phrases)}
        owned = np.full((len(events), max(map(len, events))), -1, dtype=np.int32)
        for row, of_caption in enumerate(events):
            owned[row, : len(of_caption)] = [places[phrase] for phrase in of_caption]
        shares = likeliest / likeliest.sum(dim=-1, keepdim=True)
        return {"tags": tags.short().numpy(), "shares": shares.numpy(), "events": owned}

    def _calibrate(self, teacher, conditioner):
        self.simulator.fit(teacher.model.audio.encoder)
        chosen = np.random.default_rng(0).permutation(len(self.facts["events"]))[:_N_PRIOR]
        with torch.random.fork_rng():
            torch.manual_seed(0)
            pieces = np.split(chosen, range(_PIECE, len(chosen), _PIECE))
            drawn = torch.cat([self.simulator(*self.take(piece)) for piece in pieces])
        conditioner.calibrate(teacher.label_rows, drawn.sigmoid().mean(dim=0), self.simulator.mean)

    def take(self, indices):
        """Candidates of captions (B,): tags (B, E, J) int64 and their probabilities (B, E, J)."""
        events = self.facts["events"][indices]
        there = torch.from_numpy(events >= 0)
        tags = torch.from_numpy(self.facts["tags"][events].astype(np.int64))
        return tags, torch.from_numpy(self.facts["shares"][events]) * there[..., None]

    def forward(self, tags, probabilities):
        """Draw evidence, (B, K) logits, from the output of :meth:`take`."""
        return self.simulator(tags, probabilities)


class EmbeddingEvidence(_TextEvidence):
    """Text embeddings of the captions, in a space that audio shares.

    Arguments
    ---------
    teacher : tinyclap.teachers.FrozenTeacher
    texts : tinyclap.data.caption_texts.CaptionTexts
    conditioner : tinyclap.models.conditioners.EmbeddingConditioner. Gets as many of the embeddings as it has room for.
    path : str or os.PathLike. Cache of the embeddings (``.npz``).
    noise : float. Standard deviation of the Gaussian noise on every coordinate of a normalised embedding.
    """

    condition = "embedding"

    def __init__(self, teacher, texts, conditioner, path, noise=0.06):
        super().__init__(teacher, texts, conditioner, path)
        self.noise = noise

    def _check(self, teacher, texts, conditioner):
        n_texts, ours, room = len(texts.captions()), teacher.embed_dim, conditioner.evidence_dim
        if ours != room:
            wanted = f"the conditioner wants {room}; give --embed_dim {ours}"
            raise ConfigError(f"the teacher's embeddings have {ours} dimensions, {wanted}")
        if conditioner.bank_size > n_texts:
            raise ConfigError(f"a bank of {conditioner.bank_size} texts, and {n_texts} captions; give a --bank_size")

    def _describe(self, teacher):
        return [self.identity(), teacher.text_side()]

    def _compute(self, teacher, texts):
        captions, rows = texts.captions(), []
        for first in tqdm(range(0, len(captions), _PIECE), desc="captions' embeddings", unit=f"{_PIECE} captions"):
            rows.append(F.normalize(teacher.embed_text(captions[first : first + _PIECE]).float(), dim=-1))
        rows = torch.cat(rows)
        return {"rows": F.normalize(rows - rows.mean(dim=0), dim=-1).half().numpy()}

    def _calibrate(self, teacher, conditioner):
        chosen = np.random.default_rng(0).permutation(len(self.facts["rows"]))[: conditioner.bank_size]
        conditioner.calibrate(torch.from_numpy(self.facts["rows"][chosen]))

    def take(self, indices):
        """Embeddings (B, D) of captions (B,), centred and L2-normalised."""
        return (torch.from_numpy(self.facts["rows"][indices]).float(),)

    def forward(self, rows):
        """Evidence (B, D), L2-normalised, from the output of :meth:`take`."""
        return F.normalize(rows + self.noise * torch.randn_like(rows), dim=-1)


def make_text_evidence(condition, teacher, texts, conditioner, path, simulator, noise):
    """Make the evidence of a recipe's key ``condition``: TagEvidence or EmbeddingEvidence.

    Arguments
    ---------
    condition : {"tags", "embedding"}
    teacher, texts, conditioner, path, simulator, noise : See the two classes.
    """
    if condition == "tags":
        return TagEvidence(teacher, texts, conditioner, path, simulator)
    if condition == "embedding":
        return EmbeddingEvidence(teacher, texts, conditioner, path, noise)
    raise ConfigError(f"condition {condition!r} is unknown; choose 'tags' or 'embedding'")
