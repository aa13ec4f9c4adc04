"""Export of audio encoders and taggers: one graph from waveforms to embeddings, with labels and text side."""

import logging

import numpy as np
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

_logger = logging.getLogger(__name__)


class EncoderExport:
    """What :func:`tinyclap.export.write.export_model` needs of an encoder or tagger.

    Made of a `source` (:class:`tinyclap.export.sources.Source`) and `options` (``ExportOptions``). ``names`` are graphs
    and their files, ``clip_s`` is the length of the clip of the latency table, ``open`` opens the exported model.
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
            name = source.provenance["source"]
            raise ConfigError(f"{name} has no text side here; give its weights by --text_weights")
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
            add_temperature(
                folder, options.temperature_audio, lambda names: class_vectors(self.source, names)[0].numpy()
            )
        if options.background_audio:
            add_background(folder, options.background_audio, seed=options.seed)

    def golden_clips(self):
        """Clips of :func:`tinyclap.export.parity.golden_clips` for this network."""
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
        found, model : Recordings and the exported AudioModel; None of golden clips.
        """
        report = {name: compare(ours[name], reference[name]) for name in reference}
        if found is None:
            return report
        # probabilities of a tagger, else embeddings
        rows = [
            1 / (1 + np.exp(-each["logits"])) if "logits" in each else each["embedding"] for each in (ours, reference)
        ]
        vectors = ()
        if found.labels and self.source.text is not None:
            embedded, kind = class_vectors(self.source, found.classes)
            vectors = (embedded.cpu().numpy(), kind, found.classes, found.labels)
        elif model.labels:
            vectors = (model.label_rows, model.config["score"])
        return {**report, "decisions": decisions(*rows, *vectors)}


class WaveformToOutputs(nn.Module):
    """Waveforms (B, T) to the embedding (B, D) of an AudioStudent, `student`, and with `logits` its tags (B, K).

    Example
    -------
    >>> import torch
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

    def forward(self, wavs):
        """Compute the outputs: tuple of torch.Tensor."""
        clip = self.student(log_mel=self.features(wavs)).clip
        return (clip, self.student.encoder.tag_logits(clip)) if self.logits else (clip,)


def export_audio_graph(student, path, logits=False):
    """Write a student, best folded, as ``wavs`` (batch, samples) → ``embedding`` (and ``logits``), of any size.

    ConfigError: the window policy lets through what is too short for the front end, or the exporter refuses.
    """
    graph = WaveformToOutputs(student, logits).eval()
    axes, outputs = {"wavs": {0: "batch", 1: "samples"}}, ["embedding", "logits"] if logits else ["embedding"]
    return export_graph(graph, (graph.features.example(student),), ["wavs"], outputs, axes, path)
