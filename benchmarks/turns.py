"""Timing of cases that take turns, so that a busy moment meets all of them."""

import statistics
import time
from dataclasses import dataclass

_SHORTEST_S = 0.02  # what is quicker than this is done several times in one turn
_SLOW_S = 1.0  # what is slower warms up once


@dataclass
class Timing:
    """Wall and processor times of one case, in ms a call, turn by turn."""

    wall_ms: list
    cpu_ms: list

    @property
    def median_ms(self):
        """Median of the wall times."""
        return statistics.median(self.wall_ms)

    def record(self):
        """Median, tenths and least of the wall times, median processor time, number of turns."""
        tenths = statistics.quantiles(self.wall_ms, n=10, method="inclusive") if len(self.wall_ms) > 1 else None
        return {
            "median_ms": self.median_ms,
            "p10_ms": tenths[0] if tenths else self.median_ms,
            "p90_ms": tenths[-1] if tenths else self.median_ms,
            "min_ms": min(self.wall_ms),
            "cpu_ms": statistics.median(self.cpu_ms),
            "repeats": len(self.wall_ms),
        }

    def paired_quartiles(self, other):
        """First and third quartile of this case's time over another's in the same turn."""
        ratios = [mine / theirs for mine, theirs in zip(self.wall_ms, other.wall_ms, strict=True)]
        if len(ratios) < 2:
            return [ratios[0], ratios[0]]
        quartiles = statistics.quantiles(ratios, n=4, method="inclusive")
        return [quartiles[0], quartiles[2]]


def take_turns(cases, repeats):
    """Time every case once a turn; who begins changes from turn to turn.

    Arguments
    ---------
    cases : dict of str to callable
    repeats : int
        Turns.

    Returns
    -------
    dict of str to Timing
    """
    names = list(cases)
    n_calls = {name: _calls_a_turn(cases[name]) for name in names}
    timings = {name: Timing([], []) for name in names}
    for turn in range(repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            wall, cpu = _timed(cases[name], n_calls[name])
            timings[name].wall_ms.append(1000 * wall)
            timings[name].cpu_ms.append(1000 * cpu)
    return timings


def _calls_a_turn(work):
    """Warm up, and say how often the work is done in one turn."""
    seconds = _timed(work, 1)[0]
    if seconds < _SLOW_S:
        seconds = min(_timed(work, 1)[0] for _ in range(3))
    return max(1, round(_SHORTEST_S / max(seconds, 1e-6)))


def _timed(work, n_calls):
    """Wall and processor seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(n_calls):
        work()
    return (time.perf_counter() - wall) / n_calls, (time.process_time() - cpu) / n_calls
