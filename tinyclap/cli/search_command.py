"""``tinyclap search``: index folders of recordings, and find those that fit a text or a sound."""

import os
import sys

from tinyclap.cli.common import add_model_arguments, open_for_clips, open_model
from tinyclap.cli.exit_status import DONE, SOME_FAILED
from tinyclap.cli.outputs import FILE, FORMATS, Form, StreamRows, chosen_format, printable
from tinyclap.cli.run_clips import LONGEST_S
from tinyclap.config.shipped import DEFAULT_MODEL
from tinyclap.errors import ConfigError

DESCRIPTION = """Find recordings by a text or by another recording.

First index a folder with --add; run it again after changes: what is new or changed is added, what is gone is removed,
the rest is left as it is. A run that was stopped goes on where it was. Then ask. A query that is the path of a
recording is a sound, anything else is a text. The index remembers its model."""

EXAMPLES = """examples:
  tinyclap search --index my-index --add recordings/
  tinyclap search --index my-index "a dog barks" -k 5
  tinyclap search --index my-index dog.wav --format jsonl
  tinyclap search --index my-index --add recordings/ --keep-going    # leave broken files out (status 3)
  find /data -name '*.flac' | tinyclap search --index my-index --add -

A text's score is the model's own, as `classify` gives it; a sound's is a cosine, 1 for the same recording.
With more than a million recordings, --graph makes searches quicker, and approximate; --exact looks at all of them."""

_COLUMNS = ["score", "rank", "query"]
_FORM = Form(
    [FILE, *_COLUMNS],
    lambda found: [f"{found[0]:.6f}", *found[1:]],
    lambda found: dict(zip(_COLUMNS, (round(found[0], 6), *found[1:]), strict=True)),
    lambda path, found: f"{found[0]:9.4f}  {path}\n",
)


def add_arguments(parser):
    """Add the options of ``tinyclap search``."""
    parser.add_argument("query", nargs="*", metavar="QUERY", help="a text, or the path of a recording")
    parser.add_argument("--index", required=True, metavar="FOLDER", help="of the index; made by the first --add")
    parser.add_argument("-k", type=int, default=10, help="results of each query (default: 10)")
    parser.add_argument("--format", choices=FORMATS, help="default: table at a terminal, else csv")
    parser.add_argument("--exact", action="store_true", help="look at every recording, even if there is a graph")
    upkeep = parser.add_argument_group("upkeep")
    upkeep.add_argument(
        "--add",
        nargs="+",
        metavar="PATH",
        help="recordings, folders, quoted patterns, @list.txt, or - for a list on standard input",
    )
    upkeep.add_argument("--keep-going", action="store_true", help="leave broken recordings out, and name each once")
    upkeep.add_argument("--retry", action="store_true", help="try those again that are known to be broken")
    upkeep.add_argument("--workers", type=int, help="recordings at a time (default: one for each core)")
    upkeep.add_argument("--dtype", choices=("float16", "float32"), default="float16", help="of a new index")
    upkeep.add_argument("--graph", action="store_true", help="make the graph of near recordings; needs usearch")
    upkeep.add_argument("--verify", action="store_true", help="compare the index's files with their checksums")
    add_model_arguments(parser)
    parser.set_defaults(out=None, model=None)  # the index's own, else the default that --help shows


def run(options):
    """Index, mend, ask: what the options say, in this order; returns the exit status."""
    from tinyclap.search.index import SearchIndex

    if not (options.query or options.add or options.graph or options.verify):
        raise ConfigError("nothing to do: give a query, or recordings to index with --add")
    if options.k < 1:
        raise ConfigError(f"-k {options.k}: ask for one result or more")
    model = None
    status = DONE
    if options.add:
        model = _open(options, open_for_clips)
        status = _add(options, model)
    index = SearchIndex.open(options.index)
    if options.verify:
        index.verify()
        _say(f"{options.index}: {len(index)} recordings, all files as they were written")
    if options.graph:
        index.build_graph()
        _say(f"{options.index}: graph of {len(index)} recordings made")
    if options.query:
        _ask(options, index, model or _open(options, open_model))
    return status


def _open(options, opener):
    """The model that is asked for, else the index's, else the default."""
    if options.model is None:
        from tinyclap.search.folder import INDEX, IndexFolder

        is_there = os.path.isfile(os.path.join(options.index, INDEX))
        options.model = IndexFolder.open(options.index).state["model"]["name"] if is_there else DEFAULT_MODEL
    return opener(options)


def _add(options, model):
    """Bring the index up to date; returns the exit status."""
    from tinyclap.audio.find import find_recordings
    from tinyclap.search.index import folders_of, opened_for_update
    from tinyclap.search.update import update

    paths = find_recordings(options.add, note=_say)
    with opened_for_update(options.index, model, options.dtype) as files:
        report = update(
            files,
            model,
            paths,
            folders_of(options.add),
            "skip" if options.keep_going else "raise",
            options.workers,
            options.retry,
            LONGEST_S,
            tell=_say,
        )
    _say(
        f"{options.index}: {report.n_added} added, {report.n_changed} changed, {report.n_removed} removed, "
        f"{report.n_unchanged} as they were"
    )
    n_left_out = len(report.broken) + report.n_known_broken
    if n_left_out:
        known = f", {report.n_known_broken} of them known from before (--retry)" if report.n_known_broken else ""
        _say(f"{n_left_out} broken recordings left out{known}")
    return SOME_FAILED if n_left_out else DONE


def _ask(options, index, model):
    """Answer the queries on standard output."""
    rows = None
    for query in options.query:
        found = index.search(model, query, options.k, exact=options.exact or None)
        rows = rows or StreamRows(_FORM, chosen_format(options, ()))
        for rank, (path, score) in enumerate(found, 1):
            rows.write(_shown(path), (score, rank, query))


def _shown(path):
    """A path, from the working folder on where it lies below it."""
    return path.removeprefix(os.path.join(os.getcwd(), ""))


def _say(line):
    sys.stderr.write(printable(line) + "\n")
