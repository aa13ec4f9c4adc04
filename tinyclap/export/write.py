"""From a student or tagger to the folder that :mod:`tinyclap.runtime` opens: graphs, labels, golden clips, reports."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tinyclap import __version__
from tinyclap.checkpoints.exported import read_config
from tinyclap.checkpoints.folder import new_folder, write_config, write_json
from tinyclap.data.recordings import chosen_recordings, first_window
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.export.audio_model import export_audio_graph
from tinyclap.export.background import add_background, add_temperature
from tinyclap.export.front_end import write_front_end
from tinyclap.export.golden import write_golden
from tinyclap.export.latency import best_precisions, measure_latencies, table
from tinyclap.export.parity import MAX_RELATIVE_ERROR, compare, decisions, reference_outputs, refuse, runtime_outputs
from tinyclap.export.quantise import quantise
from tinyclap.export.sources import class_vectors
from tinyclap.export.text_side import write_text_side
from tinyclap.runtime.audio_model import GOLDEN, LABELS, VECTORS, AudioModel
from tinyclap.runtime.session import has_bf16
from tinyclap.text.label_embeddings import require_distinct

_logger = logging.getLogger(__name__)
FRONT_END = "front_end.onnx"
GRAPHS = {"fp32": "model.onnx", "int8": "model.int8.onnx"}


@dataclass
class ExportOptions:
    """What the command line says of an export.

    Arguments
    ---------
    labels : list of str
        Class names that the folder can tell apart; may be empty.
    templates : list of str or None
        Prompts for them; None takes the text side's own.
    precisions : list of str
        "fp32", and "int8" if wanted.
    calibration_audio : str or None
        Where int8 is calibrated; see :func:`tinyclap.data.recordings.find_recordings`.
    check_audio : list of str
        Where the result is compared with the network; by default the part of `calibration_audio` that was not used.
    n_calibration, n_check : int
        Recordings of each, at most, chosen at random with `seed`.
    calibration_method : str
        See :func:`tinyclap.export.quantise.quantise`.
    max_accuracy_drop, min_cosine : float
        See :func:`tinyclap.export.parity.refuse`.
    force : bool
        Keep int8 whatever it loses.
    text_side : {"auto", "yes", "no"}
        Whether the folder takes new names; "auto": where its text tower is at hand and can be exported.
    temperature_audio : list of str
        Labelled training recordings, for shares among labels; see :func:`tinyclap.export.background.add_temperature`.
    background_audio : list of str
        Training recordings, for rates of false alarms; see :func:`tinyclap.export.background.add_background`.
    compact : bool
        Of a captioner: store its weights as int8; see :func:`tinyclap.export.compact.compact_graph`.
    seed : int
    """

    labels: list = field(default_factory=list)
    templates: list | None = None
    precisions: list = field(default_factory=lambda: ["fp32"])
    calibration_audio: str | None = None
    check_audio: list = field(default_factory=list)
    n_calibration: int = 64
    n_check: int = 1000
    calibration_method: str = "percentile"
    max_accuracy_drop: float = 1.0
    min_cosine: float = 0.95
    force: bool = False
    text_side: str = "auto"
    temperature_audio: list = field(default_factory=list)
    background_audio: list = field(default_factory=list)
    compact: bool = False
    seed: int = 0


def export_audio_model(source, target, options):
    """Write the exported folder of a student or tagger.

    Arguments
    ---------
    source : tinyclap.export.sources.Source
        Of kind "audio_encoder" or "tagger".
    target : str or os.PathLike
        Written whole, or not at all.
    options : ExportOptions

    Returns
    -------
    dict
        ``parity`` and ``latency``, as in ``parity.json`` and ``latency.json``.

    Raises
    ------
    ConfigError
        int8 without recordings, or one that loses more than is allowed.
    CheckpointError
        The fp32 graph is not the network, which would be an error of ours.
    """
    if "int8" in options.precisions and options.calibration_audio is None:
        raise ConfigError("int8 needs real clips: give --calibration_audio FOLDER, or leave int8 out of --precisions")
    calibration, checks = chosen_recordings(options)
    network = source.student
    with new_folder(target) as folder:
        graphs = {"fp32": export_audio_graph(network.fold(), folder / GRAPHS["fp32"], source.kind == "tagger")}
        write_front_end(graphs["fp32"], folder / FRONT_END)
        if "int8" in options.precisions:
            windows = [first_window(network, path) for path in calibration.paths]
            graphs["int8"] = quantise(graphs["fp32"], folder / GRAPHS["int8"], windows, options.calibration_method)
        score = _write_labels(folder, source, options)
        write_golden(folder / GOLDEN, source, network.policy.window_s)
        latency = measure_latencies(
            graphs,
            network.sample_rate_hz,
            min(network.policy.window_s, 5.0),
            front_end=folder / FRONT_END,
        )
        write_json(folder / "latency.json", latency)
        (folder / "latency.md").write_text(table(latency), encoding="utf-8")
        text = _write_text(folder, source, options)
        _write_config(folder, source, options, score, best_precisions(latency, list(graphs)), text)
        if options.temperature_audio:
            add_temperature(folder, options.temperature_audio, lambda names: class_vectors(source, names)[0].numpy())
        if options.background_audio:
            add_background(folder, options.background_audio, seed=options.seed)
        references = {found.name: reference_outputs(source, found.paths) for found in checks}
        parity = {}
        for engine, precision in _ways(graphs):
            model = AudioModel(folder, read_config(folder), engine, precision)
            parity[precision] = _parity(model, source, checks, references)
        write_json(folder / "parity.json", parity)
        _judge(parity, options)
    return {"parity": parity, "latency": latency}


def _write_labels(folder, source, options):
    """Write names and vectors; returns the kind of score."""
    vectors, score = np.zeros((0, source.student.embed_dim), np.float32), None
    if options.labels:
        rows, score = class_vectors(source, options.labels, options.templates)
        vectors = rows.cpu().numpy().astype(np.float32)
        require_distinct(options.labels, vectors)
    elif source.tags:
        score = "sqrt_dot"
    write_json(folder / LABELS, {"labels": options.labels, "templates": options.templates, "tags": source.tags})
    np.savez_compressed(folder / VECTORS, vectors=vectors)
    return score or "cosine"


def _write_text(folder, source, options):
    """Write the text side as the options have it: (what the config says of it, its files); (None, []) without one."""
    if options.text_side not in ("auto", "yes", "no"):
        raise ConfigError(f"--text_side {options.text_side}: choose auto, yes or no")
    if options.text_side == "no" or source.text is None:
        if options.text_side == "yes":
            raise ConfigError(
                f"{source.provenance['source']} has no text side here; give its weights by --text_weights"
            )
        return None, []
    try:
        return write_text_side(folder, source.text(), options.labels)
    except (CheckpointError, ConfigError) as error:
        if options.text_side == "yes":
            raise
        _logger.warning("exported without a text side, so it takes compiled labels alone: %s", error)
        return None, []


def _write_config(folder, source, options, score, best, text):
    network, graphs = source.student, {name: GRAPHS[name] for name in GRAPHS if name in options.precisions}
    about_text, text_files = text
    more = {} if about_text is None else {"text": about_text}
    latent = source.provenance.get("latent", {})
    if "order" in latent:  # a model that was cut to its first dimensions has them in their order
        more["latent"] = {"order": list(range(len(latent["kept"]))) if "kept" in latent else latent["order"]}
    outputs = {"embedding": {"normalise": source.kind == "audio_encoder" and network.output == "none"}}
    if source.kind == "tagger":
        outputs["logits"] = {"normalise": False}
    write_config(
        folder,
        source.kind,
        [*graphs.values(), FRONT_END, LABELS, VECTORS, GOLDEN, *text_files],
        sample_rate_hz=network.sample_rate_hz,
        embed_dim=network.embed_dim,
        window=network.policy.config,
        resampler=network.resampler,
        outputs=outputs,
        score=score,
        graphs={**graphs, "front_end": FRONT_END},
        best_precision=best,
        **more,
        provenance={"tinyclap": __version__, **source.provenance},
    )


def _ways(graphs):
    """(engine, precision) of all that is to be compared: every graph, and OpenVINO's bf16 where that is to be had."""
    yield from (("onnxruntime", precision) for precision in graphs)
    if has_bf16():
        yield "openvino", "bf16"


def _parity(model, source, checks, references):
    """What parity.json says of one precision: the golden clips, and every set of recordings."""
    with np.load(model.folder / GOLDEN) as golden:
        clips = [(golden[f"clip_{index}"], int(rate)) for index, rate in enumerate(golden["sample_rates_hz"])]
        wanted = {name: golden[name] for name in model.config["outputs"]}
    parts = [model.outputs([clip], rate_hz) for clip, rate_hz in clips]
    report = {name: compare(np.concatenate([part[name] for part in parts]), wanted[name]) for name in wanted}
    return {
        "golden": report,
        "recordings": {found.name: _set_parity(model, source, found, references[found.name]) for found in checks},
    }


def _set_parity(model, source, found, reference):
    ours = runtime_outputs(model, found.paths)
    report = {name: compare(ours[name], reference[name]) for name in reference}
    rows = [_sounds(outputs) for outputs in (ours, reference)]
    if found.labels and source.text is not None:
        vectors, kind = class_vectors(source, found.classes)
        said = decisions(*rows, vectors.cpu().numpy(), kind, found.classes, found.labels)
    elif model.labels:
        with np.load(model.folder / VECTORS) as content:
            said = decisions(*rows, content["vectors"], model.config["score"])
    else:
        said = decisions(*rows)
    return {
        "n_clips": len(found.paths),
        **report,
        "decisions": said,
        "paths": [path.name for path in found.paths],
    }


def _sounds(outputs):
    """What is compared with classes: probabilities of a tagger, else embeddings."""
    return 1 / (1 + np.exp(-outputs["logits"])) if "logits" in outputs else outputs["embedding"]


def summary(target, done):
    """What was written, for a person.

    Arguments
    ---------
    target : str or os.PathLike
    done : dict
        From :func:`export_audio_model`.

    Returns
    -------
    str
    """
    target = Path(target)
    lines = [f"{target}:"]
    lines += [f"  {path.name}: {path.stat().st_size:,} bytes" for path in sorted(target.iterdir())]
    for precision, report in done["parity"].items():
        for name, found in report.get("recordings", {}).items():
            said, cosine = found["decisions"], found["embedding"]["cosine"]
            words = f"cosine {cosine['mean']:.5f} (least {cosine['min']:.5f})"
            words += f", same decision {100 * said['agreement']:.1f} %"
            if "accuracy" in said:
                before = f"{100 * said['reference_accuracy']:.2f}"
                words += f", accuracy {100 * said['accuracy']:.2f} % (the network: {before} %)"
            lines.append(f"  {precision} on {name} ({found['n_clips']} clips): {words}")
    return "\n".join(lines) + "\n\n" + table(done["latency"])


def _judge(parity, options):
    """Raise where a precision is not what it should be."""
    for name, reports in {"golden": parity["fp32"]["golden"], **parity["fp32"]["recordings"]}.items():
        error = max(
            report["relative"] for report in reports.values() if isinstance(report, dict) and "relative" in report
        )
        if error > MAX_RELATIVE_ERROR:
            raise CheckpointError(f"{name}: the fp32 graph is {error:.2g} away from the network; report this")
    if "int8" in parity and not options.force:
        refuse("int8", parity["int8"]["recordings"], options.max_accuracy_drop, options.min_cosine)
