"""A profile accounts for the whole step, stage by stage, and changes no number of the run."""

import json
import time

import pytest
import torch
from small_run import Distillation, ToneTeacher, make_corpora

from tinyclap.brains.stage_times import STAGES, StageTimes
from tinyclap.losses.distillation import CosineDistillLoss


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("corpus"))


class Sleepy(ToneTeacher):
    """Takes 20 ms at least."""

    def embed_audio(self, wavs, sample_rate_hz):
        """As every teacher, later."""
        time.sleep(0.02)
        return super().embed_audio(wavs, sample_rate_hz)


def test_every_stage_is_booked_and_none_twice(corpora, tmp_path, caplog):
    caplog.set_level("INFO")
    run = Distillation(corpora, tmp_path, modules={"teacher": Sleepy().load(), "distill_loss": CosineDistillLoss()})
    run.datasets = _waiting(run.datasets, 0.01)
    StageTimes(run.brain, tmp_path).attach()
    began = time.perf_counter()
    run.fit()
    took_ms = 1000 * (time.perf_counter() - began)
    records = json.loads((tmp_path / "profile.json").read_text("utf-8"))
    assert [record["epoch"] for record in records] == [1, 2]
    for record in records:
        assert set(record["ms"]) == set(STAGES) and record["n_steps"] == len(run.steps()) // 2 - 1
        assert all(ms > 0 for ms in record["ms"].values())
        assert record["step_ms"] == pytest.approx(sum(record["ms"].values()))
        assert record["ms"]["teacher"] >= 20 and record["ms"]["wait for data"] >= 10, "sleeps never end early"
        assert record["share_waiting_for_data"] == record["ms"]["wait for data"] / record["step_ms"]
    assert sum(record["step_ms"] * record["n_steps"] for record in records) < took_ms
    assert caplog.text.count("wait for data") == 2 and "whole step" in caplog.text


def _waiting(datasets, seconds):
    """Datasets whose clips take that long to come."""

    def make():
        made = datasets()
        crop = made["train"].pipeline
        compute = crop.compute_outputs

        def slow(data):
            time.sleep(seconds)
            return compute(data)

        crop.compute_outputs = slow
        return made

    return make


def test_a_profiled_run_learns_the_same(corpora, tmp_path):
    plain, timed = Distillation(corpora, tmp_path / "plain"), Distillation(corpora, tmp_path / "timed")
    StageTimes(timed.brain, tmp_path / "timed").attach()
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for run in (plain, timed):
        run.fit()
    torch.set_num_threads(n_threads)
    assert timed.steps() == plain.steps() and len(plain.steps()) > 4
