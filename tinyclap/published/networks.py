"""Networks as their authors released them, loaded strictly into ours, in one call that needs no network.

Source: github.com/microsoft/CLAP (``CLAP_weights_2022.pth``), huggingface.co/fpaissan/tinyCLAP
(``student_model.ckpt``), github.com/fschmid56/EfficientAT (``mn04_as_mAP_432.pt`` … ``mn40_as``),
huggingface.co/wsntxxn (effb2-trm captioners), github.com/XinhaoMei/WavCaps (HTSAT-BART).
"""

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.checkpoints.state import read_state_dict, strict_load, unwrapped
from tinyclap.errors import ConfigError
from tinyclap.features.log_mel import log_mel
from tinyclap.models.cnn14 import Cnn14
from tinyclap.models.mobilenet import MobileNet
from tinyclap.models.phinet import PhiNet
from tinyclap.models.projection import ClapProjection
from tinyclap.models.student import AudioStudent
from tinyclap.models.text import BertTextTower
from tinyclap.published.captioners import Effb2Trm
from tinyclap.published.hub_tokenizers import bert_tokenizer
from tinyclap.published.wavcaps import WavcapsHtsatBart


def load_published(name, state_dict=None, path=None, **config):
    """Load a published network: built from its sizes, filled strictly, in eval mode.

    Arguments
    ---------
    name : {"msclap2022", "tinyclap-student", "efficientat-mn", "effb2-trm", "wavcaps-htsat-bart"}
        Which.
    state_dict : dict of str to torch.Tensor, optional
        The weights under their published names.
    path : str or os.PathLike, optional
        The published file instead; exactly one of the two is given.
    **config
        ``msclap2022``: ``tokenizer`` (folder, or name on the hub). ``tinyclap-student``: ``alpha``, ``beta``,
        ``t_zero``, ``n_layers`` (the headline's by default). ``efficientat-mn``: ``width`` (0.4 by default).
        ``effb2-trm``: ``tokenizer`` (the vocabulary's file), or ``start_id``, ``end_id``, ``pad_id`` without one; the
        number of words is the file's. ``wavcaps-htsat-bart``: ``tokenizer`` (folder, or name on the hub), and sizes
        ``htsat`` and ``bart`` where they are not the published ones.

    Returns
    -------
    MsClap2022, TinyClapStudent, EfficientAtMn, Effb2Trm or WavcapsHtsatBart

    Raises
    ------
    ConfigError
        The name or a keyword is unknown, or not exactly one of `state_dict` and `path` is given.
    CheckpointError
        The file cannot be read, or a name is missing, surplus or of another shape: all are named, as in the file.

    Example
    -------
    >>> load_published("efficientat-mn", state_dict={"a": torch.zeros(1)})
    Traceback (most recent call last):
    tinyclap.errors.CheckpointError: the state dict for 'efficientat-mn' (width=0.4) does not fit ...
    """
    if name not in _PUBLISHED:
        raise ConfigError(f"no published network {name!r}; there are {', '.join(_PUBLISHED)}")
    cls, keywords = _PUBLISHED[name]
    unknown = sorted(set(config) - set(keywords))
    if unknown:
        raise ConfigError(f"{name} takes {', '.join(keywords)}; not {', '.join(unknown)}")
    if (state_dict is None) == (path is None):
        raise ConfigError(f"{name}: give the weights either as state_dict or as path, and only one of them")
    state_dict = read_state_dict(path) if state_dict is None else unwrapped(dict(state_dict), "the state dict")
    if hasattr(cls, "config_from"):
        config = cls.config_from(state_dict, config)
    network = cls(**config)
    shown = ", ".join(f"{key}={value}" for key, value in config.items()) or network.defaults
    source = f"{'the state dict' if path is None else path} for '{name}'" + (f" ({shown})" if shown else "")
    return strict_load(network, state_dict, network.published_name, network.allowed_extra, source).eval()


class _Published(nn.Module):
    """What the published networks share: an audio tower named ``audio``, and embeddings of clips of any length.

    Attributes
    ----------
    sample_rate_hz, embed_dim : int
        Rate of the network, width of its embeddings.
    allowed_extra : tuple of str
        Patterns of published names that are taken present or absent, and left unused.
    defaults : str
        What the keywords were when none was given, for messages.
    """

    allowed_extra = ()
    defaults = ""

    def __init__(self, audio):
        super().__init__()
        self.audio = audio
        self.sample_rate_hz, self.embed_dim = audio.sample_rate_hz, audio.embed_dim

    def forward(self, wavs):
        """Encode clips (B, T) at ``sample_rate_hz``; see :meth:`tinyclap.models.student.AudioStudent.forward`."""
        return self.audio(wavs)

    def embed_audio(self, wavs, sample_rate_hz, batch_size=32):
        """Embed clips of any length, rate and channels: unit rows (B, D); see ``AudioStudent.embed_audio``."""
        return self.audio.embed_audio(wavs, sample_rate_hz, batch_size)

    def fold(self):
        """The audio tower alone, with the same function and fewer numbers; see ``AudioStudent.fold``."""
        return self.audio.fold()


class MsClap2022(_Published):
    """Microsoft CLAP 2022: CNN14 and BERT with a 1024-dimensional shared space.

    Arguments
    ---------
    tokenizer : str
        Folder or hub name of BERT's tokenizer; it is sought when `embed_text` is first called, and not before.

    Notes
    -----
    Clips go through in windows of 5 s, shorter ones tiled, longer ones averaged. The published file's
    ``logit_scale`` is not needed for cosines and is left unused, as are the buffers of its own front end.
    """

    max_tokens = 100
    allowed_extra = (
        r"^logit_scale$",
        r"^audio_encoder\..*(spectrogram|logmel)",
        r"^caption_encoder\.base\.embeddings\.position_ids$",
    )

    def __init__(self, tokenizer="bert-base-uncased"):
        encoder = Cnn14(n_mels=64, n_tags=527)
        super().__init__(AudioStudent(log_mel("clap2022"), encoder, ClapProjection(encoder.embed_dim, 1024)))
        self.text = BertTextTower(1024)
        self._tokenizer_source, self._tokenizer = tokenizer, None

    @staticmethod
    def published_name(name):
        """Return the published name of one of our tensors."""
        tower, part, rest = name.split(".", 2)
        return f"{'audio_encoder' if tower == 'audio' else 'caption_encoder'}.{part.replace('encoder', 'base')}.{rest}"

    @torch.no_grad()
    def embed_tokens(self, input_ids, attention_mask):
        """Embed token ids (N, L) with their mask (N, L; 1 for tokens, 0 for padding): unit rows (N, 1024).

        ``self.text(input_ids, attention_mask)`` gives the same rows before they are normalised.
        """
        device = next(self.text.parameters()).device
        ids = torch.as_tensor(input_ids, dtype=torch.int64, device=device)
        mask = torch.as_tensor(attention_mask, dtype=torch.int64, device=device)
        return F.normalize(self.text(ids, mask), dim=-1)

    def embed_text(self, texts):
        """Embed N strings, each cut at 100 tokens as published: unit rows (N, 1024).

        Raises
        ------
        CheckpointError
            The tokenizer is neither a folder nor to be had from the hub.
        """
        if self._tokenizer is None:
            self._tokenizer = bert_tokenizer(self._tokenizer_source)
        tokens = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        )
        return self.embed_tokens(tokens["input_ids"], tokens["attention_mask"])


class TinyClapStudent(_Published):
    """A released tinyCLAP student: PhiNet and the published head, into Microsoft CLAP's 1024-dimensional space.

    Arguments
    ---------
    alpha, beta, t_zero : float
        Width, shape and expansion of the PhiNet.
    n_layers : int
        Its depth N.

    Notes
    -----
    Clips go through in windows of 5 s, shorter ones tiled, longer ones averaged.
    """

    defaults = "alpha=1.5, beta=0.75, t_zero=6, n_layers=7"

    def __init__(self, alpha=1.5, beta=0.75, t_zero=6, n_layers=7):
        encoder = PhiNet(n_mels=64, alpha=alpha, beta=beta, t_zero=t_zero, n_layers=n_layers)
        super().__init__(AudioStudent(log_mel("clap2022"), encoder, ClapProjection(encoder.embed_dim, 1024)))

    @staticmethod
    def published_name(name):
        """Return the published name of one of our tensors."""
        return name.removeprefix("audio.").replace("encoder.", "base.", 1)


class EfficientAtMn(_Published):
    """A released EfficientAT "mn" tagger: 527 AudioSet tags and the features before them.

    Arguments
    ---------
    width : float
        0.4 for mn04, 1.0 for mn10, and so on.

    Notes
    -----
    Clips up to 30 s go through whole, as in the published code, which has no limit; longer ones in windows of 30 s,
    averaged; those under 1 s are tiled to it. Embeddings are raw: not normalised.
    """

    defaults = "width=0.4"

    def __init__(self, width=0.4):
        window = {"window_s": 30.0, "short": "native"}
        super().__init__(AudioStudent(log_mel("efficientat"), MobileNet(width=width), window=window))

    @staticmethod
    def published_name(name):
        """Return the published name of one of our tensors."""
        name = name.removeprefix("audio.encoder.")
        name = name.replace(".fc1.", ".conc_se_layers.0.fc1.").replace(".fc2.", ".conc_se_layers.0.fc2.")
        return name.replace("classifier.0.", "classifier.2.").replace("classifier.3.", "classifier.5.")

    def embed_audio(self, wavs, sample_rate_hz, batch_size=32):
        """Embed clips of any length, rate and channels: raw features (B, 384 for width 0.4), not normalised."""
        return self.audio.embed_windows(lambda windows: self.audio(windows).clip, wavs, sample_rate_hz, batch_size)

    def tag(self, wavs, sample_rate_hz, batch_size=32):
        """Tag clips of any length, rate and channels: logits (B, 527), averaged over a clip's windows."""
        return self.audio.embed_windows(self.window_logits, wavs, sample_rate_hz, batch_size)

    def window_logits(self, wavs):
        """Tag clips of one length (B, T) at ``sample_rate_hz`` in one pass: logits (B, 527)."""
        return self.audio.encoder.tag_logits(self.audio(wavs).clip)


_PUBLISHED = {
    "msclap2022": (MsClap2022, ("tokenizer",)),
    "tinyclap-student": (TinyClapStudent, ("alpha", "beta", "t_zero", "n_layers")),
    "efficientat-mn": (EfficientAtMn, ("width",)),
    "effb2-trm": (Effb2Trm, ("tokenizer", "n_words", "start_id", "end_id", "pad_id")),
    "wavcaps-htsat-bart": (WavcapsHtsatBart, ("tokenizer", "htsat", "bart")),
}
