"""Microsoft CLAP 2022, the teacher of the tinyCLAP paper: CNN14 + BERT, 1024 dimensions.

Weights: CLAP_weights_2022.pth (2 GB, MS-PL), Zenodo record 7312125.
"""

import os
from pathlib import Path

import torch
import torch.nn.functional as F

from tinyclap.checkpoints.state import sha256_of
from tinyclap.errors import CheckpointError
from tinyclap.published.download import download, zenodo_file
from tinyclap.published.networks import load_published
from tinyclap.teachers.base import FrozenTeacher
from tinyclap.teachers.precision import in_bf16

ZENODO_RECORD_ID = "7312125"
FILE_NAME = "CLAP_weights_2022.pth"


def fetch_weights(folder):
    """Fetch the published weights into `folder`, with the size and checksum that Zenodo states; resumable.

    Arguments
    ---------
    folder : str or os.PathLike

    Returns
    -------
    pathlib.Path

    Raises
    ------
    DownloadError
        No network, or another file than published.
    """
    target = Path(folder) / FILE_NAME
    if target.exists() and Path(f"{target}.md5").exists():
        return target
    file = zenodo_file(ZENODO_RECORD_ID, FILE_NAME)
    return download(file["url"], target, file["size_bytes"], file["md5"])


class MsClapTeacher(FrozenTeacher):
    """Microsoft CLAP 2022.

    Arguments
    ---------
    weights : str or os.PathLike
        ``CLAP_weights_2022.pth``, or ``"download"`` to fetch it into `cache`.
    tokenizer : str or os.PathLike
        Local folder or hub name of BERT's tokenizer; sought only when strings come.
    cache : str or os.PathLike, optional
        Where a fetched file is kept; by default ``$TINYCLAP_CACHE`` or ``~/.cache/tinyclap``.
    """

    def __init__(self, weights, tokenizer="bert-base-uncased", cache=None):
        super().__init__("msclap2022")
        self.weights, self.tokenizer = weights, tokenizer
        self.cache = cache or os.environ.get("TINYCLAP_CACHE") or Path.home() / ".cache" / "tinyclap"
        self.sample_rate_hz, self.embed_dim = 44100, 1024

    def _load(self):
        self.model = load_published("msclap2022", path=self._path(), tokenizer=str(self.tokenizer))

    def _path(self):
        path = fetch_weights(self.cache) if str(self.weights) == "download" else Path(self.weights)
        if not path.exists():
            raise CheckpointError(
                f"no file {path}; give the path of {FILE_NAME} (zenodo.org/records/{ZENODO_RECORD_ID}) or 'download'"
            )
        return path

    def _to_bf16(self):
        self.model.audio = in_bf16(self.model.audio)

    def _decides(self):
        return {"weights_sha256": sha256_of(self._path())}

    @torch.no_grad()
    def embed_audio(self, wavs, sample_rate_hz):
        """Clips of any length → L2-normalised rows (B, 1024)."""
        self._require_loaded()
        return self.model.embed_audio(wavs, sample_rate_hz)

    @torch.no_grad()
    def embed_text(self, texts):
        """Sentences → L2-normalised rows (N, 1024)."""
        self._require_loaded()
        return F.normalize(self.model.embed_text(list(texts)), dim=-1)

    def text_side(self):
        """What a student of this teacher writes into its own config, to be scored later."""
        return {"kind": "msclap2022", "weights": str(self.weights), "tokenizer": str(self.tokenizer)}
