"""A bench reports every way that was asked for, and nothing that was not. No time is asserted: machines differ."""

import json

import pytest

pytest.importorskip("onnx", reason="exporting is an extra: pip install 'tinyclap[export]'")
pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")

from tests.unit.small_export import exported, run  # noqa: E402
from tinyclap.cli.bench import BenchOptions, bench  # noqa: E402
from tinyclap.cli.bench_command import as_text  # noqa: E402
from tinyclap.config.shipped import DEFAULT_MODEL  # noqa: E402
from tinyclap.errors import CheckpointError, ConfigError  # noqa: E402

QUICK = {"lengths_s": (0.5, 1.0), "threads": (1,), "n_repeats": 2, "n_clips": 3}


def test_every_length_and_precision_is_timed_and_the_real_time_factor_is_time_by_duration():
    options = BenchOptions(engines=("onnxruntime",), n_starts=0, **QUICK)
    report = bench(exported()[0], options)
    ways = [(row["clip_s"], row["engine"], row["precision"], row["n_threads"]) for row in report["passes"]]
    assert sorted(ways) == [(s, "onnxruntime", p, 1) for s in (0.5, 1.0) for p in ("fp32", "int8")]
    for row in report["passes"]:
        assert row["least_ms"] <= row["median_ms"] <= row["greatest_ms"]
        assert row["real_time_factor"] == pytest.approx(row["median_ms"] / 1000 / row["clip_s"], abs=1e-6)
    assert report["many"]["n_clips"] == 3 and report["recording"]["median_ms"] > 0
    assert "cold_start" not in report and json.loads(json.dumps(report)) == report


def test_a_precision_alone_is_timed_alone():
    options = BenchOptions(engines=("onnxruntime",), precisions=("int8",), n_starts=0, **QUICK)
    assert {row["precision"] for row in bench(exported()[0], options)["passes"]} == {"int8"}


def test_the_cold_start_is_of_a_process_of_its_own_with_its_own_memory():
    options = BenchOptions(engines=("onnxruntime",), n_starts=1, **QUICK)
    cold = bench(DEFAULT_MODEL, options)["cold_start"]
    assert cold["what"] == "classify with free text"
    assert cold["whole_ms"] > cold["open_ms"] + cold["answer_ms"] > 0
    # this process holds torch, which alone takes more; numpy and the engine take more than 20 MB
    assert 20 < cold["peak_mb"] < 250


def test_a_checkpoint_is_timed_in_torch():
    options = BenchOptions(n_starts=0, **QUICK)
    report = bench(run(), options)
    assert [(row["engine"], row["clip_s"]) for row in report["passes"]] == [("torch", 0.5), ("torch", 1.0)]
    assert "torch" in as_text(report) and "real-time factor" in as_text(report)


def test_nothing_to_time_is_an_error_and_no_empty_table():
    with pytest.raises(ConfigError, match="nothing to time"):
        bench(DEFAULT_MODEL, BenchOptions(engines=("torch",), n_starts=0, **QUICK))
    with pytest.raises(ConfigError, match="above zero"):
        BenchOptions(lengths_s=(0.0,))
    with pytest.raises(CheckpointError):
        bench("nowhere")
