"""What the tests of captioning data share: a corpus of tones with captions, and a teacher that hears them."""

import hashlib
from pathlib import Path

import numpy as np
import soundfile
import torch

from tinyclap.data.corpora import Corpora, Corpus
from tinyclap.data.manifest import write_manifest
from tinyclap.data.views import Views
from tinyclap.decoding.beam_search import WordChoices

RATE = 1000


class LoudnessTeacher(torch.nn.Module):
    """A simple but real teacher: it embeds four spectral statistics, and says how loud and how high a sound is."""

    kind, embed_dim, columns = "loudness", 4, ("clip", "caption")

    def __init__(self, weights="loudness", threshold=0.15):
        super().__init__()
        self.weights, self.threshold = weights, threshold
        self.is_loaded, self.asked = False, []
        self.register_buffer("gain", torch.ones(()))  # says where the teacher is

    def load(self):
        """Nothing to read."""
        self.is_loaded = True
        return self

    def identity(self):
        """What its words depend on."""
        digest = hashlib.sha256(str(self.weights).encode()).hexdigest()
        return {"kind": "loudness", "weights_sha256": digest, "threshold": self.threshold}

    def text_side(self):
        """None."""

    def targets(self, wavs, sample_rate_hz, columns=("clip",)):
        """Targets of clips, column → value."""
        assert self.is_loaded
        found = self._targets(wavs, sample_rate_hz)
        return {name: found[name] for name in columns}

    def _targets(self, wavs, sample_rate_hz):
        embeddings, captions = [], []
        for wav in wavs:
            assert wav.dtype == torch.float32 and wav.ndim == 1
            self.asked.append(len(wav))
            wav = wav * self.gain  # both on one device
            power = torch.fft.rfft(wav).abs() ** 2
            hz = torch.fft.rfftfreq(len(wav), 1 / sample_rate_hz, device=wav.device)
            centre = (power * hz).sum() / power.sum()
            rms = wav.square().mean().sqrt()
            embeddings.append(torch.stack([rms, centre / 500, wav.abs().max(), wav.mean()]))
            loudness = "loud" if rms > self.threshold else "quiet"
            captions.append(f"A {loudness} {'high' if centre > 250 else 'low'} tone")
        return {"clip": torch.stack(embeddings), "caption": captions}


class WordyTeacher(LoudnessTeacher):
    """It also says what else it could have said, more so of quiet sounds; of low quiet ones it has less to say."""

    columns = ("clip", "caption", "token_choices")
    words = ["<pad>", "<start>", "<end>", "<unk>", "A", "loud", "quiet", "high", "low", "tone", "hum"]

    def __init__(self, n_word_choices=3, **options):
        super().__init__(**options)
        self.n_word_choices = n_word_choices

    def identity(self):
        """What its words and its choices depend on."""
        return {**super().identity(), "n_word_choices": self.n_word_choices}

    def _targets(self, wavs, sample_rate_hz):
        embeddings, captions = super()._targets(wavs, sample_rate_hz).values()
        captions = ["A hum" if caption == "A quiet low tone" else caption for caption in captions]
        said = [[*map(self.words.index, caption.split()), 2] for caption in captions]
        n_words, longest = [len(ids) for ids in said], max(map(len, said))
        device = embeddings.device
        said = torch.tensor([ids + [2] * (longest - len(ids)) for ids in said], device=device)
        usual = torch.arange(len(self.words), device=device).cos()
        logits = usual + torch.nn.functional.one_hot(said, len(self.words)) * 20 * embeddings[:, :1, None]
        best, ids = logits.log_softmax(-1).topk(self.n_word_choices)
        choices = WordChoices(said, ids, best, torch.tensor(n_words, device=device))
        return {"clip": embeddings, "caption": captions, "token_choices": choices}


class TableCorpus:
    """Makes clips and manifests of given contents, as a preparation would."""

    def __init__(self, clips, rate=RATE):
        self.clips, self.rate = clips, rate

    def __call__(self, data_folder, manifest_folder, split):
        """``clips[split]`` is id → (duration in seconds, pitch in Hz, level, facts of the item)."""
        items = {}
        for index, (name, (duration_s, pitch_hz, level, facts)) in enumerate(self.clips[split].items()):
            n_samples = round(duration_s * self.rate)
            path = Path(data_folder) / split / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(index).standard_normal(n_samples) * 0.01
            tone = level * np.sin(2 * np.pi * pitch_hz * np.arange(n_samples) / self.rate) + noise
            soundfile.write(path, tone.astype(np.float32), self.rate, subtype="PCM_16")
            header = {"wav": f"{{data_root}}/{split}/{name}.wav", "duration_s": duration_s}
            items[name] = {**header, "sample_rate_hz": self.rate, "n_channels": 1, **facts}
        meta = {"dataset": Path(data_folder).name, "version": "1", "split": split, "classes": [], "options": {}}
        write_manifest(Path(manifest_folder) / f"{meta['dataset']}_{split}.json", items, {**meta, "code_version": "1"})


def captioned(n_clips, first=0, duration_s=2.5, n_captions=3):
    """Clips with captions: two of each recording, every other one loud, pitches rising."""
    return {
        f"c{index}": (
            duration_s,
            60 + 37 * (index % 11),
            0.4 if index % 2 else 0.1,
            {
                "captions": [f"Tone {index} sounds, sentence {number}." for number in range(n_captions)],
                "group": f"g{index // 2}",
            },
        )
        for index in range(first, first + n_clips)
    }


def make_corpora(folder, name="toy", train=None, valid=None, rate=RATE):
    """A prepared corpus; returns its Corpora."""
    clips = {split: content for split, content in (("train", train), ("valid", valid)) if content is not None}
    parts = {split: {"split": split} for split in clips}
    corpora = Corpora([Corpus(name, folder / name, TableCorpus(clips, rate), **parts)], folder / "manifests")
    corpora.prepare()
    return corpora


def make_views(corpora, duration_s=1.0, kind="windows", **options):
    """Views of a corpus at its own rate."""
    return Views(corpora, RATE, duration_s, kind, **options)
