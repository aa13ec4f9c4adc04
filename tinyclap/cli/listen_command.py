"""``tinyclap listen``: sound events in hours of audio, a pipe or a microphone, as a timeline."""

import argparse
import contextlib
import math
import signal
import sys
import time

from tinyclap.cli.common import above_zero, add_model_arguments, open_for_clips, whole
from tinyclap.cli.exit_status import DONE, INTERRUPTED
from tinyclap.errors import AudioError, ConfigError
from tinyclap.text.labels import read_labels

DESCRIPTION = """\
Find when each sound begins and ends in a recording of any length, a pipe or a microphone. The sounds are named by your
labels. Memory stays bounded, each event is written as soon as it is certain, and the result does not depend on the
blocks in which the audio comes. Events go to standard output, everything else to standard error."""

EXAMPLES = """\
examples:
  tinyclap listen street.wav --labels "dog barking,siren,rain"
  tinyclap listen street.wav --labels "siren" --out siren.csv --out siren.txt --plot siren.png
  ffmpeg -loglevel error -i film.mp4 -f wav - | tinyclap listen - --labels "applause,laughter"
  arecord -q -f S16_LE -r 48000 | tinyclap listen - --labels esc50 --follow --format jsonl
  tinyclap listen --microphone --labels "baby crying" --false-alarms 0.001 --min-duration 1

--out by suffix: .csv (with a head line), .txt (Audacity: File > Import > Labels), .jsonl. Press Ctrl-C to end a live
stream: what is open is then written (exit status 130)."""


def add_arguments(parser):
    """Add the command's options."""
    parser.add_argument("source", nargs="?", help="a recording, or - for standard input (WAV, or raw with --rate)")
    parser.add_argument(
        "--labels", metavar="NAMES", help='names "a,b,c", a file with one a line, a bank, or a ready bank\'s name'
    )
    parser.add_argument("--template", action="append", help="prompt with {} for the name; repeat for an average")
    _add_sources(parser.add_argument_group("source"))
    _add_decisions(parser.add_argument_group("detection"))
    _add_outputs(parser.add_argument_group("output"))
    add_model_arguments(parser, threads="one")


def _add_sources(group):
    group.add_argument("--microphone", action="store_true", help="record from a microphone (needs sounddevice)")
    group.add_argument("--device", help="its number or part of its name (default: the system's)")
    group.add_argument(
        "--rate", metavar="HZ", type=int, help="of standard input without a WAV header, or of the microphone"
    )
    group.add_argument(
        "--channels", metavar="N", type=whole(), default=1, help="of standard input without a header (default: 1)"
    )
    group.add_argument(
        "--sample-format", metavar="KIND", default="s16le", help="u8, s16le, s24le, s32le, f32le, … (default: s16le)"
    )
    group.add_argument("--duration", metavar="S", type=above_zero, help="stop after so many seconds")
    group.add_argument(
        "--chunk", metavar="S", type=above_zero, default=1.0, help="read so many seconds at a time (default: 1)"
    )


def _add_decisions(group):
    group.add_argument(
        "--window", metavar="S", type=above_zero, help="seconds of a window (default: 2, or the model's own)"
    )
    group.add_argument(
        "--hop", metavar="S", type=above_zero, default=0.5, help="seconds from window to window (default: 0.5)"
    )
    ways = group.add_mutually_exclusive_group()
    ways.add_argument(
        "--false-alarms",
        metavar="PART",
        type=_finite,
        help="an event begins above what this part of background windows scores at most (default: 0.005, where the "
        "model has a background)",
    )
    ways.add_argument("--threshold", metavar="SCORE", type=_finite, help="an event begins above this score")
    ways.add_argument(
        "--probability", metavar="P", type=_finite, help="an event begins above this probability among the labels"
    )
    group.add_argument(
        "--off-threshold", metavar="X", type=_finite, help="an event goes on above this, in the unit of the three above"
    )
    group.add_argument(
        "--min-duration", metavar="S", type=_finite, default=0.0, help="leave out shorter events, in seconds"
    )
    group.add_argument(
        "--merge-gap", metavar="S", type=_finite, default=0.0, help="join events of a label no further apart, in s"
    )
    group.add_argument("--exclusive", action="store_true", help="one label at a time: the furthest above its threshold")


def _add_outputs(group):
    group.add_argument("--format", choices=("csv", "audacity", "jsonl"), default="csv", help="of standard output")
    group.add_argument(
        "--out", metavar="FILE", action="append", default=[], help="write here instead, by suffix; may be repeated"
    )
    group.add_argument("--scores", metavar="FILE", help="every window's scores: a .csv or .npz file")
    group.add_argument("--plot", metavar="FILE", help="a picture of level, scores and events (needs matplotlib)")
    group.add_argument("--overwrite", action="store_true", help="replace these files where they are there already")
    group.add_argument("--announce", action="store_true", help="JSON lines also say when a label becomes active")
    group.add_argument("--follow", action="store_true", help="show the best labels, in one line at the terminal")


def _finite(text):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no finite number")
    return value


def run(options):
    """Detect until the stream is over; returns the exit status."""
    from tinyclap.cli.listen_outputs import ListenOutputs
    from tinyclap.detection.detector import DetectionOptions, Detector

    with contextlib.ExitStack() as stack:
        outputs = ListenOutputs(options, stack)
        model = open_for_clips(options)
        labels = read_labels(options.labels, options.model)
        source = _open_source(options)
        chosen = DetectionOptions(
            window_s=options.window,
            hop_s=options.hop,
            min_duration_s=options.min_duration,
            merge_gap_s=options.merge_gap,
            exclusive=options.exclusive,
            false_alarms=options.false_alarms,
            threshold=options.threshold,
            probability=options.probability,
            off_threshold=options.off_threshold,
        )
        detector = Detector(model, labels, source.sample_rate_hz, options.template, chosen)
        outputs.begin(detector)
        sys.stderr.write(
            f"{source.name}: {source.sample_rate_hz} Hz, {len(detector.labels)} labels, windows of "
            f"{detector.window_s:g} s every {detector.hop_s:g} s; events: {detector.thresholds.kind}\n"
        )
        return _listen(source, detector, outputs, options.duration)


def _listen(source, detector, outputs, duration_s):
    """Read the stream; whatever ends it, the events so far are written."""
    n_samples = None if duration_s is None else max(1, round(duration_s * source.sample_rate_hz))
    began, broken = time.perf_counter(), None
    with _Stop() as stop:
        try:
            for samples in _limited(stop.pieces(source), n_samples):
                for result in detector.push(samples):
                    outputs.window(result, detector)
        except AudioError as error:
            broken = error
        if detector.duration_s or not (broken or stop.asked):
            for result in detector.end():
                outputs.window(result, detector)
            outputs.end(detector, time.perf_counter() - began)
    if broken is not None:
        raise broken
    return INTERRUPTED if stop.asked else DONE


class _Stop:
    """Ctrl-C, and what ends a service: they end the waiting for audio at once; a window in work is finished."""

    def __init__(self):
        self.asked, self._waits, self._before = False, False, {}

    def __enter__(self):
        self._before = {number: signal.signal(number, self._signalled) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _signalled(self, _number, _frame):
        if self._waits or self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def pieces(self, source):
        """A source's pieces, up to the signal."""
        pieces = iter(source.pieces)
        while not self.asked:
            self._waits = True
            try:
                piece = next(pieces, None)
            except KeyboardInterrupt:
                self.asked = True
                return
            finally:
                self._waits = False
            if piece is None:
                return
            yield piece


def _open_source(options):
    """The stream that the options mean."""
    from tinyclap.audio.find import standard_input
    from tinyclap.detection.sources import file_source, pipe_source

    if bool(options.source) == options.microphone:
        raise ConfigError("give a recording, - for standard input, or --microphone")
    if options.microphone:
        from tinyclap.detection.microphone import microphone_source

        device = int(options.device) if (options.device or "").isdigit() else options.device
        return microphone_source(device, options.rate)
    if options.source == "-":
        return pipe_source(standard_input(), options.rate, options.channels, options.sample_format, options.chunk)
    return file_source(options.source, options.chunk)


def _limited(pieces, n_samples):
    """Pieces up to a number of samples, or all."""
    for samples in pieces:
        yield samples[:n_samples]
        if n_samples is not None:
            n_samples -= len(samples)
            if n_samples <= 0:
                return
