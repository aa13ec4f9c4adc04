"""Export of captioners: three graphs (waveform to frames, frames to cross-attention, one word) and the vocabulary."""

import numpy as np
import torch

from tinyclap.checkpoints.folder import amend
from tinyclap.errors import ConfigError
from tinyclap.export.caption_graphs import FramesGraph, MemoryGraph, StepGraph
from tinyclap.export.compact import compact_graph
from tinyclap.export.front_end import front_end_weights
from tinyclap.export.onnx_graphs import export_graph
from tinyclap.export.parity import compare, golden_clips
from tinyclap.models.captioner import Captioner
from tinyclap.models.folding import folded
from tinyclap.runtime.captioner import VOCABULARY, CaptionModel

GRAPHS = {"fp32": "frames.onnx", "int8": "frames.int8.onnx", "memory": "memory.onnx", "step": "step.onnx"}
# inputs of a layer (cross-attention keys, values, bias; names of format 1), and their axis of heads times frames
_MEMORY = {"asked": 2, "told": 1, "bias": 2}
DECODING = {"beam": 3, "max_words": 20}  # what a caption is searched with unless the caller says otherwise


class CaptionerExport:
    """What :func:`tinyclap.export.write.export_model` needs of a captioner; `source`, `options` as of EncoderExport."""

    names, open, clip_s = GRAPHS, CaptionModel, 10.0

    def __init__(self, source, options):
        self.source, self.network = source, getattr(source.network, "captioner", source.network)
        if not isinstance(self.network, Captioner):
            kind = type(self.network).__name__
            raise ConfigError(f"{source.provenance['source']} is a {kind}: it does not caption sounds")

    def write(self, folder):
        """As of EncoderExport: graphs and vocabulary."""
        captioner, decoder, words = self.network, self.network.decoder, self.network.tokenizer
        export_caption_graphs(captioner, folder)
        words.save(folder / VOCABULARY)
        frames = {
            "n_dropped": int(bool(captioner.features.preemphasis)),
            "hop_length": captioner.features.hop_length,
            "mel_frames_each": getattr(captioner.encoder, "mel_frames_each", None),
        }
        sizes = {name: getattr(words, name) for name in ("n_words", "start_id", "end_id", "pad_id")}
        sizes |= {name: getattr(decoder, name) for name in ("n_heads", "width", "max_positions")}
        return [VOCABULARY], {
            "embed_dim": captioner.caption_dim,
            "frames": frames,
            "has_words": getattr(self.source.network, "has_words", True),
            "decoding": DECODING,
            "decoder": {**sizes, "n_layers": len(decoder.model.layers)},
        }

    def compact(self, folder):
        """Store the weights of all fp32 graphs as int8, but for the front end; returns what became of each file."""
        stored = {}
        for name in ("fp32", "memory", "step"):
            path = folder / GRAPHS[name]
            stored[path.name] = compact_graph(path, path, keep=front_end_weights(path) if name == "fp32" else ())
        amend(folder, compact=True)
        return stored

    def golden_clips(self):
        """As of encoders, and the shortest clip: what was traced on a longer one has to hold for it."""
        rate_hz, policy = self.network.sample_rate_hz, self.network.policy
        clips = golden_clips(rate_hz, policy.window_s)
        return [*clips, (clips[0][0][: policy.length(1, rate_hz)], rate_hz)]

    def reference(self, clips, rate_hz):
        """The network's mean frames ``clip`` (n, C) and best captions ``ids`` (n, max_words)."""
        return _arrays(*self.network.describe(clips, rate_hz, **DECODING))

    def outputs_of(self, model):
        """The exported captioner's: as `reference`, of paths, too."""
        return lambda clips, rate_hz: _arrays(*model.describe(clips, rate_hz))

    def compare(self, ours, reference, found=None, model=None):
        """Differences of the mean frames, and the fraction of equal captions.

        Arguments
        ---------
        ours, reference : dict of str to numpy.ndarray. As of `reference`.
        found, model : Not used.
        """
        same = (ours["ids"] == reference["ids"]).all(axis=1)
        embedding = compare(ours["clip"], reference["clip"])
        return {"embedding": embedding, "decisions": {"agreement": float(same.mean())}}


def _arrays(rows, found):
    return {"clip": np.asarray(rows), "ids": np.asarray(found.ids)[:, 0]}


def export_caption_graphs(captioner, folder):
    """Write the graphs of a captioner in fp32 to a folder; errors as of ``export_audio_graph``."""
    captioner.eval()
    frames, axes = FramesGraph(captioner.features, folded(captioner.encoder)), {"wavs": {0: "pieces", 1: "samples"}}
    export_graph(frames, (frames.features.example(captioner),), ["wavs"], ["frames"], axes, folder / GRAPHS["fp32"])
    names = [f"{name}_{index}" for index in range(len(captioner.decoder.model.layers)) for name in _MEMORY]
    graph = MemoryGraph(captioner.decoder)
    example = torch.zeros(2, 7, captioner.decoder.memory_dim), torch.tensor([7, 5])
    axes = {"frames": {0: "clips", 1: "frames"}, "n_frames": {0: "clips"}}
    export_graph(graph, example, list(axes), ["clip", *names], axes, folder / GRAPHS["memory"])
    with torch.no_grad():
        _, *memories = graph(*example)
    _export_step(captioner.decoder, dict(zip(names, memories, strict=True)), folder / GRAPHS["step"])


def _export_step(decoder, memory, path, beam=3, n_before=5):
    """Write the graph of one word; the sizes do not matter, as long as they are none of each other's and above 1."""
    n_clips, n_rows, head_width = 2, 2 * beam, decoder.width // decoder.n_heads
    shape = (n_rows, decoder.n_heads, n_before, head_width)
    past = {f"said_{index}": torch.zeros(shape) for index in range(2 * len(decoder.model.layers))}
    example = {
        "last_ids": torch.ones(n_clips, beam, dtype=torch.int64),
        "rows": torch.arange(n_rows),
        "running": torch.zeros(n_clips, beam),
        "banned": torch.zeros(decoder.n_words),
        "word_mask": torch.zeros(n_rows, 1, 1, n_before + 1),
        "ranks": torch.arange(beam),
        **past,
        **memory,
    }
    axes = {
        "last_ids": {0: "clips", 1: "beams"},
        "rows": {0: "rows"},
        "running": {0: "clips", 1: "beams"},
        "word_mask": {0: "rows", 3: "words"},
        "ranks": {0: "beam"},
        **{name: {0: "rows_before", 2: "words_before"} for name in past},
        **{name: {0: "clips", _MEMORY[name.partition("_")[0]]: "heads_by_frames"} for name in memory},
    }
    outputs = ["scores", "places", *(f"now_{name}" for name in past)]
    export_graph(StepGraph(decoder), tuple(example.values()), list(example), outputs, axes, path)
