#!/usr/bin/env python3
"""From 5 s of waveform to the embedding, and the network alone: the official eager path against each of ours.

    python benchmarks/student.py --threads 1 2 [--sizes L M S shipped] [--batches 1 32] [--compile]

L, M and S are PhiNets of the published sizes with random weights; "shipped" is the student in weights/. The official
path is torchlibrosa, norms of their own and the default memory format (of the shipped student, which has another front
end: the same with our front end). Multiplications are counted in the folded network, which has the fewest. The notes
give each case's least cosine to the fp32 output: of random weights a sanity check, of the shipped student on made
sounds; accuracy on real clips stands in parity.json of an exported folder. Engines that are not installed are left out.
"""

import importlib.util
import sys
import tempfile
from pathlib import Path

import numpy as np
from harness import Group, benchmark_main
from peer_tinyclap import OfficialStudent

ROOT = Path(__file__).resolve().parents[1]
CLIP_S = 5
NAMES = ("L", "M", "S", "shipped")


def groups(options):
    """Waveform to embedding, then the network alone, for each student and batch."""
    import torch

    torch.set_grad_enabled(False)
    for name in options.sizes:
        official, student = towers(name)
        with tempfile.TemporaryDirectory() as folder:
            in_engines = dict(sessions(student, Path(folder), options.threads))
        in_torch = networks(student, options.compile)
        for n_clips in options.batches:
            wavs = sounds(n_clips, student.sample_rate_hz)
            yield waveform_group(name, official, student, in_torch, in_engines, wavs)
            yield network_group(name, student, in_torch, in_engines, wavs)


def towers(name):
    """The official path, waveforms (B, T) to embeddings, and the student of ours with the same weights."""
    import torch

    from tinyclap.checkpoints.state import load_student

    if name == "shipped":
        student, _ = load_student(ROOT / "weights" / "tinyclap-phinet-m")
        official, _ = load_student(ROOT / "weights" / "tinyclap-phinet-m")
        return (lambda wavs: official(wavs).clip), student
    torch.manual_seed(0)
    official = OfficialStudent(name)
    spread_norms(official.student)
    return official.eval(), official.student.eval()


def spread_norms(student):
    """Give the batch norms the statistics of one batch, so that random weights neither vanish nor overflow."""
    import torch

    norms = [part for part in student.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    student.train()(sounds(4, student.sample_rate_hz))


def sounds(n_clips, rate_hz):
    """Rising tones in noise, (n_clips, T)."""
    import torch

    generator = torch.Generator().manual_seed(0)
    time_s = torch.arange(CLIP_S * rate_hz) / rate_hz
    pitch_hz = 100 * (1 + torch.arange(n_clips))[:, None]
    tones = 0.3 * torch.sin(2 * torch.pi * pitch_hz * (1 + time_s / CLIP_S) * time_s)
    return tones + 0.05 * torch.randn(tones.shape, generator=generator)


def networks(student, with_compile):
    """Name → log-mel (B, F, M) to embedding, in torch."""
    import copy

    import torch

    from tinyclap.teachers.precision import in_bf16

    folded = student.fold()
    found = {
        "eager": student,
        "folded": folded,
        "folded, channels-last": copy.deepcopy(folded).to(memory_format=torch.channels_last),
        "folded, channels-last, bf16": in_bf16(student),
    }
    if with_compile:
        found["torch.compile, folded"] = torch.compile(folded)
    return {name: (lambda log_mel, tower=tower: tower(log_mel=log_mel).clip) for name, tower in found.items()}


def sessions(student, folder, threads):
    """Yield (name, {"wavs": session, "log_mel": session}) for each engine and precision that there is."""
    from tinyclap.export.audio_model import export_audio_graph
    from tinyclap.export.front_end import write_front_end
    from tinyclap.export.onnx_graphs import export_graph
    from tinyclap.export.quantise import quantise
    from tinyclap.runtime.session import has_bf16, open_session

    folded, windows = student.fold(), list(sounds(8, student.sample_rate_hz).numpy())
    example = student.features(sounds(2, student.sample_rate_hz))
    graphs = {"wavs": export_audio_graph(folded, folder / "wavs.onnx")}
    axes = {"log_mel": {0: "batch", 1: "frames"}}
    graphs["log_mel"] = export_graph(
        network_alone(folded), (example,), ["log_mel"], ["embedding"], axes, folder / "log_mel.onnx"
    )
    front_end, int8 = folder / "front_end.onnx", {"wavs": folder / "wavs.int8.onnx"}
    write_front_end(graphs["wavs"], front_end)
    quantise(graphs["wavs"], int8["wavs"], windows)
    for engine in (name for name in ("onnxruntime", "openvino") if importlib.util.find_spec(name)):
        ways = [("fp32", graphs), ("int8", int8), *([("bf16", graphs)] if engine == "openvino" and has_bf16() else [])]
        for precision, files in ways:
            opened = {
                key: open_session(path, engine, precision, threads, front_end if key == "wavs" else None)
                for key, path in files.items()
            }
            yield f"{engine} {precision}", opened


def waveform_group(name, official, student, in_torch, in_engines, wavs):
    """Waveform to embedding."""
    cases = {"official": lambda: official(wavs)}
    cases |= {
        f"torch {key}": (lambda network=network: network(student.features(wavs))) for key, network in in_torch.items()
    }
    array = wavs.numpy()
    cases |= {
        key: (lambda session=opened["wavs"]: session.run({"wavs": array})[0]) for key, opened in in_engines.items()
    }
    return group(f"waveform to embedding, {name}", student, cases, "official", wavs, None)


def network_group(name, student, in_torch, in_engines, wavs):
    """Log-mel to embedding."""
    log_mel = student.features(wavs)
    array = log_mel.numpy()
    cases = {f"torch {key}": (lambda network=network: network(log_mel)) for key, network in in_torch.items()}
    cases |= {
        key: (lambda session=opened["log_mel"]: session.run({"log_mel": array})[0])
        for key, opened in in_engines.items()
        if "log_mel" in opened
    }
    return group(f"network alone, {name}", student, cases, "torch eager", wavs, folded_macs(student, log_mel))


def folded_macs(student, log_mel):
    """Multiplications that the folded network has to do for one call."""
    from tinyclap.metrics.cost import count_macs

    return count_macs(network_alone(student.fold()), log_mel)["n_macs_paper"]


def network_alone(student):
    """A student behind its front end, as a module: log-mels (B, F, M) to embeddings (B, D)."""
    from torch import nn

    class NetworkAlone(nn.Module):
        def __init__(self):
            super().__init__()
            self.student = student

        def forward(self, log_mel):
            return self.student(log_mel=log_mel).clip

    return NetworkAlone()


def group(title, student, cases, peer, wavs, n_macs):
    """A group with each case's least cosine to the peer."""
    wanted = np.asarray(cases[peer]())
    cosines = {key: round(least_cosine(np.asarray(work()), wanted), 6) for key, work in cases.items()}
    shape = f"{len(wavs)} x {CLIP_S} s at {student.sample_rate_hz} Hz"
    return Group(title, shape, cases, peer, len(wavs), n_macs, {"least cosine": cosines})


def least_cosine(found, wanted):
    """The smallest cosine of two rows."""
    lengths = np.linalg.norm(found, axis=-1) * np.linalg.norm(wanted, axis=-1)
    return float(((found * wanted).sum(-1) / lengths).min())


def add_arguments(parser):
    """What this benchmark has beside the common options."""
    parser.add_argument("--sizes", nargs="+", choices=NAMES, default=list(NAMES), help="students (default: all)")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32], help="clips in a call (default: 1 32)")
    parser.add_argument("--compile", action="store_true", help="torch.compile too; its first call takes half a minute")


if __name__ == "__main__":
    sys.exit(benchmark_main(__doc__, __file__, groups, add_arguments))
