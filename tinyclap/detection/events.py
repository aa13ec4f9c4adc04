"""From scores of windows to sounds with a beginning and an end, online: each is told as soon as nothing can change it.

Needs numpy alone.
"""

from dataclasses import dataclass

import numpy as np

from tinyclap.errors import ConfigError


@dataclass(frozen=True)
class Event:
    """A sound and its place.

    Arguments
    ---------
    label : str
    onset_s, offset_s : float
        Where it begins and ends, in seconds from the beginning of the stream.
    peak_score : float
        The highest score among its windows.
    peak_s : float
        The middle of the window that has it.
    """

    label: str
    onset_s: float
    offset_s: float
    peak_score: float
    peak_s: float


@dataclass(frozen=True)
class EventRule:
    """When a label counts as heard, beyond its thresholds.

    Arguments
    ---------
    min_duration_s : float
        Shorter events are left out, in seconds.
    merge_gap_s : float
        Events of one label that are no further apart than this become one, in seconds; before short ones are left out.
    exclusive : bool
        In each window, only the label that is furthest above its threshold counts.
    """

    min_duration_s: float = 0.0
    merge_gap_s: float = 0.0
    exclusive: bool = False

    def __post_init__(self):
        if not (self.min_duration_s >= 0 and self.merge_gap_s >= 0):
            raise ConfigError(
                f"min_duration {self.min_duration_s} s and merge_gap {self.merge_gap_s} s: neither may be below zero"
            )


class EventFinder:
    """The events of a sequence of windows.

    Arguments
    ---------
    labels : list of str, N of them
    thresholds : tinyclap.detection.thresholds.Thresholds
    rule : EventRule

    Notes
    -----
    A label is heard from the first window whose score is above ``thresholds.on`` up to the last before a window that
    is not above ``thresholds.off`` (hysteresis). A window speaks for the time that is nearer to its middle than to any
    other's: with windows of 2 s every 0.5 s, for the 0.5 s in its middle; the first also for what is before, the last
    for what is after. Events come in the order of their ends.

    Example
    -------
    >>> from tinyclap.detection.thresholds import fixed_thresholds
    >>> finder = EventFinder(["dog"], fixed_thresholds(1, 0.5, 0.3), EventRule())
    >>> for middle_s, score in [(1, 0.1), (2, 0.6), (3, 0.9), (4, 0.4), (5, 0.2)]:
    ...     for event in finder.push(middle_s, np.array([score])):
    ...         print(event)
    Event(label='dog', onset_s=1.5, offset_s=4.5, peak_score=0.9, peak_s=3.0)
    """

    def __init__(self, labels, thresholds, rule):
        self.labels, self._thresholds, self._rule = list(labels), thresholds, rule
        self._states = [_State() for _ in self.labels]
        self._last_s = None

    @property
    def heard(self):
        """Labels that are heard now: list of str."""
        return [label for label, state in zip(self.labels, self._states, strict=True) if state.is_on]

    def push(self, middle_s, scores):
        """Tell the next window's scores.

        Arguments
        ---------
        middle_s : float
            The middle of the window, in seconds.
        scores : numpy.ndarray, shape (N,)

        Returns
        -------
        list of Event
            Those that nothing can change any more.
        """
        begins_s = 0.0 if self._last_s is None else (self._last_s + middle_s) / 2
        self._last_s = middle_s
        may_count = np.ones(len(scores), bool)
        if self._rule.exclusive:
            may_count[:] = False
            may_count[np.argmax(scores - self._thresholds.on)] = True
        found = []
        for index, state in enumerate(self._states):
            limit = self._thresholds.off[index] if state.is_on else self._thresholds.on[index]
            state.step(bool(may_count[index] and scores[index] > limit), begins_s, self._rule.merge_gap_s, found.append)
            if state.is_on:
                state.look(float(scores[index]), float(middle_s))
            # the next window speaks for nothing before its middle's half-way from here
            elif state.is_open and middle_s - state.offset_s >= self._rule.merge_gap_s:
                state.close(found.append)
        return self._named(found)

    def end(self, duration_s):
        """The stream is over.

        Arguments
        ---------
        duration_s : float
            Its length, in seconds.

        Returns
        -------
        list of Event
            All that were open.
        """
        found = []
        for state in self._states:
            if state.is_on:
                state.is_on, state.offset_s = False, float(duration_s)
            if state.is_open:
                state.close(found.append)
        return sorted(self._named(found), key=lambda event: event.offset_s)

    def _named(self, found):
        """Events of (state's number, …) tuples, without those that are too short."""
        names = {id(state): label for state, label in zip(self._states, self.labels, strict=True)}
        events = [Event(names[id(state)], *rest) for state, *rest in found]
        return [event for event in events if event.offset_s - event.onset_s >= self._rule.min_duration_s - 1e-9]


class _State:
    """What is known of one label: whether it is heard now, and the event that is not told yet."""

    def __init__(self):
        self.is_on = self.is_open = False
        self.onset_s = self.offset_s = self.peak_s = 0.0
        self.peak = -np.inf

    def step(self, is_on, begins_s, merge_gap_s, tell):
        """Go on to a window that begins to count at `begins_s`."""
        if is_on and not self.is_on:
            if self.is_open and begins_s - self.offset_s > merge_gap_s:
                self.close(tell)
            if not self.is_open:
                self.is_open, self.onset_s, self.peak = True, begins_s, -np.inf
        elif self.is_on and not is_on:
            self.offset_s = begins_s
        self.is_on = is_on

    def look(self, score, middle_s):
        """Keep the highest score and its place."""
        if score > self.peak:
            self.peak, self.peak_s = score, middle_s

    def close(self, tell):
        """Tell the event, and forget it."""
        tell((self, self.onset_s, self.offset_s, self.peak, self.peak_s))
        self.is_open = False
