"""``tinyclap listen``: sound events in hours of audio, a pipe or a microphone, as a timeline."""

import contextlib
import dataclasses
import signal
import sys
import time

from tinyclap.cli.common import DONE, INTERRUPTED, above_zero, add_model_arguments, finite, open_model, whole
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
    add = parser.add_argument
    add("source", nargs="?", help="a recording, or - for standard input (WAV, or raw with --rate)")
    add("--labels", metavar="NAMES", help='names "a,b,c", a file with one a line, a bank, or a ready bank\'s name')
    add("--template", action="append", help="prompt with {} for the name; repeat for an average")
    add = parser.add_argument_group("source").add_argument
    add("--microphone", action="store_true", help="record from a microphone (needs sounddevice)")
    add("--device", help="its number or part of its name (default: the system's)")
    add("--rate", metavar="HZ", type=int, help="of standard input without a WAV header, or of the microphone")
    add("--channels", metavar="N", type=whole(), default=1, help="of standard input without a header (default: 1)")
    add("--sample-format", metavar="KIND", default="s16le", help="u8, s16le, s24le, s32le, f32le, … (default: s16le)")
    add("--duration", metavar="S", type=above_zero, help="stop after so many seconds")
    add("--chunk", metavar="S", type=above_zero, default=1.0, help="read so many seconds at a time (default: 1)")
    group = parser.add_argument_group("detection")
    add = group.add_argument
    add("--window", metavar="S", type=above_zero, help="seconds of a window (default: 2, or the model's own)")
    add("--hop", metavar="S", type=above_zero, default=0.5, help="seconds from window to window (default: 0.5)")
    either = group.add_mutually_exclusive_group().add_argument
    either(
        "--false-alarms",
        metavar="PART",
        type=finite,
        help="an event begins above what this part of background windows scores at most (default: 0.005, where the "
        "model has a background)",
    )
    either("--threshold", metavar="SCORE", type=finite, help="an event begins above this score")
    either("--probability", metavar="P", type=finite, help="an event begins above this probability among the labels")
    add("--off-threshold", metavar="X", type=finite, help="an event goes on above this, in the unit of the three above")
    add("--min-duration", metavar="S", type=finite, default=0.0, help="leave out shorter events, in seconds")
    add("--merge-gap", metavar="S", type=finite, default=0.0, help="join events of a label no further apart, in s")
    add("--exclusive", action="store_true", help="one label at a time: the furthest above its threshold")
    add = parser.add_argument_group("output").add_argument
    add("--format", choices=("csv", "audacity", "jsonl"), default="csv", help="of standard output")
    add("--out", metavar="FILE", action="append", default=[], help="write here instead, by suffix; may be repeated")
    add("--scores", metavar="FILE", help="every window's scores: a .csv or .npz file")
    add("--plot", metavar="FILE", help="a picture of level, scores and events (needs matplotlib)")
    add("--overwrite", action="store_true", help="replace these files where they are there already")
    add("--announce", action="store_true", help="JSON lines also say when a label becomes active")
    add("--follow", action="store_true", help="show the best labels, in one line at the terminal")
    add_model_arguments(parser, threads="one")


def run(options):
    """Detect until the stream is over; returns the exit status."""
    from tinyclap.cli.listen_outputs import ListenOutputs
    from tinyclap.detection.detector import DetectionOptions, Detector

    with contextlib.ExitStack() as stack:
        outputs = ListenOutputs(options, stack)
        model = open_model(options, 1)
        labels = read_labels(options.labels, options.model)
        source = _open_source(options)
        names = [field.name for field in dataclasses.fields(DetectionOptions)]
        chosen = DetectionOptions(**{name: getattr(options, name.removesuffix("_s")) for name in names})
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
            for samples in stop.pieces(source):
                for result in detector.push(samples[:n_samples]):
                    outputs.window(result, detector)
                n_samples = None if n_samples is None else n_samples - len(samples)
                if n_samples is not None and n_samples <= 0:
                    break
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
    if options.rate is not None:
        raise ConfigError(f"--rate is of raw samples on standard input; {options.source} says its rate itself")
    return file_source(options.source, options.chunk)
