#!/usr/bin/env python3
"""One clip of 10 s to a caption, batch 1, beam 3: ours against the small captioner's published code and its teacher.

    python benchmarks/captioner.py [--threads 1 2] [--repeats 15] [--only "frames"]

The student is EfficientNet-B2 with its Transformer and says 20 words; the teacher is HTSAT-BART and says 20 tokens.
Both have the published sizes and random weights: time does not depend on them, as long as neither stops early, which
all are kept from (so the share of the decoders is more than in use, where captions have 10 to 15 words). See
peer_captioner.py for what the peers do. "runtime" is tinyclap.runtime on the exported folder, from samples to words.
"""

import importlib.util
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from harness import Group, benchmark_main
from peer_captioner import PublishedStudent, Teacher, filled

from tinyclap.decoding.beam_search import beam_search
from tinyclap.errors import ConfigError
from tinyclap.export.sources import Source
from tinyclap.export.write import ExportOptions, export_model
from tinyclap.metrics.cost import count_macs
from tinyclap.published.captioners import Effb2Trm
from tinyclap.published.wavcaps import WavcapsHtsatBart
from tinyclap.runtime import load

CLIP_S, N_WORDS, BEAM = 10, 20, 3
PUBLISHED, TEACHER, TEACHER_BF16 = "published code, eager", "HTSAT-BART, fp32", "HTSAT-BART, bf16 weights"
OURS, SAME = "tinyclap, torch", "same words as the published code"
SEARCH = {"beam": BEAM, "max_words": N_WORDS, "min_words": N_WORDS - 1}


class TorchStudent:
    """Our captioner in torch, stage by stage."""

    def __init__(self, captioner):
        self.captioner = captioner

    @torch.inference_mode()
    def frames(self, wavs):
        return self.captioner.encode(wavs)

    @torch.inference_mode()
    def decode(self, encoded):
        captioner = self.captioner
        words, state = captioner.tokenizer, captioner.decoder.begin(encoded.frames, encoded.n_frames)
        return beam_search(captioner.decoder, state, words.start_id, words.end_id, **SEARCH).ids[:, 0]

    def caption(self, wavs):
        return self.decode(self.frames(wavs))


def runtimes(network, threads):
    """Our exported captioner in every engine and precision that is here: name → CaptionModel."""
    models = {}
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(scratch) / "captioner"
        export_model(Source("captioner", network, {"source": "random weights"}), folder, ExportOptions())
        for engine, precision in (("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")):
            if importlib.util.find_spec(engine) is None:
                continue
            try:
                models[f"runtime, {engine} {precision}"] = load(folder, engine, precision, threads)
            except ConfigError:  # no bf16 on this processor
                continue
    return models


def groups(options):
    """The two stages, then a caption from the samples."""
    network = filled(Effb2Trm())
    peer, ours = PublishedStudent(network.captioner), TorchStudent(network.captioner)
    models = runtimes(network, options.threads)
    wav = noise(16000)
    frames, n_frames = peer.frames(wav), torch.tensor([(wav.shape[1] // 160 + 1) // 32])
    yield to_frames(network, peer, ours, models, wav, frames)
    yield to_words(peer, ours, models, ours.frames(wav), frames, n_frames)
    yield to_caption(peer, ours, models, wav, peer.decode(frames, n_frames, BEAM, N_WORDS))


def noise(rate_hz):
    """A clip (1, T)."""
    return 0.1 * torch.randn(1, CLIP_S * rate_hz, generator=torch.Generator().manual_seed(1))


def to_frames(network, peer, ours, models, wav, frames):
    """Log-mel and encoder."""
    samples = wav.numpy()
    log_mel = network.captioner.features(wav)
    return Group(
        "waveform to frames",
        f"{CLIP_S} s at 16 kHz, batch 1",
        {
            PUBLISHED: lambda: peer.frames(wav),
            OURS: lambda: ours.frames(wav),
            **{name: lambda model=model: model.frames_graph.run({"wavs": samples}) for name, model in models.items()},
        },
        PUBLISHED,
        n_macs=count_macs(network.captioner.encoder, log_mel)["n_macs"],
        notes={
            "relative error of the frames": {
                name: error(model.frames_graph.run({"wavs": samples})[0], frames) for name, model in models.items()
            }
        },
    )


def to_words(peer, ours, models, encoded, frames, n_frames):
    """The decoder; the runtime's is onnxruntime's, whatever the engine."""
    name = next(iter(models))
    wanted = peer.decode(frames, n_frames, BEAM, N_WORDS)
    return Group(
        f"frames to {N_WORDS} words",
        f"{int(n_frames)} frames, beam {BEAM}, batch 1",
        {
            PUBLISHED: lambda: peer.decode(frames, n_frames, BEAM, N_WORDS),
            OURS: lambda: ours.decode(encoded),
            name: lambda: decoded(models[name], frames, n_frames),
        },
        PUBLISHED,
        notes={
            SAME: {
                OURS: same(ours.decode(encoded), wanted),
                name: same(decoded(models[name], frames, n_frames), wanted),
            }
        },
    )


def to_caption(peer, ours, models, wav, wanted):
    """All of it, with the teacher's."""
    samples, wav_32k = wav.numpy(), noise(32000)
    # a network in two precisions is two networks
    teacher, teacher_bf16 = (Teacher(filled(WavcapsHtsatBart()), dtype) for dtype in (torch.float32, torch.bfloat16))
    return Group(
        "caption from the samples",
        f"{CLIP_S} s, beam {BEAM}, {N_WORDS} words, batch 1",
        {
            PUBLISHED: lambda: peer.caption(wav, BEAM, N_WORDS),
            TEACHER: lambda: teacher.caption(wav_32k, BEAM, N_WORDS),
            TEACHER_BF16: lambda: teacher_bf16.caption(wav_32k, BEAM, N_WORDS),
            OURS: lambda: ours.caption(wav),
            **{name: lambda model=model: captioned(model, samples) for name, model in models.items()},
        },
        (PUBLISHED, TEACHER, TEACHER_BF16),
        notes={
            SAME: {
                OURS: same(ours.caption(wav), wanted),
                **{name: same(captioned(model, samples), wanted) for name, model in models.items()},
            }
        },
    )


def decoded(model, frames, n_frames):
    """Ids from frames, by the exported graphs."""
    valid = frames[:, : int(n_frames)].numpy()
    _, *heard = model.memory_graph.run({"frames": valid, "n_frames": n_frames.numpy()})
    return model.decoder.search(heard, **SEARCH).ids[:, 0]


def captioned(model, samples):
    """Ids from samples, by the exported graphs."""
    return model.describe(samples, 16000, **SEARCH)[1].ids[:, 0]


def same(ids, wanted):
    """Whether both say the same."""
    return bool(np.array_equal(np.asarray(ids), np.asarray(wanted)))


def error(found, wanted):
    """Relative error of one array."""
    return float(np.linalg.norm(found - np.asarray(wanted)) / np.linalg.norm(wanted))


if __name__ == "__main__":
    sys.exit(benchmark_main(__doc__, __file__, groups))
