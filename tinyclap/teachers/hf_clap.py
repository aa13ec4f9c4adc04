"""Any CLAP of `transformers` as teacher, made deterministic.

The library's feature extractor crops longer clips at random (``truncation="rand_trunc"`` and ``"fusion"``). Here clips
are cut into windows first, at fixed places.
"""

import hashlib

import torch
import torch.nn.functional as F

from tinyclap.config.network import hub_options
from tinyclap.errors import CheckpointError
from tinyclap.features.windows import WindowPolicy, clips_at, embed_windows
from tinyclap.teachers.base import FrozenTeacher


class HfClapTeacher(FrozenTeacher):
    """A ``transformers.ClapModel`` by name or from a local folder.

    Arguments
    ---------
    weights, revision : str. Hub name or local folder; commit, tag or branch on the hub.
    local_files_only : bool. Make no request.
    batch_size : int. Windows per forward pass.
    """

    def __init__(self, weights="laion/clap-htsat-unfused", revision=None, local_files_only=False, batch_size=8):
        super().__init__("hf_clap")
        self.weights, self.revision, self.local_files_only = str(weights), revision, local_files_only
        self.batch_size = batch_size

    def _load(self):
        from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel

        options = {"revision": self.revision, "local_files_only": self.local_files_only, **hub_options()}
        try:
            self.model = ClapModel.from_pretrained(self.weights, use_safetensors=None, **options)
            self.extractor = ClapFeatureExtractor.from_pretrained(self.weights, **options)
            self.tokenizer = AutoTokenizer.from_pretrained(self.weights, **options)
        except (OSError, ValueError) as error:
            advice = "give a local folder written by save_pretrained, or a hub name and a network"
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"no CLAP model at {self.weights!r} ({reason}); {advice}") from error
        self.sample_rate_hz = self.extractor.sampling_rate
        self.embed_dim = self.model.config.projection_dim
        self.policy = WindowPolicy(window_s=self.extractor.max_length_s, short="native", min_s=0.01)

    @torch.no_grad()
    def embed_audio(self, wavs, sample_rate_hz):
        """Embed clips of any length: L2-normalised (B, D)."""
        self._require_loaded()
        clips = clips_at(wavs, sample_rate_hz, self.sample_rate_hz, next(self.model.parameters()).device)
        return embed_windows(self._embed, clips, self.sample_rate_hz, self.policy, self.batch_size)

    def _embed(self, windows):
        device = next(self.model.parameters()).device
        options = {"sampling_rate": self.sample_rate_hz, "padding": "repeatpad", "return_tensors": "pt"}
        inputs = self.extractor([window.cpu().numpy() for window in windows], **options)
        # the extractor sets one flag at random where none is needed, which would add a random crop
        inputs["is_longer"] = torch.zeros(len(windows), 1, dtype=torch.bool)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return _rows(self.model.get_audio_features(**inputs.to(device))).float()

    def _to_bf16(self):
        """Nothing to change: its passes run under autocast."""

    def _decides(self):
        self._require_loaded()
        return {"weights": self.weights, "revision": self.revision, "weights_sha256": _digest(self.model)}

    @torch.no_grad()
    def embed_text(self, texts):
        """Embed N sentences: L2-normalised (N, D)."""
        self._require_loaded()
        device = next(self.model.parameters()).device
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(device)
        return F.normalize(_rows(self.model.get_text_features(**tokens)), dim=-1)

    def text_side(self):
        """The config of its text side."""
        return {"kind": "hf_clap", "weights": self.weights, "revision": self.revision}


def _digest(model):
    """SHA-256 of a state dict, whatever files it came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _rows(output):
    # transformers 5 wraps the projected features, transformers 4 returned the tensor itself.
    return output if isinstance(output, torch.Tensor) else output.pooler_output
