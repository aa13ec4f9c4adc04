"""What commands on many recordings share: options, results as they come, what was left out, and going on later."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tinyclap.audio.find import HELP, find_recordings, is_list
from tinyclap.cli.exit_status import DONE, SOME_FAILED
from tinyclap.cli.finished_rows import cut_to_whole_rows
from tinyclap.cli.outputs import FILE, FORMATS, chosen_format, csv_line, open_rows, printable
from tinyclap.errors import AudioError, ConfigError

STANDARD_INPUT = "<stdin>"
LONGEST_S = 2 * 3600  # of a recording, which is held in memory whole


def add_clip_arguments(parser, suffixes=(".csv", ".jsonl")):
    """Add the options of commands that work on many recordings.

    Arguments
    ---------
    parser : argparse.ArgumentParser
    suffixes : sequence of str
        Files that the results can be.
    """
    parser.add_argument("recordings", nargs="*", help=HELP)
    group = parser.add_argument_group("results")
    group.add_argument("--format", choices=FORMATS, help="default: table at a terminal, csv in a pipe")
    group.add_argument("--out", metavar="FILE", help=f"write to a file, by its name one of {', '.join(suffixes)}")
    group.add_argument("--resume", action="store_true", help="go on with --out: what it has is not done again")
    group.add_argument("--overwrite", action="store_true", help="begin --out anew")
    group = parser.add_argument_group("many recordings")
    group.add_argument(
        "--keep-going",
        action="store_true",
        help="leave out recordings that cannot be used: each is named once, on stderr and in FILE.errors.csv; the "
        "exit status is then 3. Without it the first one ends the command with status 1, and what was done is kept",
    )
    group.add_argument("--retry", action="store_true", help="with --resume: try what was left out earlier again")
    group.add_argument("--workers", type=int, metavar="N", help="recordings at a time (default: one for each core)")
    group.add_argument("--stdin-audio", action="store_true", help="standard input is itself a recording (WAV, FLAC …)")
    group.add_argument("--quiet", action="store_true", help="no bar and no summary on standard error")
    parser.set_defaults(suffixes=suffixes)


class ClipRun:
    """One command over many recordings.

    Arguments
    ---------
    options : argparse.Namespace
        Of :func:`add_clip_arguments`.

    Raises
    ------
    ConfigError
        Options that do not fit together, a name that names nothing, or --out that is there already.

    Notes
    -----
    Beside ``--out FILE`` stand ``FILE.settings.json``, with what a run that goes on must agree with, and, if there are
    any, ``FILE.errors.csv``, with the recordings that were left out.
    """

    def __init__(self, options):
        # numpy's matrix products stay in the thread of their clip: threads of threads only get into each other's way
        if "numpy" not in sys.modules:
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
            os.environ.setdefault("MKL_NUM_THREADS", "1")
        self._options, self._total = options, None
        self.kind = chosen_format(options, options.suffixes)
        self._out = None if options.out is None else Path(options.out)
        self._require_sense()
        self._found = () if options.stdin_audio else find_recordings(options.recordings, note=self._note)

    def run(self, form, settings, work):
        """Do the work, and write what comes of it.

        Arguments
        ---------
        form : tinyclap.cli.outputs.Form
        settings : dict
            JSON-able: what results depend on; a run that goes on must have the same.
        work : callable
            iterator of paths → iterator of (path, result or AudioError).

        Returns
        -------
        int
            The exit status.

        Raises
        ------
        AudioError
            A recording cannot be used, without --keep-going; what was done is kept.
        ConfigError
            The settings are not those of the results that are there.
        """
        if self._out is not None:
            self._agree({**settings, "format": self.kind, "columns": form.columns})
        started, n_done, n_failed = time.monotonic(), 0, 0
        with contextlib.ExitStack() as stack:
            rows = open_rows(self._out, form, self.kind)
            stack.callback(rows.close)
            errors = stack.enter_context(contextlib.closing(_Errors(self._errors_path(), self._options)))
            n_before = len(rows.done)
            sources = self._sources(stack, form.shown_name, rows.done | errors.done)
            results = work(sources)
            stack.callback(getattr(results, "close", lambda: None))
            for path, result in self._with_bar(results):
                name = STANDARD_INPUT if self._options.stdin_audio else form.shown_name(path)
                if not isinstance(result, AudioError):
                    rows.write(name, result)
                    n_done += 1
                    continue
                if not self._options.keep_going:
                    raise AudioError(printable(name), result.problem)
                n_failed += 1
                self._note(f"left out: {printable(name)}: {result.problem}", always=True)
                errors.add(name, result.problem)
            if hasattr(rows, "finish"):
                rows.finish()
        self._sum_up(n_done, n_before, n_failed, len(errors.done), time.monotonic() - started)
        return SOME_FAILED if n_failed or errors.done else DONE

    def _require_sense(self):
        options = self._options
        if options.stdin_audio == bool(options.recordings):
            raise ConfigError(
                "--stdin-audio reads one recording from standard input; name no others beside it"
                if options.stdin_audio
                else "no recordings; name files, folders, '*.wav', @list.txt, or - for a list on standard input"
            )
        if options.workers is not None and options.workers < 1:
            raise ConfigError(f"--workers {options.workers}: give a number above zero")
        if options.resume and options.overwrite:
            raise ConfigError("--resume goes on and --overwrite begins anew; give one of them")
        if self._out is None:
            if options.resume or options.overwrite or options.retry:
                raise ConfigError("--resume, --overwrite and --retry belong to --out FILE")
            return
        if options.retry and not options.resume:
            raise ConfigError("--retry belongs to --resume")
        there = [path for path in self._files() if path.exists()]
        if options.overwrite:
            for path in there:
                path.unlink()
        elif there and not options.resume:
            raise ConfigError(f"{there[0]} is there already; --resume goes on with it, --overwrite begins anew")
        if not self._out.absolute().parent.is_dir():
            raise ConfigError(f"--out {self._out}: there is no folder {self._out.parent}; make it first")

    def _files(self):
        parts = []
        if self.kind in ("npy", "npz"):
            from tinyclap.cli.array_file import names_path  # it imports numpy

            parts = [names_path(self._out), self._out.with_suffix(".npz.part")]
        return [self._out, *parts, self._beside("settings.json"), self._beside("errors.csv")]

    def _beside(self, ending):
        return self._out.with_name(f"{self._out.name}.{ending}")

    def _errors_path(self):
        return None if self._out is None else self._beside("errors.csv")

    def _agree(self, settings):
        """Require that results which are there were made with these settings; note them where there are none."""
        path, settings = self._beside("settings.json"), json.loads(json.dumps(settings))
        if not path.exists():
            if self._out.exists():
                raise ConfigError(f"{self._out}: nothing says how it was made ({path} is gone); give --overwrite")
            scratch = path.with_name(path.name + ".new")
            scratch.write_text(json.dumps(settings, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            os.replace(scratch, path)
            return
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{path}: not readable as JSON ({error}); begin anew with --overwrite") from error
        other = sorted(key for key in settings | earlier if settings.get(key) != earlier.get(key))
        if other:
            raise ConfigError(
                f"{self._out} was made with other settings ({', '.join(other)}; see {path}); give the same options, "
                "another --out, or --overwrite"
            )

    def _sources(self, stack, shown_name, done):
        """The recordings that are still to be done; where the standard input lists them, as they come."""
        if self._options.stdin_audio:
            return [] if STANDARD_INPUT in done else [_saved_input(stack)]
        rest = _of_other_names(self._found, shown_name, done)
        if not is_list(self._options.recordings):
            rest = list(rest)
            self._total = len(rest)
        return rest

    def _with_bar(self, results):
        if self._options.quiet or self._options.stdin_audio or (self._out is None and sys.stdout.isatty()):
            return results
        from tinyclap.audio.batch import with_bar

        return with_bar(results, self._total)

    def _note(self, text, always=False):
        if always or not self._options.quiet:
            if "tqdm" in sys.modules:
                from tqdm import tqdm

                tqdm.write(printable(text), file=sys.stderr)
            else:
                sys.stderr.write(printable(text) + "\n")

    def _sum_up(self, n_done, n_before, n_failed, n_named, seconds):
        if n_done + n_failed == 1 and not n_named:
            return
        left_out = f"; {n_named or n_failed} left out" if n_named or n_failed else ""
        where = f", named in {self._errors_path()}" if left_out and self._out is not None else ""
        rate = f" ({n_done / seconds:.0f} a second)" if seconds > 0 and n_done else ""
        before = f", {n_before} were there" if n_before else ""
        self._note(f"{n_done} recordings in {seconds:.1f} s{rate}{before}{left_out}{where}")


class _Errors:
    """The recordings that were left out, with what is wrong with each; in a file, where the results are in one."""

    def __init__(self, path, options):
        self._path, self._file = path, None
        if path is not None and options.retry:
            path.unlink(missing_ok=True)
        self.done = set() if path is None else cut_to_whole_rows(path, "csv")

    def add(self, name, problem):
        """Name one recording."""
        if self._path is None:
            return
        if self._file is None:
            self._file = open(self._path, "a", encoding="utf-8", errors="surrogateescape", newline="\n")
            if not self._path.stat().st_size:
                self._file.write(csv_line([FILE, "problem"]))
        self._file.write(csv_line([name, problem]))
        self._file.flush()
        self.done.add(name)

    def close(self):
        """Close the file, if there was anything to write."""
        if self._file is not None:
            self._file.close()


def _of_other_names(paths, shown_name, done):
    """The paths that are not done, by the names that they have in the results, which must differ."""
    paths_of = {}
    for path in paths:
        name = shown_name(path)
        if paths_of.setdefault(name, path) != path:
            raise ConfigError(f"{paths_of[name]} and {path} would both be called {name} in the results")
        if name not in done:
            yield path


def _saved_input(stack):
    """Standard input as a file: libsndfile looks back and forth in what it reads."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    path = os.path.join(folder, "stdin")
    with open(path, "wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return path
