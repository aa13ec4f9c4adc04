"""Any CLAP of `transformers` as teacher, on windows at fixed places: the library's extractor crops at random."""

import torch
import torch.nn.functional as F

from tinyclap.config.network import hub_options
from tinyclap.errors import CheckpointError
from tinyclap.features.windows import WindowPolicy, clips_at, embed_windows
from tinyclap.files import sha256_of_json
from tinyclap.teachers.base import FrozenTeacher
from tinyclap.teachers.precision import in_bf16
from tinyclap.teachers.sentences import digest_of


class HfClapTeacher(FrozenTeacher):
    """A ``transformers.ClapModel`` by name or from a local folder.

    Arguments
    ---------
    weights, revision : str. Hub name or local folder; commit, tag or branch on the hub.
    local_files_only : bool. Make no request.
    batch_size : int. Windows per forward pass, or as many as there are clips.
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
            reason = f"no CLAP model at {self.weights!r} ({str(error).splitlines()[0]})"
            raise CheckpointError(f"{reason}; give a folder of save_pretrained, or a hub name and a network") from error
        self._sha256 = digest_of(self.model)
        fused = self.extractor.truncation == "fusion"
        filters = self.extractor.mel_filters if fused else self.extractor.mel_filters_slaney
        self.register_buffer("_filters", torch.from_numpy(filters).float(), persistent=False)
        self.sample_rate_hz = self.extractor.sampling_rate
        self.embed_dim = self.model.config.projection_dim
        self.policy = WindowPolicy(window_s=self.extractor.max_length_s, short="native", min_s=0.01)

    def _targets(self, wavs, sample_rate_hz, columns):
        clips = clips_at(wavs, sample_rate_hz, self.sample_rate_hz, self._filters.device)
        batch_size = max(self.batch_size, len(clips))
        return {"clip": embed_windows(self._embed, clips, self.sample_rate_hz, self.policy, batch_size).float()}

    def _embed(self, windows):
        is_longer = torch.zeros(len(windows), 1, dtype=torch.bool, device=windows.device)
        return _rows(self.model.get_audio_features(input_features=self.log_mel(windows), is_longer=is_longer))

    def log_mel(self, windows):
        """The library's log-mel (n, C, F, M) of windows (n, T), in dB, computed on their device in float64.

        Equal to ``ClapFeatureExtractor`` with ``padding="repeatpad"`` to 1e-4 dB; C is 4 for fused models, else 1.
        """
        extractor, n_samples = self.extractor, windows.shape[1]
        n_total = int(extractor.nb_max_samples)
        windows = F.pad(windows.repeat(1, n_total // n_samples), (0, n_total % n_samples))
        dtype = torch.float32 if windows.device.type == "mps" else torch.float64
        taper = torch.hann_window(extractor.fft_window_size, dtype=dtype, device=windows.device)
        sizes = extractor.fft_window_size, extractor.hop_length
        spectra = torch.stft(windows.to(dtype), *sizes, window=taper, pad_mode="reflect", return_complex=True)
        power = spectra.real.square() + spectra.imag.square()
        log_mel = 10 * (power.transpose(1, 2) @ self._filters.to(dtype)).clamp(min=1e-10).log10()
        return log_mel.float()[:, None].expand(-1, 4 if extractor.truncation == "fusion" else 1, -1, -1)

    def _to_bf16(self):
        self.model.audio_model = in_bf16(self.model.audio_model)

    def _decides(self):
        self._require_loaded()
        return {"weights_sha256": self._sha256, "extractor_sha256": sha256_of_json(self.extractor.to_dict())}

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


def _rows(output):
    # transformers 5 wraps the projected features, transformers 4 returned the tensor itself.
    return output if isinstance(output, torch.Tensor) else output.pooler_output
