"""``tinyclap embed``: audio embeddings."""

from tinyclap.cli.common import ONE_THREAD, add_model_arguments, model_identity, open_model
from tinyclap.cli.outputs import FILE, Form
from tinyclap.cli.run_clips import EXIT_STATUS, LONGEST_S, ClipRun, add_clip_arguments

DESCRIPTION = """\
Audio embeddings: one float32 vector a recording, whatever the other recordings, their order, and --workers are."""

EXAMPLES = f"""\
examples:
  tinyclap embed recordings/ --out embeddings.npz --keep-going     (arrays "embeddings" (n, D) and "files" (n))
  tinyclap embed recordings/ --out embeddings.npz --keep-going --resume
  tinyclap embed recordings/ --out embeddings.parquet              (columns "file" and "embedding"; needs pyarrow)
  tinyclap embed '**/*.flac' --out embeddings.csv

.npz and .parquet are written at the end; until then rows are in FILE.part.jsonl, from which --resume continues.
{EXIT_STATUS}"""

_N_SHOWN = 4


def add_arguments(parser):
    """Add the options of the command."""
    add_clip_arguments(parser, (".npz", ".parquet", ".csv", ".jsonl"))
    add_model_arguments(parser, threads=ONE_THREAD)


def run(options):
    """Embed; returns the exit status."""
    clips = ClipRun(options)
    model = open_model(options, 1)

    def work(paths):
        from tinyclap.audio.batch import embed_many

        return embed_many(model, paths, options.workers, "skip", longest_s=LONGEST_S)

    def numbers(row):
        return [f"{value:.9g}" for value in row.tolist()]  # nine digits: the same float32 when read back

    form = Form(
        [FILE, *(f"e{index}" for index in range(model.embed_dim))],
        numbers,
        lambda row: {"embedding": list(map(float, numbers(row)))},
        lambda name, row: f"{name}: {len(row)} dimensions: {' '.join(f'{v:.4f}' for v in row[:_N_SHOWN].tolist())} …\n",
        "embedding",
    )
    return clips.run(form, {"command": "embed", "model": model_identity(model, options)}, work)
