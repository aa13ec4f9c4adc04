"""From a captioner to the folder that :mod:`tinyclap.runtime` opens: its three graphs, words, golden clips, reports."""

import numpy as np
import torch

from tinyclap import __version__
from tinyclap.audio.io import read_audio
from tinyclap.checkpoints.exported import read_config
from tinyclap.checkpoints.folder import amend, new_folder, write_config, write_json
from tinyclap.data.recordings import chosen_recordings, first_window
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.export.caption_graphs import FramesGraph, MemoryGraph, StepGraph
from tinyclap.export.compact import compact_graph
from tinyclap.export.front_end import front_end_weights
from tinyclap.export.golden import golden_clips
from tinyclap.export.latency import best_precisions, measure_latencies, table
from tinyclap.export.onnx_graphs import export_graph
from tinyclap.export.parity import MAX_RELATIVE_ERROR, compare, refuse
from tinyclap.export.quantise import quantise
from tinyclap.models.captioner import Captioner
from tinyclap.models.folding import folded
from tinyclap.runtime.audio_model import GOLDEN
from tinyclap.runtime.captioner import VOCABULARY, CaptionModel

GRAPHS = {"fp32": "frames.onnx", "int8": "frames.int8.onnx", "memory": "memory.onnx", "step": "step.onnx"}
DECODING = {"beam": 3, "max_words": 20}  # what a caption is searched with unless the caller says otherwise
_EXAMPLE_S = 1.3  # any length does: what is traced holds for all
_CLIP_S = 10.0  # of the latency table


def export_captioner(source, target, options):
    """Write the exported folder of a captioner.

    Arguments
    ---------
    source : tinyclap.export.sources.Source
        Of kind "captioner".
    target : str or os.PathLike
        Written whole, or not at all.
    options : tinyclap.export.write.ExportOptions
        Labels play no part; "int8" is that of the encoder.

    Returns
    -------
    dict
        ``parity`` and ``latency``, as in ``parity.json`` and ``latency.json``.

    Raises
    ------
    ConfigError
        It does not caption sounds; int8 without recordings, or one that changes more than is allowed.
    CheckpointError
        The fp32 graphs are not the network, which would be an error of ours.
    """
    captioner = getattr(source.network, "captioner", source.network)
    if not isinstance(captioner, Captioner):
        raise ConfigError(f"{source.provenance['source']} is a {type(captioner).__name__}: it does not caption sounds")
    if "int8" in options.precisions and options.calibration_audio is None:
        raise ConfigError("int8 needs real clips: give --calibration_audio FOLDER, or leave int8 out of --precisions")
    calibration, checks = chosen_recordings(options)
    precisions = [name for name in ("fp32", "int8") if name == "fp32" or name in options.precisions]
    with new_folder(target) as folder:
        export_caption_graphs(captioner, folder)
        if "int8" in precisions:
            windows = [first_window(captioner, path) for path in calibration.paths]
            quantise(folder / GRAPHS["fp32"], folder / GRAPHS["int8"], windows, options.calibration_method)
        captioner.tokenizer.save(folder / VOCABULARY)
        _write_golden(folder / GOLDEN, captioner)
        frames = {name: folder / GRAPHS[name] for name in precisions}
        latency = measure_latencies(frames, captioner.sample_rate_hz, _CLIP_S)
        write_json(folder / "latency.json", latency)
        (folder / "latency.md").write_text(table(latency), encoding="utf-8")
        _write_config(folder, source, captioner, precisions, best_precisions(latency, precisions))
        if options.compact:
            _judge({"fp32": _parity(folder, captioner, "fp32", [])}, options)
            stored = _compact(folder)
        parity = {name: _parity(folder, captioner, name, checks) for name in precisions}
        if options.compact:
            parity["fp32"]["stored"] = stored
        write_json(folder / "parity.json", parity)
        _judge(parity, options)
    return {"parity": parity, "latency": latency}


def _compact(folder):
    """Store the weights of all fp32 graphs as int8, but for the front end; returns what became of each file."""
    stored = {}
    for name in ("fp32", "memory", "step"):
        path = folder / GRAPHS[name]
        stored[path.name] = compact_graph(path, path, keep=front_end_weights(path) if name == "fp32" else ())
    amend(folder, compact=True)
    return stored


def export_caption_graphs(captioner, folder):
    """Write the graphs of a captioner in fp32.

    Arguments
    ---------
    captioner : tinyclap.models.captioner.Captioner
        It stays as it is.
    folder : pathlib.Path

    Raises
    ------
    ConfigError
        The window policy lets through clips that are too short for the front end, or the exporter refuses.
    """
    captioner.eval()
    frames = FramesGraph(captioner.features, folded(captioner.encoder))
    least = captioner.policy.length(1, captioner.sample_rate_hz)
    if least < frames.features.min_samples:
        raise ConfigError(
            f"the captioner hears clips of {least} samples, the exported front end needs "
            f"{frames.features.min_samples}; make min_s longer"
        )
    wavs = torch.zeros(2, max(least, round(_EXAMPLE_S * captioner.sample_rate_hz)))
    axes = {"wavs": {0: "pieces", 1: "samples"}}
    export_graph(frames, (wavs,), ["wavs"], ["frames"], axes, folder / GRAPHS["fp32"])
    heard = [f"{name}_{index}" for index in range(len(captioner.decoder.model.layers)) for name in _HEARD]
    memory = MemoryGraph(captioner.decoder)
    example = torch.zeros(2, 7, captioner.decoder.memory_dim), torch.tensor([7, 5])
    axes = {"frames": {0: "clips", 1: "frames"}, "n_frames": {0: "clips"}}
    export_graph(memory, example, list(axes), ["clip", *heard], axes, folder / GRAPHS["memory"])
    with torch.no_grad():
        _, *memories = memory(*example)
    _export_step(captioner.decoder, dict(zip(heard, memories, strict=True)), folder / GRAPHS["step"])


_HEARD = {"asked": 2, "told": 1, "bias": 2}  # a layer's part of the memory, and its axis of heads times frames


def _export_step(decoder, heard, path, beam=3, n_before=5):
    """Write the graph of one word; the sizes do not matter, as long as they are none of each other's and above 1."""
    n_clips, n_rows, head_width = 2, 2 * beam, decoder.width // decoder.n_heads
    said = {
        f"said_{index}": torch.zeros(n_rows, decoder.n_heads, n_before, head_width)
        for index in range(2 * len(decoder.model.layers))
    }
    example = {
        "last_ids": torch.ones(n_clips, beam, dtype=torch.int64),
        "rows": torch.arange(n_rows),
        "running": torch.zeros(n_clips, beam),
        "banned": torch.zeros(decoder.n_words),
        "word_mask": torch.zeros(n_rows, 1, 1, n_before + 1),
        "ranks": torch.arange(beam),
        **said,
        **heard,
    }
    axes = {
        "last_ids": {0: "clips", 1: "beams"},
        "rows": {0: "rows"},
        "running": {0: "clips", 1: "beams"},
        "word_mask": {0: "rows", 3: "words"},
        "ranks": {0: "beam"},
        **{name: {0: "rows_before", 2: "words_before"} for name in said},
        **{name: {0: "clips", _HEARD[name.partition("_")[0]]: "heads_by_frames"} for name in heard},
    }
    outputs = ["scores", "places", *(f"now_{name}" for name in said)]
    export_graph(StepGraph(decoder), tuple(example.values()), list(example), outputs, axes, path)


def _write_golden(path, captioner):
    """Write ``clip_0`` …, ``sample_rates_hz``, ``clip`` (n, C) and ``ids`` (n, max_words)."""
    rate_hz = captioner.sample_rate_hz
    clips = golden_clips(rate_hz, captioner.policy.window_s)
    shortest = captioner.policy.length(1, rate_hz)
    clips.append((clips[0][0][:shortest], rate_hz))  # what was traced on a longer clip has to hold for it
    rows, ids = zip(*(_described(captioner, [clip], rate) for clip, rate in clips), strict=True)
    arrays = {f"clip_{index}": clip for index, (clip, _) in enumerate(clips)}
    rates = np.array([rate for _, rate in clips])
    np.savez_compressed(path, sample_rates_hz=rates, clip=np.concatenate(rows), ids=np.concatenate(ids), **arrays)


def _described(captioner, clips, rate_hz):
    """The network's own mean frames (n, C) and best captions (n, max_words) of clips."""
    rows, found = captioner.describe(clips, rate_hz, **DECODING)
    return rows.cpu().numpy(), found.ids[:, 0].cpu().numpy()


def _write_config(folder, source, captioner, precisions, best):
    decoder, words = captioner.decoder, captioner.tokenizer
    write_config(
        folder,
        "captioner",
        [*(GRAPHS[name] for name in (*precisions, "memory", "step")), VOCABULARY, GOLDEN],
        sample_rate_hz=captioner.sample_rate_hz,
        embed_dim=captioner.caption_dim,
        window=captioner.policy.config,
        resampler=captioner.resampler,
        frames={
            "n_dropped": int(bool(captioner.features.preemphasis)),
            "hop_length": captioner.features.hop_length,
            "mel_frames_each": getattr(captioner.encoder, "mel_frames_each", None),
        },
        has_words=getattr(source.network, "has_words", True),
        decoding=DECODING,
        decoder={
            "n_words": words.n_words,
            "n_layers": len(decoder.model.layers),
            "n_heads": decoder.n_heads,
            "width": decoder.width,
            "max_positions": decoder.max_positions,
            "start_id": words.start_id,
            "end_id": words.end_id,
            "pad_id": words.pad_id,
        },
        graphs={name: GRAPHS[name] for name in (*precisions, "memory", "step")},
        best_precision=best,
        provenance={"tinyclap": __version__, **source.provenance},
    )


def _parity(folder, captioner, precision, checks):
    """What parity.json says of one precision: the golden clips, and every set of recordings."""
    model = CaptionModel(folder, read_config(folder), precision=precision)
    with np.load(folder / GOLDEN) as golden:
        clips = [(golden[f"clip_{index}"], int(rate)) for index, rate in enumerate(golden["sample_rates_hz"])]
        reference = golden["clip"], golden["ids"]
    report = {"golden": _agreement(model, [([clip], rate) for clip, rate in clips], *reference)}
    report["recordings"] = {}
    for found in checks:
        described = [_described(captioner, *_read(path)) for path in found.paths]
        rows, ids = (np.concatenate(parts) for parts in zip(*described, strict=True))
        said = _agreement(model, [([path], None) for path in found.paths], rows, ids)
        names = [path.name for path in found.paths]
        report["recordings"][found.name] = {"n_clips": len(names), **said, "paths": names}
    return report


def _read(path):
    wav, rate_hz = read_audio(path)
    return [wav], rate_hz


def _agreement(model, inputs, rows, ids):
    """How far the exported captioner is from what the network said: mean frames, and the share of equal captions."""
    found = [model.describe(audio, rate_hz) for audio, rate_hz in inputs]
    same = [np.array_equal(one.ids[0, 0], wanted) for (_, one), wanted in zip(found, ids, strict=True)]
    embedding = compare(np.concatenate([one for one, _ in found]), rows)
    return {"embedding": embedding, "decisions": {"agreement": float(np.mean(same))}}


def _judge(parity, options):
    """Raise where a precision is not what it should be."""
    golden = parity["fp32"]["golden"]
    error, agreement = golden["embedding"]["relative"], golden["decisions"]["agreement"]
    if "stored" in parity["fp32"]:
        # captions differ by a word long before they are worse: how many do is reported, and only cosines are judged
        refuse("compact", parity["fp32"]["recordings"], 100.0, options.min_cosine)
    elif error > MAX_RELATIVE_ERROR or agreement < 1:
        raise CheckpointError(
            f"the fp32 graphs are not the network: frames {error:.2g} away, {100 * agreement:.0f} % of the golden "
            "captions equal; report this"
        )
    if "int8" in parity and not options.force:
        refuse("int8", parity["int8"]["recordings"], options.max_accuracy_drop, options.min_cosine)
