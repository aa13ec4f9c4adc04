"""Outputs of ``tinyclap listen``: timelines, scores, a picture, a live line, and figures at the end."""

import os
import shutil
import sys

import numpy as np

from tinyclap.detection.curves import Curves, check_names
from tinyclap.detection.timeline import TimelineWriter, kind_of
from tinyclap.errors import ConfigError

_N_SHOWN = 4


class ListenOutputs:
    """Everything that is written of one stream: `options` are of the command, and the `stack` closes the files."""

    def __init__(self, options, stack):
        check_names(options.scores, options.plot)
        self._kinds = [kind_of(path) for path in options.out]
        files = [path for path in (*options.out, options.scores, options.plot) if path is not None]
        twice = [path for path in files if files.count(path) > 1]
        if twice:
            raise ConfigError(f"{twice[0]}: named for two outputs; give each a file of its own")
        for path in files:
            if os.path.isfile(path) and not options.overwrite:
                raise ConfigError(f"{path} is there already; give another name, or --overwrite")
            if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
                raise ConfigError(f"{path}: there is no folder {os.path.dirname(path)}; make it first")
        self._options, self._stack = options, stack
        self._writers, self._curves, self._compute_s = [], None, []
        self._n_events, self._active = 0, set()
        self._follows = options.follow and sys.stderr.isatty()
        if options.follow and not self._follows:
            sys.stderr.write("--follow shows nothing: standard error is no terminal\n")

    def begin(self, detector):
        """Open what is written to, now that model, labels and source are there."""
        if self._options.scores or self._options.plot:
            self._curves = Curves(detector.labels, detector.thresholds)
        for path, kind in zip(self._options.out, self._kinds, strict=True):
            mode = "w" if self._options.overwrite or (os.path.exists(path) and not os.path.isfile(path)) else "x"
            file = open(path, mode, encoding="utf-8", errors="surrogateescape", newline="")
            self._writers.append(TimelineWriter(self._stack.enter_context(file), kind))
        if not self._writers:
            self._writers.append(TimelineWriter(sys.stdout, self._options.format))

    def window(self, result, detector):
        """Write what a window made certain."""
        self._compute_s.append(result.compute_s)
        now = set(detector.active)
        for label in sorted(now - self._active) if self._options.announce else ():
            for writer in self._writers:
                writer.announce(label, result.middle_s)
        self._active = now
        self._events(result.events)
        if self._curves is not None:
            self._curves.add(result)
        if self._follows:
            self._show(live_line(result, detector))

    def end(self, detector, wall_s):
        """The stream is over: the last events, the files that need all of it, and the figures."""
        self._events(detector.last_events())
        if self._curves is not None:
            self._curves.write(self._options.scores, self._options.plot, detector.duration_s)
        self._show("")
        middle, slow = (1000 * np.quantile(self._compute_s, part) for part in (0.5, 0.95))
        duration_s = detector.duration_s
        sys.stderr.write(
            f"{duration_s:.1f} s of audio, {self._n_events} events, in {wall_s:.1f} s (real-time factor "
            f"{wall_s / duration_s:.4f}); a window took {middle:.1f} ms, 95 % of them at most {slow:.1f} ms\n"
        )

    def _events(self, events):
        if events:
            self._show("")
        for event in events:
            self._n_events += 1
            for writer in self._writers:
                writer.write(event)
            if self._curves is not None:
                self._curves.events.append(event)

    def _show(self, line):
        """Rewrite the live line; "" clears it, for what is written below."""
        if self._follows:
            width = max(20, shutil.get_terminal_size().columns - 1)
            sys.stderr.write("\r" + line[:width].ljust(width) + ("" if line else "\r"))
            sys.stderr.flush()


def live_line(result, detector):
    """Time, level, and the labels nearest to their threshold, with a full circle where they are active: str."""
    above = result.scores - detector.thresholds.on
    now = set(detector.active)
    words = [
        f"{'●' if label in now else '○'} {label} {result.scores[index]:.2f}"
        for index, label in sorted(enumerate(detector.labels), key=lambda pair: -above[pair[0]])[:_N_SHOWN]
    ]
    return f"{result.middle_s:8.1f} s {result.level_db:5.0f} dB  {'  '.join(words)}"
