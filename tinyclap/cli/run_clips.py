"""Commands over many recordings: their options, results written as they come, failures, and resuming."""

import contextlib
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from tinyclap.audio.find import HELP, find_recordings, is_list, standard_input
from tinyclap.cli.common import DONE, MAX_THREADS, SOME_FAILED, whole
from tinyclap.cli.outputs import FILE, FORMATS, StreamRows, chosen_format, csv_line, printable
from tinyclap.cli.row_file import RowFile, WholeFile, part_of
from tinyclap.errors import AudioError, ConfigError
from tinyclap.files import read_json, write_json

STANDARD_INPUT = "<stdin>"
LONGEST_S = 2 * 3600  # of a recording, which is held in memory whole
EXIT_STATUS = """\
exit status: 0 all done; 1 failed, standard error says why; 2 wrong option; 3 with --keep-going: some recordings failed;
130 Ctrl-C."""


def add_clip_arguments(parser, suffixes=(".csv", ".jsonl", ".parquet")):
    """Add the options of a command over many recordings, whose --out may have one of `suffixes`."""
    add = parser.add_argument
    add("recordings", nargs="*", help=HELP)
    add = parser.add_argument_group("results").add_argument
    add("--format", choices=FORMATS, help="default: table at a terminal, csv in a pipe")
    add("--out", metavar="FILE", help=f"write to a file; its suffix is one of {', '.join(suffixes)}")
    add("--resume", action="store_true", help="continue --out: recordings that it has are not done again")
    add("--overwrite", action="store_true", help="replace --out, once the first new result is there")
    add = parser.add_argument_group("many recordings").add_argument
    add(
        "--keep-going",
        action="store_true",
        help="leave out recordings that fail; each is named once, on standard error and in FILE.errors.csv, and the "
        "exit status is 3 (default: stop at the first, with status 1; rows written so far are kept)",
    )
    add("--retry", action="store_true", help="with --resume: try recordings that failed again")
    add(
        "--workers", type=whole(1, MAX_THREADS), metavar="N", help="recordings in parallel (default: one for each core)"
    )
    add("--stdin-audio", action="store_true", help="standard input is a recording (WAV, FLAC, …)")
    add("--quiet", action="store_true", help="no progress bar and no summary on standard error")
    parser.set_defaults(suffixes=suffixes)


class ClipRun:
    """One command over many recordings, with the options of :func:`add_clip_arguments`, which are checked.

    Beside ``--out FILE`` are ``FILE.settings.json``, what the results depend on, and ``FILE.errors.csv``, what failed.
    """

    def __init__(self, options):
        # numpy's matrix products stay in the thread of their recording
        for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS") if "numpy" not in sys.modules else ():
            os.environ.setdefault(name, "1")
        self._options, self._total = options, None
        self.kind = chosen_format(options, options.suffixes)
        self._out = None if options.out is None else Path(options.out)
        self._require_sense()
        self._closed = []
        unreadable = self._leave_out if options.keep_going else None
        words = options.recordings
        self._found = () if options.stdin_audio else find_recordings(words, None, self._note, unreadable)

    def run(self, form, settings, work):
        """Write the results of ``work(paths)``, which yields (path, result or AudioError); returns the exit status.

        `settings` (dict, JSON-able) is what the results depend on: a resumed run must have the same. `form` is an
        :class:`tinyclap.cli.outputs.Form`.
        """
        if len(set(form.columns)) < len(form.columns):
            shown = ", ".join(form.columns[:5])
            raise ConfigError(f"two columns would have the same name ({shown} …); rename the label")
        settings = json.loads(json.dumps({**settings, "format": self.kind, "columns": form.columns}))
        started, n_done, n_failed = time.monotonic(), 0, 0
        with contextlib.ExitStack() as stack:
            rows, errors = self._open(form, stack)
            continues = self._continues(rows, errors, settings)
            n_before = len(rows.done)
            results = work(self._sources(form.shown_name, rows.done | errors.done))
            stack.callback(getattr(results, "close", lambda: None))
            for path, result in self._with_bar(results):
                name = STANDARD_INPUT if self._options.stdin_audio else self._stored(form.shown_name(path))
                failed = isinstance(result, AudioError)
                if failed and not self._options.keep_going:
                    raise AudioError(printable(name), result.problem)
                continues = continues or self._begin(rows, errors, settings)
                if failed:
                    n_failed += 1
                    self._note(f"left out: {printable(name)}: {result.problem}", always=True)
                    errors.write(name, result.problem)
                else:
                    n_done += 1
                    rows.write(name, result)
            continues or self._begin(rows, errors, settings)
            rows.finish()
        self._sum_up(n_done, n_before, n_failed, len(errors.done), time.monotonic() - started)
        return SOME_FAILED if n_failed or errors.done or self._closed else DONE

    def _leave_out(self, error):
        """Name a folder that cannot be read, and go on."""
        self._closed.append(error)
        self._note(f"left out: {printable(str(error))}", always=True)

    def _require_sense(self):
        options = self._options
        if options.stdin_audio and options.recordings:
            raise ConfigError("--stdin-audio reads one recording from standard input; name no others beside it")
        if options.recordings.count("-") > 1:
            raise ConfigError("- is given twice; standard input can be read once")
        if options.resume and options.overwrite:
            raise ConfigError("--resume continues and --overwrite replaces; give one of them")
        if options.retry and not options.resume:
            raise ConfigError("--retry belongs to --resume")
        if self._out is not None:
            self._require_writable()
        elif options.resume or options.overwrite:
            raise ConfigError("--resume and --overwrite belong to --out FILE")
        if self.kind == "parquet":
            try:
                import pyarrow.parquet  # noqa: F401
            except ImportError as error:
                raise ConfigError(f"Parquet needs pyarrow ({error}); run: pip install 'tinyclap[parquet]'") from error

    def _require_writable(self):
        folder, files = self._out.absolute().parent, self._files()
        if not folder.is_dir():
            raise ConfigError(f"--out {self._out}: there is no folder {self._out.parent}; make it first")
        there = [path for path in files if os.path.lexists(path)]
        for path in there:
            if path.exists() and not path.is_file():
                what = "a folder" if path.is_dir() else "not a regular file"
                raise ConfigError(f"--out {self._out}: {path} is {what}")
            if any(_same_file(path, given) for given in self._inputs()):
                raise ConfigError(f"--out {self._out}: {path} is also an input; give another --out")
        closed = [path for path in (folder, *there) if path.exists() and not os.access(path, os.W_OK)]
        if closed:
            raise ConfigError(f"--out {self._out}: {closed[0]} is not writable; change its permissions, or --out")
        self._require_none()

    def _require_none(self):
        """Without --resume and --overwrite: refuse earlier results."""
        full = self._full()
        if full and not (self._options.resume or self._options.overwrite):
            raise ConfigError(f"{full[0]} exists already; --resume continues it, --overwrite replaces it")

    def _full(self):
        return [path for path in self._files() if path.exists() and path.stat().st_size]

    def _inputs(self):
        """Files that the command reads: paths, and the descriptor of standard input."""
        options = self._options
        yield 0
        yield from (word.removeprefix("@") if not os.path.lexists(word) else word for word in options.recordings)
        yield from filter(None, (getattr(options, "labels", None), options.model))

    def _files(self):
        part = [part_of(self._out)] if self.kind in ("npz", "parquet") else []
        return [self._out, *part, self._beside("settings.json"), self._beside("errors.csv")]

    def _beside(self, ending):
        return Path(f"{self._out}.{ending}")

    def _open(self, form, stack):
        """The results, locked, and the failures."""
        if self._out is None:
            return StreamRows(form, self.kind), SimpleNamespace(done=frozenset(), write=lambda *_: None)
        errors = RowFile(self._beside("errors.csv"), "csv", lambda *cells: csv_line(cells), csv_line([FILE, "problem"]))
        if self.kind in ("csv", "jsonl"):
            rows = RowFile(self._out, self.kind, partial(form.encoded, self.kind), form.head(self.kind))
        else:
            rows = WholeFile(self._out, form)
        stack.enter_context(contextlib.closing(errors))
        stack.enter_context(contextlib.closing(rows))
        rows.lock()
        self._require_none()  # another run may just have ended
        return rows, errors

    def _continues(self, rows, errors, settings):
        """Read what an earlier run has done; False where there is none to continue."""
        if self._out is None or not self._options.resume:
            return self._out is None
        path = self._beside("settings.json")
        if not path.exists():
            if self._full():
                raise ConfigError(f"{self._out}: {path}, which says how it was made, is gone; begin anew: --overwrite")
            return False
        earlier = read_json(path, "begin anew with --overwrite", ConfigError)
        other = sorted(key for key in settings | earlier if settings.get(key) != earlier.get(key))
        if other:
            problem = f"{self._out} was made with other settings ({', '.join(other)}; see {path})"
            raise ConfigError(f"{problem}; give the same options, another --out, or --overwrite")
        rows.resume()
        if self._options.retry:
            errors.clear()
        errors.resume()
        return True

    def _begin(self, rows, errors, settings):
        """Replace earlier results."""
        for path in (self._beside("settings.json"), errors.path):
            path.unlink(missing_ok=True)
        rows.clear()
        write_json(self._beside("settings.json"), settings)
        return True

    def _stored(self, name):
        """A name as the format can hold it: Parquet is UTF-8 alone."""
        return name.encode("utf-8", "backslashreplace").decode() if self.kind == "parquet" else name

    def _sources(self, shown_name, done):
        """The recordings that are still to be done."""
        if self._options.stdin_audio:
            from tinyclap.audio.io import content_of

            return [] if STANDARD_INPUT in done else [content_of(standard_input(), STANDARD_INPUT)]
        rest = self._not_in(done, shown_name)
        if is_list(self._options.recordings):
            return rest
        rest = list(rest)
        self._total = len(rest)
        return rest

    def _not_in(self, done, shown_name):
        paths_of = {}
        for path in self._found:
            name = self._stored(shown_name(path))
            if paths_of.setdefault(name, path) != path:
                raise ConfigError(f"{paths_of[name]} and {path} would both be called {name} in the results")
            if name not in done:
                yield path

    def _with_bar(self, results):
        from tinyclap.audio.batch import with_bar

        options = self._options
        is_bare = options.quiet or options.stdin_audio or (self._out is None and sys.stdout.isatty())
        return with_bar(results, self._total, False if is_bare else None)

    def _note(self, text, always=False):
        if not always and self._options.quiet:
            return
        if "tqdm" in sys.modules:
            from tqdm import tqdm

            tqdm.write(printable(text), file=sys.stderr)
        else:
            sys.stderr.write(printable(text) + "\n")

    def _sum_up(self, n_done, n_before, n_failed, n_named, seconds):
        if n_done + n_failed == 1 and not n_named:
            return
        failed = f"; {n_named or n_failed} left out" if n_named or n_failed else ""
        where = f", named in {self._beside('errors.csv')}" if failed and self._out is not None else ""
        rate = f" ({n_done / seconds:.0f} a second)" if seconds > 0 and n_done else ""
        before = f", {n_before} were there" if n_before else ""
        self._note(f"{n_done} recordings in {seconds:.1f} s{rate}{before}{failed}{where}")


def _same_file(path, given):
    try:
        return os.path.samestat(os.stat(path), os.stat(given))
    except (OSError, ValueError):
        return False
