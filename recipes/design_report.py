"""How the designs of design.py are shown: table, floors of the heads, nearest measured student, training command."""

import json
import math

NAMES = {"clap": "clap (published)", "linear": "linear", "mlp": "mlp, 512 hidden"}


def describe(design):
    """A design in a few words."""
    encoder = dict(design.encoder)
    if design.family == "mn":
        return f"mn width {encoder['width']:g}"
    text = "PhiNet α {alpha:g} β {beta:g} t₀ {t_zero:g} N {n_layers}".format(**encoder)
    return text + (" SE" if encoder.get("squeeze_excite") else "")


def train_words(design, clip_s):
    """The words after ``python train.py hparams/distill_phinet.yaml`` that train a design."""
    encoder = dict(design.encoder)
    if design.family == "mn":
        words = ["--student", "mn", "--width", f"{encoder['width']:g}"]
    else:
        words = [word for name, value in encoder.items() for word in (f"--{name}", str(value))]
        words += ["--embed_width", "null" if design.embed_width is None else str(design.embed_width)]
    words += [
        "--head",
        design.head,
        "--teacher.embed_dim",
        str(design.embed_dim),
        "--hop_length",
        str(design.hop_length),
    ]
    return [*words, "--clip_duration_s", f"{clip_s:g}"]


def as_row(rank, found, figures, results, options, held_beta=None):
    """One design as a dict of plain values; `figures` is empty for what was not measured."""
    design, body, whole = found.design, found.body, found.whole
    name, distance = nearest(whole, results, options.clip_s)
    return {
        "rank": rank,
        "student": describe(design),
        "encoder": dict(design.encoder),
        "embed_width": design.embed_width,
        "head": design.head,
        "hop_length": design.hop_length,
        "n_parameters": whole.n_parameters,
        "backbone_parameters": body.n_parameters,
        "n_macs": whole.n_macs,
        "backbone_macs": body.n_macs,
        "peak_bytes": whole.peak_bytes,
        "share": round(found.share, 4),
        "n_macs_with_mel_bands": figures.get("n_macs_with_mel_bands"),
        "peak_bytes_with_front_end": figures.get("peak_bytes_with_front_end"),
        "latency_ms": figures.get("latency_ms"),
        "held_beta": held_beta,
        "nearest": name,
        "nearest_distance": distance,
        "nearest_scores": results.get(name, {}).get("scores"),
        "command": " ".join(["python train.py hparams/distill_phinet.yaml", *train_words(design, options.clip_s)]),
    }


def read_results(folder):
    """Students whose zero-shot accuracy is kept: name → parameters, MACs, seconds of a clip, and the scores as text."""
    results = {}
    for path in sorted(folder.rglob("metrics.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        model = record.get("model") or {}
        if "value" not in record or not record.get("metric", "").startswith("zero-shot") or "n_macs_paper" not in model:
            continue
        name = "/".join(part for part in path.relative_to(folder).parts[:-2] if part != "results")
        entry = results.setdefault(name, {"scores": []})
        entry.update({key: model[key] for key in ("n_parameters", "n_macs_paper", "macs_clip_s")})
        entry["scores"].append(f"{record['dataset']} {100 * record['value']:.1f} % of {record['n_items']} clips")
    return results


def nearest(cost, results, clip_s):
    """Name and distance, in doublings of parameters and of MACs, of the measured student that is nearest to a cost."""

    def distance(name):
        entry = results[name]
        n_macs = entry["n_macs_paper"] * clip_s / entry["macs_clip_s"]
        return math.hypot(math.log2(cost.n_parameters / entry["n_parameters"]), math.log2(cost.n_macs / n_macs))

    name = min(results, key=distance, default=None)
    return name, None if name is None else round(distance(name), 2)


def as_table(rows):
    """The designs as a table for a terminal, and what the measured students beside them reached."""
    head = (
        "#", "student", "embed", "head", "hop", "parameters (backbone)", "MMACs (backbone)", "peak MB", "ms", "share",
        "nearest measured",
    )  # fmt: skip
    lines = [head]
    for row in rows:
        held = "" if row["held_beta"] is None else " (β held)"
        lines.append(
            (
                row["rank"],
                row["student"] + held,
                str(row["embed_width"] or "none") if row["student"].startswith("PhiNet") else "",
                row["head"],
                str(row["hop_length"]),
                f"{row['n_parameters']:,} ({row['backbone_parameters']:,})",
                f"{row['n_macs'] / 1e6:.1f} ({row['backbone_macs'] / 1e6:.1f})",
                f"{row['peak_bytes'] / 1e6:.2f}",
                "" if row["latency_ms"] is None else f"{row['latency_ms']:.1f}",
                f"{row['share']:.2f}",
                "" if row["nearest"] is None else f"{row['nearest']}, {row['nearest_distance']:.1f} doublings away",
            )
        )
    known = {row["nearest"]: row["nearest_scores"] for row in rows if row["nearest"]}
    notes = [f"{name}: {'; '.join(scores)}" for name, scores in sorted(known.items())]
    return "\n".join([columns(lines), *([""] if notes else []), *notes])


def floor_table(rows, embed_dim):
    """How small each head lets a PhiNet be, as a table for a terminal."""
    lines = [("head", "embed", "the head alone", "smallest student", "smallest folded")]
    for row in _widest_and_none(rows):
        counts = [f"{row[key]:,}" for key in ("head_parameters", "smallest", "smallest_folded")]
        lines.append((NAMES[row["head"]], str(row["embed_width"] or "none"), *counts))
    title = f"Parameters that a head for D = {embed_dim} costs, and the smallest PhiNet of the search that has it:"
    return f"{title}\n{columns(lines)}"


def _widest_and_none(rows):
    """Of each head, the row without a convolution before it and the one with the widest."""
    for head in dict.fromkeys(row["head"] for row in rows):
        widths = [row["embed_width"] or 0 for row in rows if row["head"] == head]
        ends = (min(widths), max(widths))
        yield from (row for row in rows if row["head"] == head and (row["embed_width"] or 0) in ends)


def columns(lines):
    """Rows of strings in columns; numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    to_the_right = [all(not cell or cell[0].isdigit() for cell in column[1:]) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, to_the_right, strict=True)
        ).rstrip()
        for line in lines
    )
