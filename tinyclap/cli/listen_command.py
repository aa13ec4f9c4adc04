"""``tinyclap listen``: what is heard when, in hours of audio, a pipe or a microphone."""

import argparse
import contextlib
import sys
import time

from tinyclap.cli.common import add_model_arguments, open_model
from tinyclap.cli.exit_status import DONE, INTERRUPTED
from tinyclap.cli.label_words import read_labels
from tinyclap.errors import ConfigError

DESCRIPTION = """\
Listen to a recording of any length, to a pipe or to a microphone, and write when each sound begins and ends. Any words
can be sounds. Memory stays bounded, each event is written as soon as it is certain, and the result does not depend on
the pieces in which the audio comes. Events go to standard output, everything else to standard error."""

EXAMPLES = """\
examples:
  tinyclap listen street.wav --labels "dog barking,siren,rain"
  tinyclap listen street.wav --labels "siren" --out siren.csv --out siren.txt --plot siren.png
  ffmpeg -loglevel error -i film.mp4 -f wav - | tinyclap listen - --labels "applause,laughter"
  arecord -q -f S16_LE -r 48000 | tinyclap listen - --labels esc50 --follow --format jsonl
  tinyclap listen --microphone --labels "baby crying" --false_alarms 0.005 --min_duration 1

--out by suffix: .csv (with a head line), .txt (Audacity: File > Import > Labels), .jsonl. Press Ctrl-C to end a live
stream: what is open is then written (exit status 130)."""


def add_arguments(parser):
    """Add the command's options."""
    parser.add_argument("source", nargs="?", help="a recording, or - for standard input (WAV, or raw with --rate)")
    parser.add_argument("--labels", help='names "a,b,c", a file with one a line, a bank, or a ready bank\'s name')
    parser.add_argument("--template", action="append", help="prompt with {} for the name; repeat for an average")
    _add_sources(parser.add_argument_group("source"))
    _add_decisions(parser.add_argument_group("what counts as heard"))
    _add_outputs(parser.add_argument_group("output"))
    add_model_arguments(parser)


def _add_sources(group):
    group.add_argument("--microphone", action="store_true", help="listen to a microphone (needs sounddevice)")
    group.add_argument("--device", help="its number or part of its name (default: the system's own)")
    group.add_argument("--rate", type=int, help="of standard input without a WAV header, or of the microphone, in Hz")
    group.add_argument("--channels", type=int, default=1, help="of standard input without a header (default: 1)")
    group.add_argument("--sample_format", default="s16le", help="u8, s16le, s24le, s32le, f32le, … (default: s16le)")
    group.add_argument("--duration", type=_above_zero, help="stop after so many seconds")
    group.add_argument("--chunk", type=_above_zero, default=1.0, help="read so many seconds at a time (default: 1)")


def _add_decisions(group):
    group.add_argument("--window", type=_above_zero, help="seconds heard at once (default: 2, or the model's own)")
    group.add_argument("--hop", type=_above_zero, default=0.5, help="seconds from window to window (default: 0.5)")
    ways = group.add_mutually_exclusive_group()
    ways.add_argument(
        "--false_alarms",
        type=float,
        help="heard is what scores higher than all but this part of ordinary sound (default: 0.01, where the model "
        "has a background of ordinary sound)",
    )
    ways.add_argument("--threshold", type=float, help="heard is what scores above this")
    ways.add_argument("--share", type=float, help="heard is what has more than this share among the labels")
    group.add_argument("--release", type=float, help="an event goes on above this, in the unit of the three above")
    group.add_argument("--min_duration", type=float, default=0.0, help="leave out what is shorter, in seconds")
    group.add_argument("--merge_gap", type=float, default=0.0, help="join events of a label no further apart, in s")
    group.add_argument("--exclusive", action="store_true", help="one label at a time: the furthest above its threshold")


def _add_outputs(group):
    group.add_argument("--format", choices=("csv", "audacity", "jsonl"), default="csv", help="of standard output")
    group.add_argument("--out", action="append", default=[], help="write here instead, by suffix; may be repeated")
    group.add_argument("--scores", help="every window's scores: a .csv or .npz file")
    group.add_argument("--plot", help="a picture of level, scores and events (needs matplotlib)")
    group.add_argument("--follow", action="store_true", help="show what is heard now, in one line at the terminal")


def _above_zero(text):
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def run(options):
    """Listen until the stream is over; returns the exit status."""
    from tinyclap.detection.detector import Detector
    from tinyclap.detection.events import EventRule

    rule = EventRule(options.min_duration, options.merge_gap, options.exclusive)
    with contextlib.ExitStack() as stack:
        outputs = _Outputs(options, stack)
        model = open_model(options)
        source = _open_source(options)
        detector = Detector(
            model,
            read_labels(options.labels, options.model),
            source.sample_rate_hz,
            options.template,
            options.window,
            options.hop,
            rule,
            false_alarms=options.false_alarms,
            threshold=options.threshold,
            share=options.share,
            release=options.release,
        )
        outputs.begin(detector)
        sys.stderr.write(
            f"{source.name}: {source.sample_rate_hz} Hz, {len(detector.labels)} labels, windows of "
            f"{detector.window_s:g} s every {detector.hop_s:g} s; heard: {detector.thresholds.kind}\n"
        )
        began, status = time.perf_counter(), DONE
        try:
            for samples in _limited(source, options.duration):
                for heard in detector.listen(samples):
                    outputs.window(heard, detector)
        except KeyboardInterrupt:
            status = INTERRUPTED
        for heard in detector.end():
            outputs.window(heard, detector)
        outputs.end(detector, time.perf_counter() - began)
    return status


def _open_source(options):
    """The stream that the options mean."""
    from tinyclap.detection.sources import file_source, microphone_source, pipe_source

    if bool(options.source) == options.microphone:
        raise ConfigError("give a recording, - for standard input, or --microphone")
    if options.microphone:
        device = int(options.device) if (options.device or "").isdigit() else options.device
        return microphone_source(device, options.rate)
    if options.source == "-":
        return pipe_source(sys.stdin.buffer, options.rate, options.channels, options.sample_format, options.chunk)
    return file_source(options.source, options.chunk)


def _limited(source, duration_s):
    """The pieces of a stream up to a duration, to the sample."""
    left = None if duration_s is None else round(duration_s * source.sample_rate_hz)
    for samples in source.pieces:
        yield samples[:left]
        if left is not None:
            left -= len(samples)
            if left <= 0:
                return


class _Outputs:
    """Everything that is written while listening.

    Arguments
    ---------
    options : argparse.Namespace
    stack : contextlib.ExitStack
        Closes the files.
    """

    def __init__(self, options, stack):
        from tinyclap.detection.curves import check_names
        from tinyclap.detection.timeline import kind_of

        check_names(options.scores, options.plot)
        self._options, self._stack = options, stack
        self._kinds = [kind_of(path) for path in options.out]
        self._writers, self._curves, self._compute_s = [], None, []
        self._n_events = 0

    def begin(self, detector):
        """Open what is written to, now that nothing can go wrong any more."""
        from tinyclap.detection.curves import Curves
        from tinyclap.detection.timeline import TimelineWriter

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
        self._events(heard.events)
        if self._curves is not None:
            self._curves.add(heard)
        if self._options.follow:
            _show(heard, detector)

    def end(self, detector, wall_s):
        """The stream is over: the last events, the files that need all of it, and the figures."""
        self._events(detector.last_events())
        if self._curves is not None:
            self._curves.write(self._options.scores, self._options.plot, detector.duration_s)
        if self._options.follow:
            sys.stderr.write("\n")
        sys.stderr.write(_figures(detector.duration_s, wall_s, self._compute_s, self._n_events))

    def _events(self, events):
        for event in events:
            self._n_events += 1
            for writer in self._writers:
                writer.write(event)
            if self._curves is not None:
                self._curves.events.append(event)


def _figures(duration_s, wall_s, compute_s, n_events):
    """What it took, in a line."""
    import numpy as np

    middle, slow = (1000 * np.quantile(compute_s, part) for part in (0.5, 0.95))
    return (
        f"{duration_s:.1f} s of audio, {n_events} events, in {wall_s:.1f} s (real-time factor "
        f"{wall_s / duration_s:.4f}); a window took {middle:.1f} ms, 95 % of them at most {slow:.1f} ms\n"
    )


def _show(heard, detector):
    """Rewrite one line of the terminal: the time, the level, and the labels that score best."""
    import shutil

    best = sorted(range(len(detector.labels)), key=lambda index: detector.thresholds.on[index] - heard.scores[index])
    now = set(detector.heard)
    words = [
        f"{'●' if detector.labels[index] in now else '○'} {detector.labels[index]} {heard.scores[index]:.2f}"
        for index in best[:4]
    ]
    line = f"{heard.middle_s:8.1f} s  {heard.level_db:5.0f} dB  " + "  ".join(words)
    width = max(20, shutil.get_terminal_size().columns - 1)
    sys.stderr.write("\r" + line[:width].ljust(width))
    sys.stderr.flush()
