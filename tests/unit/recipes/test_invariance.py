"""The same samples give the same embedding, however they are stored, given and batched."""

import argparse
import json

import pytest

pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")

from benchmarks.invariance import OTHER, SAME, Clips, chosen, docs_table, measure  # noqa: E402


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Two synthesised clips through every case."""
    folder = tmp_path_factory.mktemp("invariance")
    (folder / "clips").mkdir()
    options = argparse.Namespace(recordings=None, name=None, clips=2, model="tinyclap-phinet-m", checkpoint=None)
    return measure(Clips(chosen(options, folder), folder), options)


def test_the_same_samples_give_the_same_numbers_bit_for_bit(result):
    cases = [case for case in result["cases"] if case["group"] == SAME]
    assert len(cases) == 10
    assert [case["case"] for case in cases if case["identical"] != 2 or case["max_abs"]] == []


def test_other_rates_stay_within_the_stated_bound(result):
    cases = {case["case"]: case for case in result["cases"] if case["group"] == OTHER}
    for rate in ("48 kHz", "96 kHz"):
        case = cases[f"resampled to {rate} (soxr VHQ)"]
        assert case["min_cosine"] > 0.995 and case["same_label"] == 2
    # the measure can tell: a delay of 100 ms is another sound
    assert cases["delayed by 100 ms"]["max_abs"] > 1e-4


def test_the_table_has_a_row_for_each_case(result, tmp_path):
    path = tmp_path / "invariance.json"
    path.write_text(json.dumps(result), encoding="utf-8")
    table = docs_table(path)
    assert all(f"| {case['case']} |" in table for case in result["cases"])
