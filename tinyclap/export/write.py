"""From a network to the folder that :mod:`tinyclap.runtime` opens: graphs, golden clips, config, reports.

What differs between encoders and captioners is in :mod:`tinyclap.export.audio_model` and
:mod:`tinyclap.export.captioner`.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tinyclap import __version__
from tinyclap.audio.io import read_audio
from tinyclap.audio.resample import resample_array
from tinyclap.checkpoints.folder import amend, new_folder, read_export, write_config
from tinyclap.errors import ConfigError
from tinyclap.export.audio_model import EncoderExport
from tinyclap.export.captioner import CaptionerExport
from tinyclap.export.cost import graph_costs
from tinyclap.export.latency import best_precisions, measure_latencies, table
from tinyclap.export.parity import outputs_of, refuse, require_exact
from tinyclap.export.quantise import quantise
from tinyclap.files import write_json, write_text
from tinyclap.metrics.recordings import find_recordings, sample
from tinyclap.runtime.audio_model import GOLDEN
from tinyclap.runtime.session import has_bf16


@dataclass
class ExportOptions:
    """Options of ``tinyclap export``.

    Arguments
    ---------
    labels : list of str. Class names that are compiled into the folder; may be empty.
    templates : list of str or None. Prompts for them; None takes the text side's own.
    precisions : list of str. "fp32", and "int8" if wanted.
    calibration_audio : str or None. Where int8 is calibrated; see :func:`tinyclap.metrics.recordings.find_recordings`.
    check_audio : list of str. Where it is compared with the network; empty takes what calibration left over.
    n_calibration, n_check : int. Maximum of recordings of each, chosen at random with `seed`.
    calibration_method : str. See :func:`tinyclap.export.quantise.quantise`.
    max_accuracy_drop, min_cosine : float. See :func:`tinyclap.export.parity.refuse`.
    force : bool. Keep int8 whatever it loses.
    text_side : {"auto", "yes", "no"}. Whether to take new names; "auto": if its text tower is there and exportable.
    temperature_audio : list of str. Labelled training recordings, for probabilities.
    background_audio : list of str. Training recordings, for rates of false alarms.
    compact : bool. Of a captioner: store its weights as int8; see :func:`tinyclap.export.compact.compact_graph`.
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


def export_model(source, target, options):
    """Write the exported folder of a :class:`tinyclap.export.sources.Source` atomically, by ExportOptions.

    Returns a dict of ``parity`` and ``latency``, as in ``parity.json`` and ``latency.json``. ConfigError: int8 without
    recordings, or one that loses more than is allowed; a text network; `target` is in use.
    """
    is_captioner = source.kind == "captioner"
    made = (CaptionerExport if is_captioner else EncoderExport)(source, options)
    if "int8" in options.precisions and options.calibration_audio is None:
        raise ConfigError("int8 needs real clips: give --calibration_audio FOLDER, or leave int8 out of --precisions")
    calibration, checks = _chosen_recordings(options)
    network, precisions = made.network, ["fp32", *(["int8"] if "int8" in options.precisions else [])]
    with new_folder(target) as folder:
        files, fields = made.write(folder)
        if "int8" in precisions:
            windows = [_first_window(network, path) for path in calibration.paths]
            quantise(folder / made.names["fp32"], folder / made.names["int8"], windows, options.calibration_method)
        clips = made.golden_clips()
        golden = outputs_of(made.reference, clips)
        arrays = {f"clip_{index}": clip for index, (clip, _) in enumerate(clips)}
        rates_hz = np.array([rate_hz for _, rate_hz in clips])
        np.savez_compressed(folder / GOLDEN, sample_rates_hz=rates_hz, **arrays, **golden)
        names = {name: file for name, file in made.names.items() if name in precisions or name not in ("fp32", "int8")}
        front_end, graphs = made.names.get("front_end"), {name: folder / names[name] for name in precisions}
        front_end = front_end and folder / front_end
        latency = measure_latencies(graphs, network.sample_rate_hz, made.clip_s, front_end=front_end)
        write_json(folder / "latency.json", latency)
        write_text(folder / "latency.md", table(latency))
        write_config(
            folder,
            source.kind,
            [*names.values(), *files, GOLDEN],
            sample_rate_hz=network.sample_rate_hz,
            window=network.policy.config,
            resampler=network.resampler,
            graphs=names,
            best_precision=best_precisions(latency, precisions),
            **fields,
            provenance={"tinyclap": __version__, **source.provenance},
        )
        if not is_captioner:
            made.calibrate(folder)
        references = {found.name: outputs_of(made.reference, map(read_audio, found.paths)) for found in checks}

        def measure(precision, checks, engine="onnxruntime"):
            model = made.open(folder, read_export(folder), engine, precision)
            golden_report = made.compare(outputs_of(made.outputs_of(model), clips), golden)
            return {"golden": golden_report, "recordings": _parity(model, made, checks, references)}

        is_compact = options.compact and is_captioner
        parity = {"fp32": measure("fp32", [] if is_compact else checks)}
        require_exact(parity["fp32"])
        if is_compact:
            stored = made.compact(folder)
            parity["fp32"] = {**measure("fp32", checks), "stored": stored}
            # captions differ by a word long before they are worse: that is reported, and only cosines are judged
            refuse("compact", parity["fp32"]["recordings"], 100.0, options.min_cosine)
        if "int8" in precisions:
            parity["int8"] = measure("int8", checks)
            if not options.force:
                refuse("int8", parity["int8"]["recordings"], options.max_accuracy_drop, options.min_cosine)
        if not is_captioner and has_bf16():
            parity["bf16"] = measure("bf16", checks, "openvino")
        write_json(folder / "parity.json", parity)
        amend(folder, names.values(), cost=graph_costs(folder, names, network.sample_rate_hz))
    return {"parity": parity, "latency": latency}


def _parity(model, made, checks, references):
    """What parity.json says of one precision on every set of recordings."""
    report = {}
    for found in checks:
        ours = outputs_of(made.outputs_of(model), [(path, None) for path in found.paths])
        compared = made.compare(ours, references[found.name], found, model)
        names = [path.name for path in found.paths]
        report[found.name] = {"n_clips": len(names), **compared, "paths": names}
    return report


def summary(target, done):
    """What :func:`export_model` wrote to a folder (`done`), as lines for the terminal."""
    files = sorted(Path(target).iterdir())
    lines = [f"{target}:", *(f"  {path.name}: {path.stat().st_size:,} bytes" for path in files)]
    for precision, report in done["parity"].items():
        for name, found in report.get("recordings", {}).items():
            said, cosine = found["decisions"], found["embedding"]["cosine"]
            words = f"cosine {cosine['mean']:.5f} (minimum {cosine['min']:.5f})"
            words += f", same decision {100 * said['agreement']:.1f} %"
            if "accuracy" in said:
                before = f"{100 * said['reference_accuracy']:.2f}"
                words += f", accuracy {100 * said['accuracy']:.2f} % (the network: {before} %)"
            lines.append(f"  {precision} on {name} ({found['n_clips']} clips): {words}")
    return "\n".join(lines) + "\n\n" + table(done["latency"])


def _chosen_recordings(options):
    """Recordings to calibrate on (or None), and the sets to check on."""
    if options.calibration_audio is None:
        calibration, rest = None, None
    else:
        found = find_recordings(options.calibration_audio)
        calibration, rest = sample(found, options.n_calibration, options.seed)
    sets = [find_recordings(given) for given in options.check_audio] or ([rest] if rest and rest.paths else [])
    if "int8" in options.precisions and not sets:
        raise ConfigError(
            f"all {len(calibration.paths)} recordings of --calibration_audio are used up; give others by "
            "--check_audio, or a smaller --n_calibration"
        )
    return calibration, [sample(found, options.n_check, options.seed)[0] for found in sets]


def _first_window(student, path):
    """The first window (T_window,) of a recording for a student or captioner."""
    wav, rate_hz = read_audio(path, duration_s=2 * student.policy.window_s)
    wav = resample_array(wav, rate_hz, student.sample_rate_hz, student.resampler)
    return student.policy.cut(wav, student.sample_rate_hz)[0]
