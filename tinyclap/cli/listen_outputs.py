"""What ``tinyclap listen`` writes: timelines, scores, a picture, a live line, and figures at the end."""

import shutil
import sys

from tinyclap.detection.curves import Curves, check_names
from tinyclap.detection.timeline import TimelineWriter, kind_of

_N_SHOWN = 4


class ListenOutputs:
    """Everything that is written of one stream.

    Arguments
    ---------
    options : argparse.Namespace
        Of :mod:`tinyclap.cli.listen_command`.
    stack : contextlib.ExitStack
        Closes the files.

    Raises
    ------
    ConfigError
        A file's suffix means no format, or a picture is wanted without matplotlib.
    """

    def __init__(self, options, stack):
        check_names(options.scores, options.plot)
        self._options, self._stack = options, stack
        self._kinds = [kind_of(path) for path in options.out]
        self._writers, self._curves, self._compute_s = [], None, []
        self._n_events, self._heard = 0, set()
        self._follows = options.follow and sys.stderr.isatty()
        if options.follow and not self._follows:
            sys.stderr.write("--follow shows nothing: standard error is no terminal\n")

    def begin(self, detector):
        """Open what is written to, now that model, labels and source are there."""
        if self._options.scores or self._options.plot:
            self._curves = Curves(detector.labels, detector.thresholds)
        for path, kind in zip(self._options.out, self._kinds, strict=True):
            file = self._stack.enter_context(open(path, "w", encoding="utf-8", newline=""))
            self._writers.append(TimelineWriter(file, kind))
        if not self._writers:
            self._writers.append(TimelineWriter(sys.stdout, self._options.format))

    def window(self, heard, detector):
        """A window was heard."""
        self._compute_s.append(heard.compute_s)
        if self._options.announce:
            now = set(detector.heard)
            for label in sorted(now - self._heard):
                for writer in self._writers:
                    writer.announce(label, heard.middle_s)
            self._heard = now
        self._events(heard.events)
        if self._curves is not None:
            self._curves.add(heard)
        if self._follows:
            self._show(live_line(heard, detector))

    def end(self, detector, wall_s):
        """The stream is over: the last events, the files that need all of it, and the figures."""
        self._events(detector.last_events())
        if self._curves is not None:
            self._curves.write(self._options.scores, self._options.plot, detector.duration_s)
        self._show("")
        sys.stderr.write(_figures(detector.duration_s, wall_s, self._compute_s, self._n_events))

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


def live_line(heard, detector):
    """The time, the level, and the labels that are nearest to being heard, with a full circle where they are.

    Arguments
    ---------
    heard : tinyclap.detection.detector.Heard
    detector : tinyclap.detection.detector.Detector

    Returns
    -------
    str
    """
    above = heard.scores - detector.thresholds.on
    now = set(detector.heard)
    words = [
        f"{'●' if label in now else '○'} {label} {heard.scores[index]:.2f}"
        for index, label in sorted(enumerate(detector.labels), key=lambda pair: -above[pair[0]])[:_N_SHOWN]
    ]
    return f"{heard.middle_s:8.1f} s {heard.level_db:5.0f} dB  {'  '.join(words)}"


def _figures(duration_s, wall_s, compute_s, n_events):
    """What it took, in a line."""
    import numpy as np

    middle, slow = (1000 * np.quantile(compute_s, part) for part in (0.5, 0.95))
    return (
        f"{duration_s:.1f} s of audio, {n_events} events, in {wall_s:.1f} s (real-time factor "
        f"{wall_s / duration_s:.4f}); a window took {middle:.1f} ms, 95 % of them at most {slow:.1f} ms\n"
    )
