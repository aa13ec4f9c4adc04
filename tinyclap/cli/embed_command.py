"""``tinyclap embed``: recordings as vectors."""

from tinyclap.cli.common import ONE_THREAD, add_model_arguments, model_identity, open_for_clips
from tinyclap.cli.outputs import FILE, Form
from tinyclap.cli.run_clips import LONGEST_S, ClipRun, add_clip_arguments

DESCRIPTION = """\
Turn recordings into vectors, one row each, float32. A row depends on its own recording alone: not on the others, their
order, or the number of workers."""

EXAMPLES = """\
examples:
  tinyclap embed recordings/ --out rows.npy --keep-going     (rows.npy, and the names in rows.names.csv)
  tinyclap embed recordings/ --out rows.npz                  (arrays "embeddings" and "files" in one file)
  tinyclap embed '**/*.flac' --out rows.csv
  tinyclap embed recordings/ --out rows.npy --keep-going --resume     (after it was stopped, or to add new recordings)

A .npy file can be read while it grows: np.load("rows.npy", mmap_mode="r").
exit status: 0 all done; 1 nothing more was done, standard error says why; 2 wrong option; 3 with --keep-going: some
recordings were left out; 130 stopped by Ctrl-C."""

_N_SHOWN = 4


def add_arguments(parser):
    """Add the command's options to its parser."""
    add_clip_arguments(parser, (".npy", ".npz", ".csv", ".jsonl"))
    add_model_arguments(parser, threads=ONE_THREAD)


def run(options):
    """Embed; returns the exit status."""
    clips = ClipRun(options)
    model = open_for_clips(options)

    def work(paths):
        from tinyclap.audio.batch import embed_many

        return embed_many(model, paths, options.workers, "skip", longest_s=LONGEST_S)

    return clips.run(_form(model.embed_dim), {"command": "embed", "model": model_identity(model, options)}, work)


def _form(n_dims):
    return Form(
        [FILE, *(f"e{index}" for index in range(n_dims))],
        # nine digits bring a float32 back to the bit
        lambda row: [f"{value:.9g}" for value in row.tolist()],
        lambda row: {"embedding": [float(f"{value:.9g}") for value in row.tolist()]},
        lambda name, row: f"{name}: {n_dims} numbers: {' '.join(f'{v:.4f}' for v in row[:_N_SHOWN].tolist())} …\n",
        n_dims,
    )
