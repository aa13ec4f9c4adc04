"""``tinyclap search``: index folders of recordings, and find those that fit a text or a sound."""

import os
import sys

from tinyclap.cli.common import DONE, SOME_FAILED, add_model_arguments, open_model
from tinyclap.cli.outputs import FILE, FORMATS, Form, StreamRows, chosen_format, printable
from tinyclap.cli.run_clips import LONGEST_S
from tinyclap.config.shipped import DEFAULT_MODEL
from tinyclap.errors import ConfigError

DESCRIPTION = """Find recordings by a text or by another recording.

First index a folder with --add; run it again after changes: what is new or changed is embedded, the rest is left as it
is. --prune removes what is gone. A run that was stopped goes on where it was. Then search. A query that is the path of
a recording is a sound, anything else is a text. The index remembers its model."""

EXAMPLES = """examples:
  tinyclap search --index my-index --add recordings/
  tinyclap search --index my-index "a dog barks" -k 5
  tinyclap search --index my-index dog.wav --format jsonl
  tinyclap search --index my-index --add recordings/ --keep-going    # leave broken files out (status 3)
  tinyclap search --index my-index --prune
  find /data -name '*.flac' | tinyclap search --index my-index --add -

A text's score is the model's own, as `classify --scores` gives it; a sound's is a cosine, 1 for the same recording."""

_COLUMNS = ["score", "rank", "query"]
_FORM = Form(
    [FILE, *_COLUMNS],
    lambda found: [f"{found[0]:.6f}", *found[1:]],
    lambda found: dict(zip(_COLUMNS, (round(found[0], 6), *found[1:]), strict=True)),
    lambda path, found: f"{found[0]:9.4f}  {path}\n",
)


def add_arguments(parser):
    """Add the options of ``tinyclap search``."""
    add = parser.add_argument
    add("query", nargs="*", metavar="QUERY", help="a text, or the path of a recording")
    add("--index", required=True, metavar="FOLDER", help="of the index; made by the first --add")
    add("-k", type=int, default=10, help="results of each query (default: 10)")
    add("--format", choices=FORMATS, help="default: table at a terminal, else csv")
    add = parser.add_argument_group("upkeep").add_argument
    what = "recordings, folders, quoted patterns, @list.txt, or - for a list on standard input"
    add("--add", nargs="+", metavar="PATH", help=what)
    add("--keep-going", action="store_true", help="leave broken recordings out, and name each once")
    add("--retry", action="store_true", help="try those again that are known to be broken")
    add("--workers", type=int, help="recordings at a time (default: one for each core)")
    add("--dtype", choices=("float16", "float32"), default="float16", help="of a new index's vectors")
    what = "remove recordings that are gone; those of a folder that is missing (not mounted?) only if it is named"
    add("--prune", nargs="*", metavar="FOLDER", help=what)
    add("--skipped", action="store_true", help="list the recordings that were left out, and why")
    add("--verify", action="store_true", help="compare the index with its checksums")
    add_model_arguments(parser)
    parser.set_defaults(out=None, model=None)  # the index's own, else the default that --help shows


def run(options):
    """Index, prune, verify, search: what the options say, in this order; returns the exit status."""
    from tinyclap.audio.find import find_recordings
    from tinyclap.search.index import SearchIndex

    if not (options.query or options.add or options.prune is not None or options.verify or options.skipped):
        raise ConfigError("nothing to do: give a query, or recordings to index with --add")
    if options.k < 1:
        raise ConfigError(f"-k {options.k}: ask for one result or more")
    if any(not query.strip() for query in options.query):
        raise ConfigError("a query is empty; give a text, or the path of a recording")
    model = None
    status = DONE
    if options.add:
        find_recordings(options.add)  # a slip in a name makes no index
        model = _open(options, 1)
        index = SearchIndex.open_for(options.index, model, options.dtype)
        status = _add(options, model, index)
    else:
        index = SearchIndex.open(options.index)
    if options.prune is not None:
        status = max(status, _prune(options, index))
    if options.verify:
        index.verify()
        _say(f"{options.index}: {len(index)} recordings, database and vectors as they were written")
    if options.skipped:
        for path, problem in index.skipped().items():
            _say(f"{_shown(path)}: {problem}")
    if options.query and not len(index):
        _say(f"{options.index}: the index is empty; add recordings with --add")
    elif options.query:
        model, rows = model or _open(options), StreamRows(_FORM, chosen_format(options, ()))
        for query in options.query:
            for rank, (path, score) in enumerate(index.search(model, query, options.k), 1):
                rows.write(_shown(path), (score, rank, query))
    return status


def _open(options, n_threads=None):
    """The model that was named, else the index's, else the default."""
    if options.model is None:
        from tinyclap.search.database import Database

        is_there = Database.is_at(options.index)
        options.model = Database.open(options.index).model["name"] if is_there else DEFAULT_MODEL
    return open_model(options, n_threads)


def _add(options, model, index):
    """Bring the index up to date; returns the exit status."""
    on_error = "skip" if options.keep_going else "raise"
    report = index.add(model, options.add, on_error, options.workers, options.retry, LONGEST_S, tell=_say)
    counts = f"{report.n_added} added, {report.n_changed} changed, {report.n_unchanged} unchanged, {len(index)} in all"
    _say(f"{options.index}: {counts}")
    n_skipped = len(report.skipped) + report.n_known_skipped
    if n_skipped:
        known = f", {report.n_known_skipped} of them known from before (--retry)" if report.n_known_skipped else ""
        _say(f"{n_skipped} recordings left out{known}; --skipped lists them")
    return SOME_FAILED if n_skipped else DONE


def _prune(options, index):
    """Remove what is gone; returns the exit status."""
    n_removed, kept = index.prune(options.prune)
    for folder, n_kept in kept.items():
        left = f"its {n_kept} recordings stay in the index (if they are gone for good: --prune FOLDER)"
        _say(f"{folder}: missing, unreadable or not mounted; {left}")
    _say(f"{options.index}: {n_removed} removed, {len(index)} left")
    return SOME_FAILED if kept else DONE


def _shown(path):
    """A path, from the working folder on where it lies below it."""
    return path.removeprefix(os.path.join(os.getcwd(), ""))


def _say(line):
    sys.stderr.write(printable(line) + "\n")
