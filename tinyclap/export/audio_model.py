"""Export of audio encoders and taggers: one graph from waveforms to embeddings, with labels and text side."""

import logging

import numpy as np
import torch
from torch import nn

from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.export.background import add_background, add_temperature
from tinyclap.export.front_end import write_front_end
from tinyclap.export.log_mel import ExportLogMel
from tinyclap.export.onnx_graphs import export_graph
from tinyclap.export.parity import compare, decisions, golden_clips
from tinyclap.export.sources import class_vectors
from tinyclap.export.text_side import write_text_side
from tinyclap.files import write_json
from tinyclap.runtime.audio_model import LABELS, VECTORS, AudioModel
from tinyclap.text.label_embeddings import require_distinct

_EXAMPLE_S = 1.3  # any length does: what is traced holds for all
_logger = logging.getLogger(__name__)


class EncoderExport:
    """What :func:`tinyclap.export.write.export_model` needs of an encoder or tagger.

    Arguments
    ---------
    source : tinyclap.export.sources.Source
    options : tinyclap.export.write.ExportOptions

    Attributes
    ----------
    names : dict of str to str. Graphs and their files.
    network : tinyclap.models.student.AudioStudent
    clip_s : float. Length of the clip of the latency table.
    open : callable. Folder, config, engine and precision → the exported model.
    """

    names = {"fp32": "model.onnx", "int8": "model.int8.onnx", "front_end": "front_end.onnx"}
    open = AudioModel

    def __init__(self, source, options):
        self.source, self.options, self.network = source, options, source.student
        self.clip_s = min(self.network.policy.window_s, 5.0)

    def write(self, folder):
        """Write graphs, labels and text side: (names of the files beside the graphs, keys of the config)."""
        source, network, is_tagger = self.source, self.network, self.source.kind == "tagger"
        export_audio_graph(network.fold(), folder / self.names["fp32"], is_tagger)
        write_front_end(folder / self.names["fp32"], folder / self.names["front_end"])
        fields = {"embed_dim": network.embed_dim, "score": self._write_labels(folder)}
        fields["outputs"] = {"embedding": {"normalise": not is_tagger and network.output == "none"}}
        if is_tagger:
            fields["outputs"]["logits"] = {"normalise": False}
        latent = source.provenance.get("latent", {})
        if "order" in latent:  # a model that was cut to its first dimensions has them in their order
            fields["latent"] = {"order": list(range(len(latent["kept"]))) if "kept" in latent else latent["order"]}
        about, files = self._write_text(folder)
        return [LABELS, VECTORS, *files], fields | ({} if about is None else {"text": about})

    def _write_labels(self, folder):
        """Write names and label embeddings; returns the kind of score."""
        source, options = self.source, self.options
        vectors, score = np.zeros((0, self.network.embed_dim), np.float32), "sqrt_dot" if source.tags else "cosine"
        if options.labels:
            rows, score = class_vectors(source, options.labels, options.templates)
            vectors = rows.cpu().numpy().astype(np.float32)
            require_distinct(options.labels, vectors)
        write_json(folder / LABELS, {"labels": options.labels, "templates": options.templates, "tags": source.tags})
        np.savez_compressed(folder / VECTORS, vectors=vectors)
        return score

    def _write_text(self, folder):
        """Write the text side as the options have it: (what the config says of it, its files); (None, []) without."""
        source, wanted = self.source, self.options.text_side
        if wanted not in ("auto", "yes", "no"):
            raise ConfigError(f"--text_side {wanted}: choose auto, yes or no")
        if wanted == "yes" and source.text is None:
            raise ConfigError(
                f"{source.provenance['source']} has no text side here; give its weights by --text_weights"
            )
        if wanted == "no" or source.text is None:
            return None, []
        try:
            return write_text_side(folder, source.text(), self.options.labels)
        except (CheckpointError, ConfigError) as error:
            if wanted == "yes":
                raise
            _logger.warning("exported without a text side, so it takes compiled labels alone: %s", error)
            return None, []

    def calibrate(self, folder):
        """Fit what the options ask for on training audio: temperature, background embeddings."""
        options = self.options
        if options.temperature_audio:
            embed = lambda names: class_vectors(self.source, names)[0].numpy()  # noqa: E731
            add_temperature(folder, options.temperature_audio, embed)
        if options.background_audio:
            add_background(folder, options.background_audio, seed=options.seed)

    def compact(self, folder):
        """Of captioners alone: None."""

    def golden_clips(self):
        """See :func:`tinyclap.export.parity.golden_clips`."""
        return golden_clips(self.network.sample_rate_hz, self.network.policy.window_s)

    def reference(self, clips, rate_hz):
        """The network's outputs: dict of name to (B, ·) array."""
        return {name: rows.cpu().numpy() for name, rows in self.source.outputs(clips, rate_hz).items()}

    def outputs_of(self, model):
        """The exported model's: as `reference`, of paths, too."""
        return model.outputs

    def compare(self, ours, reference, found=None, model=None):
        """Differences by output; of recordings also ``decisions``.

        Arguments
        ---------
        ours, reference : dict of str to numpy.ndarray. As of `reference`.
        found : tinyclap.data.recordings.Recordings, optional. What they are of; None of golden clips.
        model : AudioModel, optional. The exported one.
        """
        report = {name: compare(ours[name], reference[name]) for name in reference}
        if found is None:
            return report
        rows, vectors = [_compared(outputs) for outputs in (ours, reference)], ()
        if found.labels and self.source.text is not None:
            embedded, kind = class_vectors(self.source, found.classes)
            vectors = (embedded.cpu().numpy(), kind, found.classes, found.labels)
        elif model.labels:
            vectors = (model.label_rows, model.config["score"])
        return {**report, "decisions": decisions(*rows, *vectors)}


def _compared(outputs):
    """What is compared with classes: probabilities of a tagger, else embeddings."""
    return 1 / (1 + np.exp(-outputs["logits"])) if "logits" in outputs else outputs["embedding"]


class WaveformToOutputs(nn.Module):
    """Waveforms (B, T) to a tuple of outputs: embedding and, of taggers, the encoder's tag `logits`.

    Arguments
    ---------
    student : tinyclap.models.student.AudioStudent
    logits : bool

    Example
    -------
    >>> from tinyclap.features.front_ends import log_mel
    >>> from tinyclap.models.phinet import PhiNet
    >>> from tinyclap.models.student import AudioStudent
    >>> student = AudioStudent(log_mel("clap2022"), PhiNet(alpha=0.5, embed_width=64))
    >>> [rows.shape for rows in WaveformToOutputs(student).eval()(torch.zeros(2, 44100))]
    [torch.Size([2, 64])]
    """

    def __init__(self, student, logits=False):
        super().__init__()
        self.features, self.student, self.logits = ExportLogMel(student.features), student, logits

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

    `student` is best folded. ConfigError: the policy lets through windows that are too short for the front end, or the
    exporter refuses.
    """
    graph = WaveformToOutputs(student, logits).eval()
    least = shortest_window(student)
    if least < graph.features.min_samples:
        raise ConfigError(
            f"the window policy gives windows of {least} samples, the exported front end needs "
            f"{graph.features.min_samples}; make window_s (or min_s) longer"
        )
    wavs = torch.zeros(2, max(least, round(_EXAMPLE_S * student.sample_rate_hz)))
    axes = {"wavs": {0: "batch", 1: "samples"}}
    return export_graph(graph, (wavs,), ["wavs"], graph.output_names, axes, path)
