"""Events from scores of windows, online: hysteresis, merging of gaps, minimum duration. Needs numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinyclap.errors import ConfigError

if TYPE_CHECKING:
    from tinyclap.detection.thresholds import Thresholds


@dataclass(frozen=True)
class Event:
    """A sound event."""

    label: str
    onset_s: float  # from the beginning of the stream
    offset_s: float
    peak_score: float  # maximum among its windows
    peak_s: float  # middle of that window


@dataclass(frozen=True)
class EventRule:
    """Post-processing of events."""

    min_duration_s: float = 0.0  # shorter events are left out
    merge_gap_s: float = 0.0  # events of one label no further apart become one, before short ones are left out
    exclusive: bool = False  # in each window, only the label that is furthest above its threshold counts

    def __post_init__(self):
        if not (0 <= self.min_duration_s < np.inf and 0 <= self.merge_gap_s < np.inf):
            given = f"min_duration {self.min_duration_s} s and merge_gap {self.merge_gap_s} s"
            raise ConfigError(f"{given}: neither may be below zero, nor infinite")


class EventFinder:
    """The events of a sequence of windows, by the `thresholds` of N `labels` and an EventRule, the `rule`.

    A label is active from the first window above ``thresholds.on`` up to the last before one that is not above
    ``thresholds.off``. A window stands for the time that is nearer to its middle than to any other's; the first also
    for what is before, the last for what is after. Events come in the order of their ends.

    Example
    -------
    >>> from tinyclap.detection.thresholds import fixed_thresholds
    >>> finder = EventFinder(["dog"], fixed_thresholds(1, 0.5, 0.3), EventRule())
    >>> for middle_s, score in [(1, 0.1), (2, 0.6), (3, 0.9), (4, 0.4), (5, 0.2)]:
    ...     for event in finder.push(middle_s, np.array([score])):
    ...         print(event)
    Event(label='dog', onset_s=1.5, offset_s=4.5, peak_score=0.9, peak_s=3.0)
    """

    def __init__(self, labels: Sequence[str], thresholds: Thresholds, rule: EventRule) -> None:
        self.labels, self._thresholds, self._rule = list(labels), thresholds, rule
        self._states = [_State(label) for label in self.labels]
        self._last_s: float | None = None

    @property
    def active(self) -> list[str]:
        """Labels that are active now."""
        return [state.label for state in self._states if state.is_on]

    def push(self, middle_s: float, scores: np.ndarray) -> list[Event]:
        """Give the scores (N,) of the next window, whose middle is at `middle_s`; returns events that are certain."""
        begins_s = 0.0 if self._last_s is None else (self._last_s + middle_s) / 2
        self._last_s = middle_s
        best = np.argmax(scores - self._thresholds.on)
        found: list[Event] = []
        for index, state in enumerate(self._states):
            limit = self._thresholds.off[index] if state.is_on else self._thresholds.on[index]
            is_on = bool(scores[index] > limit and (index == best or not self._rule.exclusive))
            state.step(is_on, begins_s, self._rule.merge_gap_s, found)
            if state.is_on:
                if scores[index] > state.peak:
                    state.peak, state.peak_s = float(scores[index]), float(middle_s)
            # the next window stands for nothing before half-way from this middle to its own
            elif state.is_open and middle_s - state.offset_s >= self._rule.merge_gap_s:
                state.close(found)
        return self._long_enough(found)

    def end(self, duration_s: float) -> list[Event]:
        """Returns the events that are still open at the end of a stream of `duration_s` seconds."""
        found: list[Event] = []
        for state in self._states:
            if state.is_on:
                state.is_on, state.offset_s = False, float(duration_s)
            if state.is_open:
                state.close(found)
        return sorted(self._long_enough(found), key=lambda event: event.offset_s)

    def _long_enough(self, events):
        return [event for event in events if event.offset_s - event.onset_s >= self._rule.min_duration_s - 1e-9]


class _State:
    """Whether a label is active, and its event that is not certain yet."""

    def __init__(self, label):
        self.label, self.is_on, self.is_open = label, False, False
        self.onset_s = self.offset_s = self.peak_s = 0.0
        self.peak = -np.inf

    def step(self, is_on, begins_s, merge_gap_s, found):
        """Go on to a window that stands for the time from `begins_s`."""
        if is_on and not self.is_on:
            if self.is_open and begins_s - self.offset_s > merge_gap_s:
                self.close(found)
            if not self.is_open:
                self.is_open, self.onset_s, self.peak = True, begins_s, -np.inf
        elif self.is_on and not is_on:
            self.offset_s = begins_s
        self.is_on = is_on

    def close(self, found):
        """Append the event, and forget it."""
        found.append(Event(self.label, self.onset_s, self.offset_s, self.peak, self.peak_s))
        self.is_open = False
