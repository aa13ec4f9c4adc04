"""A profile accounts for the whole step, stage by stage, and changes no number of the run."""

import json
import time

import pytest
from small_run import Distillation, ToneTeacher, make_corpora

from tinyclap.brains.profiling import profile_steps


class Sleepy(ToneTeacher):
    """Takes 20 ms at least."""

    def embed_audio(self, wavs, sample_rate_hz):
        """As every teacher, later."""
        time.sleep(0.02)
        return super().embed_audio(wavs, sample_rate_hz)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(A plain run, a profiled one of the same)."""
    folder = tmp_path_factory.mktemp("profile")
    corpora = make_corpora(folder)
    plain, timed = Distillation(corpora, folder / "plain", Sleepy()), Distillation(corpora, folder / "timed", Sleepy())
    plain.fit()
    profile_steps(timed.brain, folder / "timed", n_steps=3)
    timed.fit()
    return plain, timed, folder / "timed"


def test_stages_add_up_to_the_whole_step(runs):
    lines = (runs[2] / "profile.txt").read_text("utf-8").split("\n\n")[0].splitlines()
    assert lines[0].startswith("mean of 3 steps")
    ms = {line[:26].strip(): float(line[26:35]) for line in lines[1:]}
    teacher, whole = ms.pop("of the forward: teacher"), ms.pop("whole step")
    assert sum(ms.values()) == pytest.approx(whole, abs=0.05) and min(ms.values()) >= 0
    assert teacher >= 20 and ms["forward"] > teacher and ms["wait for data"] > 0


def test_the_trace_has_the_stages(runs):
    events = json.loads((runs[2] / "trace.json").read_text("utf-8"))["traceEvents"]
    assert {"forward", "loss", "backward", "optimiser", "teacher"} <= {event.get("name") for event in events}


def test_a_profiled_run_learns_the_same(runs):
    plain, timed, _ = runs
    assert timed.steps() == plain.steps() and len(plain.steps()) > 4
