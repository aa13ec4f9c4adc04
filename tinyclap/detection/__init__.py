"""Long and live audio: what is heard when, in a recording of hours, a pipe or a microphone, in bounded memory.

Samples go through :func:`tinyclap.detection.resample.stream_resampler`,
:class:`tinyclap.detection.windows.WindowStream`, the model, and
:class:`tinyclap.detection.events.EventFinder`; :class:`tinyclap.detection.detector.Detector` is the four together.
Each works on pieces that begin at fixed places, so the pieces in which samples arrive make no difference, to the last
bit. No torch.
"""

from tinyclap.detection.detector import Detector, Listening, detect
from tinyclap.detection.events import Event

__all__ = ["Detector", "Event", "Listening", "detect"]
