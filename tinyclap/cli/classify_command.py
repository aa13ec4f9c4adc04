"""``tinyclap classify``: the sounds of recordings by name, zero-shot."""

import argparse

from tinyclap.cli.common import ONE_THREAD, add_model_arguments, model_identity, open_for_clips
from tinyclap.cli.outputs import FILE, Form
from tinyclap.cli.run_clips import LONGEST_S, ClipRun, add_clip_arguments
from tinyclap.text.labels import read_labels

DESCRIPTION = """\
Name the sounds of recordings by words that you give; the model's card says how well it knows them. Each recording is
compared with all labels, and the best are written, one recording a row. "share" is how the model divides its belief
among the labels you gave (all shares of a recording add up to 1); "score" is the similarity itself, which does not
depend on the other labels."""

EXAMPLES = """\
examples:
  tinyclap classify dog.wav --labels "dog barking,rain,siren"
  tinyclap classify recordings/ --labels names.txt --top 1 --out sounds.csv --keep-going
  tinyclap classify recordings/ --labels names.txt --top 1 --out sounds.csv --keep-going --resume
  tinyclap classify recordings/ --labels esc50 --all --out every_score.csv
  find /data -name '*.flac' -print0 | tinyclap classify - --labels "speech,music" --format jsonl
  ffmpeg -loglevel error -i film.mp4 -f wav - | tinyclap classify --stdin-audio --labels "applause,laughter"

exit status: 0 all done; 1 nothing more was done, standard error says why; 2 wrong option; 3 with --keep-going: some
recordings were left out; 130 stopped by Ctrl-C."""


def add_arguments(parser):
    """Add the command's options to its parser."""
    add_clip_arguments(parser)
    group = parser.add_argument_group("labels")
    group.add_argument(
        "--labels",
        help="'dog barking,rain,siren'; a text file with one a line; a bank (.npz, .json); or a ready bank such as "
        "esc50 (default: the labels that are compiled into the model)",
    )
    group.add_argument("--template", action="append", help="sentence with {} for the label; several are averaged")
    group.add_argument("--top", type=int, default=3, metavar="N", help="labels to name for each (default: 3)")
    group.add_argument("--all", action="store_true", help="every label's value, each in a column of its own")
    group.add_argument(
        "--probabilities",
        action=argparse.BooleanOptionalAction,
        help="shares that add up to 1, or scores as they are (default: shares, where the model can tell them)",
    )
    group.add_argument("--probe", action="store_true", help="the classes of the probe that was saved with the model")
    add_model_arguments(parser, threads=ONE_THREAD)


def run(options):
    """Classify; returns the exit status."""
    clips = ClipRun(options)
    from tinyclap.errors import ConfigError

    if options.top < 1:
        raise ConfigError(f"--top {options.top}: name at least one")
    if options.probe:
        return _run_probe(clips, options)
    model = open_for_clips(options)
    given = read_labels(options.labels, options.model)
    names, vectors = model.label_vectors(given, options.template)
    fitted = "temperature" in model.config.get("calibration", {}) and getattr(given, "is_of_texts", True)
    has_shares = fitted and len(names) > 1
    shares = has_shares if options.probabilities is None else options.probabilities
    n_named = len(names) if options.all else min(options.top, len(names))

    def named(rows):
        from tinyclap.errors import AudioError

        for path, row in rows:
            yield path, row if isinstance(row, AudioError) else _ranked(model, row, names, vectors, shares)

    def work(paths):
        from tinyclap.audio.batch import embed_many

        return named(embed_many(model, paths, options.workers, "skip", longest_s=LONGEST_S))

    settings = {
        "command": "classify",
        "model": model_identity(model, options),
        "labels": names,
        "template": options.template,
        "bank": getattr(given, "templates", None),
    }
    word = "share" if shares else "score"
    return clips.run(_all_form(names, word) if options.all else _top_form(n_named, word), settings, work)


def _run_probe(clips, options):
    """Name the classes of a probe; returns the exit status."""
    from tinyclap.audio.batch import embed_many
    from tinyclap.errors import AudioError, ConfigError
    from tinyclap.inference.probe import load_probe
    from tinyclap.text.scores import ranked, softmax_rows

    if options.labels is not None or options.template is not None:
        raise ConfigError("--probe has classes of its own; leave out --labels and --template")
    model = open_for_clips(options)
    probe = load_probe(model)
    n_named = len(probe.classes) if options.all else min(options.top, len(probe.classes))

    def work(paths):
        for path, row in embed_many(model, paths, options.workers, "skip", longest_s=LONGEST_S):
            if isinstance(row, AudioError):
                yield path, row
            else:
                logits = probe.logits(row[None])
                values = logits if options.probabilities is False else softmax_rows(logits)
                yield path, ranked(values, probe.classes, len(probe.classes))[0]

    settings = {"command": "classify --probe", "model": model_identity(model, options), "labels": probe.classes}
    word = "score" if options.probabilities is False else "share"
    return clips.run(_all_form(probe.classes, word) if options.all else _top_form(n_named, word), settings, work)


def _ranked(model, row, names, vectors, shares):
    """All labels with their values, best first."""
    from tinyclap.text.scores import ranked

    scores = model.score_rows(row[None], vectors)
    return ranked(model.probabilities(scores) if shares else scores, names, len(names))[0]


def _top_form(n_named, word):
    """The best labels, side by side."""
    columns = [FILE, "label", word]
    for place in range(2, n_named + 1):
        columns += [f"label_{place}", f"{word}_{place}"]
    return Form(
        columns,
        lambda best: [cell for name, value in best[:n_named] for cell in (name, _short(value))],
        lambda best: {"labels": [{"label": name, word: _short(value)} for name, value in best[:n_named]]},
        lambda name, best: _text(name, best[:n_named], word),
    )


def _all_form(names, word):
    """Every label in a column of its own."""
    return Form(
        [FILE, *names],
        lambda best: [_short(dict(best)[name]) for name in names],
        lambda best: {f"{word}s": {name: _short(dict(best)[name]) for name in names}},
        lambda name, best: _text(name, best, word),
    )


def _text(name, best, word):
    lines = [name]
    for label, value in best:
        lines.append(f"  {100 * value:5.1f} %  {label}" if word == "share" else f"  {value:8.4f}  {label}")
    return "\n".join(lines) + "\n"


def _short(value):
    return float(f"{value:.6g}")
