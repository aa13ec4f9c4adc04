"""Students and taggers as one graph each, from waveforms to embeddings: front end, folded encoder and head."""

import torch
from torch import nn

from tinyclap.errors import ConfigError
from tinyclap.export.log_mel import ExportLogMel
from tinyclap.export.onnx_graphs import export_graph

_EXAMPLE_S = 1.3  # any length does: what is traced holds for all


class WaveformToOutputs(nn.Module):
    """What is exported: waveforms (B, T) to a tuple of outputs.

    Arguments
    ---------
    student : tinyclap.models.student.AudioStudent
    logits : bool
        Also give the encoder's tag logits, after the embedding.

    Example
    -------
    >>> from tinyclap.features.log_mel import log_mel
    >>> from tinyclap.models.phinet import PhiNet
    >>> from tinyclap.models.student import AudioStudent
    >>> student = AudioStudent(log_mel("clap2022"), PhiNet(alpha=0.5, embed_width=64))
    >>> [rows.shape for rows in WaveformToOutputs(student).eval()(torch.zeros(2, 44100))]
    [torch.Size([2, 64])]
    """

    def __init__(self, student, logits=False):
        super().__init__()
        self.features, self.student, self.logits = (
            ExportLogMel(student.features),
            student,
            logits,
        )

    @property
    def output_names(self):
        """Names of the outputs, in order."""
        return ["embedding", "logits"] if self.logits else ["embedding"]

    def forward(self, wavs):
        """Map waveforms (B, T) at the student's rate to (B, D) and, of taggers, (B, K)."""
        clip = self.student(log_mel=self.features(wavs)).clip
        return (clip, self.student.encoder.tag_logits(clip)) if self.logits else (clip,)


class NetworkAlone(nn.Module):
    """A student behind its front end: log-mels (B, F, M) to embeddings (B, D).

    Arguments
    ---------
    student : tinyclap.models.student.AudioStudent
    """

    def __init__(self, student):
        super().__init__()
        self.student = student

    def forward(self, log_mel):
        """Map log-mels (B, F, M) to embeddings (B, D)."""
        return self.student(log_mel=log_mel).clip


def shortest_window(student):
    """Samples of the shortest input that the student's window policy lets through."""
    return student.policy.length(1, student.sample_rate_hz)


def export_audio_graph(student, path, logits=False):
    """Write a student as ``wavs`` (batch, samples) → ``embedding`` (and ``logits``), of any batch and length.

    Arguments
    ---------
    student : tinyclap.models.student.AudioStudent
        Best folded.
    path : str or os.PathLike
    logits : bool
        See :class:`WaveformToOutputs`.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ConfigError
        The policy lets through windows that are too short for the front end's reflection, or the exporter refuses.
    """
    graph = WaveformToOutputs(student, logits).eval()
    least = shortest_window(student)
    if least < graph.features.min_samples:
        raise ConfigError(
            f"the window policy gives windows of {least} samples, the exported front end needs "
            f"{graph.features.min_samples}; make window_s (or min_s) longer"
        )
    wavs = torch.zeros(2, max(least, round(_EXAMPLE_S * student.sample_rate_hz)))
    return export_graph(
        graph,
        (wavs,),
        ["wavs"],
        graph.output_names,
        {"wavs": {0: "batch", 1: "samples"}},
        path,
    )
