"""Sound event detection in long and live audio, zero-shot, in bounded memory. No torch.

Samples go through a resampler, fixed windows, the model and :class:`~tinyclap.detection.events.EventFinder`;
:class:`~tinyclap.detection.detector.Detector` is all four. How the samples are cut into blocks changes no bit.
"""

from tinyclap.detection.detector import DetectionOptions, Detector, detect
from tinyclap.detection.events import Event

__all__ = ["DetectionOptions", "Detector", "Event", "detect"]
