"""A zero-shot classifier with the calls of SpeechBrain's ``EncoderClassifier``: torch tensors go in and come out.

    classifier = ZeroShotEncoderClassifier.from_hparams("tinyclap-phinet-m", labels=["dog", "rain", "siren"])
    out_prob, score, index, text_lab = classifier.classify_file("dog.wav")

SpeechBrain is not imported and no YAML is read: a model is a folder of JSON and weights, and nothing in it executes.
"""

import numpy as np
import torch

from tinyclap.audio.clips import as_clips
from tinyclap.errors import AudioError, ConfigError
from tinyclap.inference.pretrained import from_pretrained

# What SpeechBrain users override in a YAML, here options of from_pretrained and of the constructor.
OVERRIDES = ("labels", "template", "dim", "engine", "precision", "n_threads", "revision", "local_files_only")


class ZeroShotEncoderClassifier(torch.nn.Module):
    """A model behind ``encode_batch``, ``classify_batch`` and ``classify_file``.

    Arguments
    ---------
    model : tinyclap.inference.sound_model.SoundModel
    labels : list of str, tinyclap.text.bank.LabelBank or None
        What to choose among; None takes the model's own labels.
    template : str, list of str or None
        As in :meth:`tinyclap.inference.sound_model.SoundModel.label_vectors`.

    Attributes
    ----------
    sample_rate_hz : int
        What ``encode_batch`` and ``classify_batch`` expect; ``classify_file`` and ``load_audio`` take any rate.
    labels : list of str
        In the order of the columns.

    Raises
    ------
    ConfigError
        The model is a captioner; or as in :meth:`tinyclap.inference.sound_model.SoundModel.label_vectors`.
    """

    def __init__(self, model, labels=None, template=None):
        super().__init__()
        if model.kind == "captioner":
            raise ConfigError(f"{model.name} is a captioner and classifies nothing; open an encoder")
        self.model, self.sample_rate_hz = model, model.sample_rate_hz
        self.labels, self._vectors = [], None
        if labels is not None or model.labels:
            self.labels, self._vectors = model.label_vectors(labels, template)

    @classmethod
    def from_hparams(cls, source, savedir=None, run_opts=None, overrides=None, hparams_file=None, **options):
        """Open a model the way SpeechBrain does.

        Arguments
        ---------
        source : str or os.PathLike
            As in :func:`tinyclap.from_pretrained`.
        savedir : str or os.PathLike, optional
            Where what is fetched from the hub is kept; None takes the hub's own cache.
        run_opts : dict, optional
            ``{"device": "cpu"}`` or nothing: exported models compute on the processor.
        overrides, options : dict
            ``labels``, ``template``, ``dim``, ``engine``, ``precision``, ``n_threads``, ``revision``,
            ``local_files_only``.
        hparams_file : None
            Refused: there is no YAML to execute.

        Returns
        -------
        ZeroShotEncoderClassifier

        Raises
        ------
        ConfigError
            An option that is none of these, another device, or a YAML.
        CheckpointError, DownloadError
            As in :func:`tinyclap.from_pretrained`.
        """
        chosen = {**(overrides or {}), **options}
        unknown = sorted(set(chosen) - set(OVERRIDES))
        if unknown:
            raise ConfigError(f"from_hparams does not know {', '.join(unknown)}; choose among {', '.join(OVERRIDES)}")
        if hparams_file is not None:
            raise ConfigError(
                f"hparams_file={hparams_file!r}: no YAML is executed here; leave it out, a model has none"
            )
        device = str((run_opts or {}).get("device", "cpu"))
        if device != "cpu":
            raise ConfigError(f"run_opts asks for {device}: this computes on the processor; leave run_opts out")
        labels, template = chosen.pop("labels", None), chosen.pop("template", None)
        return cls(from_pretrained(source, cache_dir=savedir, **chosen), labels, template)

    def load_audio(self, path):
        """Read a recording of any format, rate and number of channels: (T,) at ``sample_rate_hz``."""
        resampler = self.model.config.get("resampler", "sinc")
        return torch.from_numpy(np.ascontiguousarray(as_clips(path, self.sample_rate_hz, resampler)[0]))

    def encode_batch(self, wavs, wav_lens=None, normalize=False):
        """Embed a padded batch; what is beyond a clip's length has no influence.

        Arguments
        ---------
        wavs : torch.Tensor, shape (B, T), (T,) or (B, T, channels)
            At ``sample_rate_hz``, in [-1, 1].
        wav_lens : torch.Tensor, shape (B,), optional
            Lengths relative to T, in (0, 1]; None takes all of every row.
        normalize : bool
            Rows of unit length, also of models whose rows are none.

        Returns
        -------
        torch.Tensor, shape (B, 1, D), float32
            On the device of `wavs`; the middle axis is SpeechBrain's.

        Raises
        ------
        AudioError
            A length is out of range, or the batch has another shape.
        """
        clips = _unpadded(torch.as_tensor(wavs), wav_lens)
        rows = torch.from_numpy(self.model.embed(clips, self.sample_rate_hz)).to(torch.as_tensor(wavs).device)
        return (torch.nn.functional.normalize(rows, dim=-1) if normalize else rows)[:, None]

    def classify_batch(self, wavs, wav_lens=None):
        """Name the sounds of a padded batch.

        Arguments
        ---------
        wavs, wav_lens
            As in `encode_batch`.

        Returns
        -------
        out_prob : torch.Tensor, shape (B, N)
            Log-probabilities of the labels; of a model with no temperature its scores, as SpeechBrain's own cosine
            classifiers give them.
        score : torch.Tensor, shape (B,)
            The greatest of each row.
        index : torch.Tensor, shape (B,), int64
            Its place in ``labels``.
        text_lab : list of str, B of them

        Raises
        ------
        AudioError
            As in `encode_batch`.
        ConfigError
            There are no labels.
        """
        return self._classified(self.encode_batch(wavs, wav_lens).squeeze(1))

    def classify_file(self, path):
        """Name the sound of one recording: as `classify_batch`, with B = 1."""
        return self._classified(torch.from_numpy(self.model.embed(path)))

    def forward(self, wavs, wav_lens=None):
        """As `classify_batch`."""
        return self.classify_batch(wavs, wav_lens)

    def _classified(self, rows):
        if self._vectors is None:
            raise ConfigError(f"{self.model.name} has no labels of its own; give labels=['dog', 'rain', …]")
        scores = self.model.score_rows(rows.cpu().numpy(), self._vectors)
        if "temperature" in self.model.config.get("calibration", {}):
            with np.errstate(divide="ignore"):
                scores = np.log(self.model.probabilities(scores))
        out_prob = torch.from_numpy(np.asarray(scores, np.float32)).to(rows.device)
        score, index = out_prob.max(dim=-1)
        return out_prob, score, index, [self.labels[place] for place in index.tolist()]


def _unpadded(wavs, wav_lens):
    """The clips of a padded batch, each without its padding: list of numpy.ndarray."""
    wavs = wavs.detach().cpu().float()
    if wavs.ndim == 1:
        wavs = wavs[None]
    if wavs.ndim not in (2, 3) or 0 in wavs.shape:
        raise AudioError(
            "the batch", f"has shape {tuple(wavs.shape)}; give (batch, samples) or (batch, samples, channels)"
        )
    if wavs.ndim == 3:
        wavs = wavs.mean(-1)
    if wav_lens is None:
        return list(wavs.numpy())
    lengths = torch.as_tensor(wav_lens).detach().cpu().double().reshape(-1)
    if len(lengths) != len(wavs) or not bool(((lengths > 0) & (lengths <= 1 + 1e-6)).all()):
        raise AudioError("the batch", f"has {len(wavs)} clips; wav_lens is each one's part of the longest, in (0, 1]")
    ends = (lengths * wavs.shape[1]).round().long().clamp(1, wavs.shape[1])
    return [wav[:end].numpy() for wav, end in zip(wavs, ends.tolist(), strict=True)]
