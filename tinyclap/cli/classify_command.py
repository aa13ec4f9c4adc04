"""``tinyclap classify``: zero-shot sound classification."""

from tinyclap.cli.common import ONE_THREAD, add_model_arguments, model_identity, open_model, whole
from tinyclap.cli.outputs import FILE, Form
from tinyclap.cli.run_clips import EXIT_STATUS, LONGEST_S, ClipRun, add_clip_arguments
from tinyclap.errors import AudioError, ConfigError

DESCRIPTION = """\
Zero-shot sound classification: compare each recording with every label, and write the best labels, one row a recording.
"probability" is among the labels that you give: those of a recording add up to 1. "score" (--scores) is the similarity
of recording and label, and does not depend on the other labels. A model that is not calibrated gives scores. The
model's card says how accurate it is."""

EXAMPLES = f"""\
examples:
  tinyclap classify dog.wav --labels "dog barking,rain,siren"
  tinyclap classify recordings/ --labels names.txt --top 1 --out sounds.csv --keep-going
  tinyclap classify recordings/ --labels names.txt --top 1 --out sounds.csv --keep-going --resume
  tinyclap classify recordings/ --labels esc50 --all --scores --out scores.parquet
  find /data -name '*.flac' -print0 | tinyclap classify - --labels "speech,music" --format jsonl
  ffmpeg -loglevel error -i film.mp4 -f wav - | tinyclap classify --stdin-audio --labels "applause,laughter"

{EXIT_STATUS}"""


def add_arguments(parser):
    """Add the options of the command."""
    add_clip_arguments(parser)
    add = parser.add_argument_group("labels").add_argument
    add(
        "--labels",
        help="'dog barking,rain,siren'; a text file with one label a line; a label bank (.npz, .json); or the name of "
        "one that comes with the model, such as esc50 (default: the model's own labels)",
    )
    add("--template", action="append", help="prompt with {} for the label; repeat it to average several")
    add("--top", type=whole(), default=5, metavar="N", help="labels for each recording (default: 5)")
    add("--all", action="store_true", help="every label, each in its own column")
    add("--scores", action="store_true", help="similarity scores instead of probabilities")
    add("--probe", action="store_true", help="use the linear probe that was saved with the model")
    add_model_arguments(parser, threads=ONE_THREAD)


def run(options):
    """Classify; returns the exit status."""
    if options.probe and (options.labels is not None or options.template is not None):
        raise ConfigError("--probe has its own classes; leave out --labels and --template")
    clips = ClipRun(options)
    model = open_model(options, 1)
    names, values_of, value, settings = (_probe if options.probe else _zero_shot)(model, options)

    def work(paths):
        from tinyclap.audio.batch import embed_many
        from tinyclap.text.scores import ranked

        for path, row in embed_many(model, paths, options.workers, "skip", longest_s=LONGEST_S):
            failed = isinstance(row, AudioError)
            yield path, row if failed else ranked(values_of(row[None]), names, len(names))[0]

    form = _form_of_all(names, value) if options.all else _form_of_best(min(options.top, len(names)), value)
    return clips.run(form, {"model": model_identity(model, options), "labels": names, **settings}, work)


def _zero_shot(model, options):
    """Labels, function from embeddings (B, D) to values (B, N), what the values are, and what they depend on."""
    from tinyclap.text.labels import read_labels

    given = read_labels(options.labels, options.model)
    names, vectors = model.label_vectors(given, options.template)
    has_scores = options.scores or len(names) < 2 or not model.gives_probabilities(given)

    def values_of(rows):
        scores = model.score_rows(rows, vectors)
        return scores if has_scores else model.probabilities(scores)

    settings = {"command": "classify", "template": options.template, "bank": getattr(given, "templates", None)}
    return names, values_of, "score" if has_scores else "probability", settings


def _probe(model, options):
    """As :func:`_zero_shot`, of the probe that was saved with the model."""
    from tinyclap.inference.probe import load_probe
    from tinyclap.text.scores import softmax_rows

    probe = load_probe(model)

    def values_of(rows):
        return probe.logits(rows) if options.scores else softmax_rows(probe.logits(rows))

    return probe.classes, values_of, "score" if options.scores else "probability", {"command": "classify --probe"}


def _form_of_best(n_best, value):
    """The best labels, side by side."""
    columns = [FILE, "label", value]
    for place in range(2, n_best + 1):
        columns += [f"label_{place}", f"{value}_{place}"]
    return Form(
        columns,
        lambda ranking: [cell for name, number in ranking[:n_best] for cell in (name, _short(number))],
        lambda ranking: {"labels": [{"label": name, value: _short(number)} for name, number in ranking[:n_best]]},
        lambda name, ranking: _text(name, ranking[:n_best], value),
    )


def _form_of_all(names, value):
    """Every label in its own column."""

    def cells(ranking):
        numbers = dict(ranking)
        return [_short(numbers[name]) for name in names]

    def fields(ranking):
        numbers = dict(zip(names, cells(ranking), strict=True))
        # "shares" is the name of 0.1
        return {"probabilities": numbers, "shares": numbers} if value == "probability" else {"scores": numbers}

    return Form([FILE, *names], cells, fields, lambda name, ranking: _text(name, ranking, value))


def _text(name, ranking, value):
    shown = "  {:5.1%}  {}" if value == "probability" else "  {:8.4f}  {}"
    return "\n".join([name, *(shown.format(number, label) for label, number in ranking)]) + "\n"


def _short(number):
    return float(f"{number:.6g}")
