"""Students by budget: the formulas are the networks, the search keeps its budgets, the inverse finds the paper's."""

import csv
import doctest
import json
import sys

import pytest
import torch

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "recipes"))

import design
import design_report
import design_scaling
import design_search
import design_space
from design_search import Budgets, Space
from design_space import Cost, Design

from tinyclap.metrics.cost import count_macs, count_parameters, peak_activation_memory
from tinyclap.training.recipe import Recipe

HEADLINE = {"alpha": 1.5, "beta": 0.75, "t_zero": 6, "n_layers": 7}
EXTRAS = {"squeeze_excite": True, "h_swish": True}
# N, alpha -> (beta, t₀) -> millions of parameters, millions of MACs: counted with the official code (690 frames)
PUBLISHED = {
    (4, 0.5): ((3.21, 33), (3.21, 35), (3.21, 44), (3.22, 48)),
    (5, 0.75): ((3.32, 57), (3.33, 63), (3.35, 84), (3.36, 93)),
    (7, 0.25): ((3.26, 13), (3.26, 14), (3.27, 17), (3.28, 19)),
    (7, 0.5): ((3.39, 33), (3.40, 36), (3.43, 49), (3.45, 54)),
    (7, 0.75): ((3.54, 64), (3.57, 72), (3.63, 99), (3.68, 110)),
    (7, 1.0): ((3.70, 107), (3.76, 120), (3.86, 167), (3.94, 186)),
    (7, 1.5): ((4.08, 225), (4.20, 253), (4.43, 357), (4.62, 399)),
    (7, 2.0): ((4.54, 388), (4.75, 437), (5.16, 618), (5.48, 692)),
    (7, 3.0): ((5.66, 845), (6.14, 954), (7.04, 1358), (7.76, 1522)),
    (9, 1.5): ((4.85, 269), (5.27, 305), (6.03, 434), (6.66, 488)),
    (9, 3.0): ((8.71, 1018), (10.35, 1159), (13.35, 1665), (15.81, 1875)),
}


def phinet(embed_width=None, head="linear", hop_length=882, embed_dim=96, **changes):
    return Design("phinet", tuple({**HEADLINE, **changes}.items()), embed_width, hop_length, head, embed_dim)


def test_the_formulas_give_the_published_grid():
    n_compared = 0
    for (n_layers, alpha), cells in PUBLISHED.items():
        for (beta, t_zero), (millions, mmacs) in zip(((0.5, 4), (0.75, 4), (0.75, 6), (1, 6)), cells, strict=True):
            each = phinet(2048, "clap", 320, 1024, alpha=alpha, beta=beta, t_zero=t_zero, n_layers=n_layers)
            cost = design_space.cost_of(each)
            assert abs(cost.n_parameters / 1e6 - millions) < 0.0051, each
            assert abs(cost.n_macs / 1e6 - mmacs) < 0.51, each
            n_compared += 1
    assert n_compared == 44


@pytest.mark.parametrize(
    "each",
    [
        phinet(2048, "clap"),
        phinet(None, "mlp", alpha=0.35, beta=1.0, t_zero=3, n_layers=5, **EXTRAS),
        phinet(256, "linear", alpha=0.7, t_zero=4, n_layers=6, **EXTRAS),
        phinet(2048, "clap", alpha=0.1, beta=0.5, t_zero=2, n_layers=4),
        phinet(512, "mlp", alpha=0.5, beta=1.5, t_zero=5, n_layers=9),
        phinet(None, "clap", alpha=0.5, t_zero=4, n_layers=3),
        phinet(None, "linear", 320, alpha=0.614, beta=1.25, t_zero=4.892, n_layers=8),
        Design("mn", (("width", 0.1),), None, 640, "linear", 96),
        Design("mn", (("width", 0.4),), None, 320, "clap", 96),
        Design("mn", (("width", 1.2),), None, 640, "mlp", 96),
    ],
    ids=lambda each: f"{each.family}-{each.head}-{each.embed_width}",
)
@pytest.mark.parametrize("folded", [False, True])
def test_the_formulas_are_the_network_number_for_number(each, folded):
    clip_s = 1.3
    student = design_space.build(each, clip_s, folded)
    spectrogram = torch.zeros(1, *design_space.spectrogram_of(each.family, each.hop_length, clip_s))
    macs = count_macs(student, torch.zeros(1, round(clip_s * student.sample_rate_hz)))
    peak = peak_activation_memory(lambda log_mel: student(log_mel=log_mel).clip, spectrogram)["peak_bytes"]
    assert design_space.cost_of(each, clip_s, folded) == (count_parameters(student), macs["n_macs_paper"], peak)
    mel_bands = spectrogram.numel() * (student.features.n_fft // 2 + 1)
    assert macs["n_macs"] - macs["n_macs_paper"] == mel_bands


def test_the_search_gives_all_that_fits_and_nothing_else():
    space = Space(["mn"], ["linear", "clap"], [None], [320], embed_dim=512, clip_s=2.0)
    budgets = Budgets(n_parameters=2e6, peak_bytes=4e6)
    found = design_search.search(space, budgets)
    every = [
        Design("mn", (("width", width),), None, 320, head, 512)
        for width in design_search.MN_WIDTHS
        for head in ("linear", "clap")
    ]
    fits = {each for each in every if budgets.admit(design_space.cost_of(each, 2.0))}
    assert {each.design for each in found} == fits and 2 < len(fits) < len(every)
    assert [each.share for each in found] == sorted((each.share for each in found), reverse=True)
    first = found[0]
    assert first.whole == design_space.cost_of(first.design, 2.0)
    assert first.share == pytest.approx((first.body.n_parameters / 2e6 * first.whole.peak_bytes / 4e6) ** 0.5)


def test_only_the_backbone_counts_for_the_share():
    budgets = Budgets(n_parameters=100, n_macs=1000)
    assert budgets.share(Cost(25, 1000), Cost(99, 1000, 7)) == pytest.approx(0.5)
    assert budgets.admit(Cost(100, 1000, 10**9)) and not budgets.admit(Cost(101, 1000, 0))


def test_of_each_kind_the_best_is_shown():
    space = Space(["phinet"], ["linear"], [None], [640], embed_dim=64, clip_s=1.0)
    found = design_search.search(space, Budgets(n_parameters=1e5, n_macs=5e6))
    kinds = design_search.best_of_each_kind(found)
    depths = [dict(each.design.encoder)["n_layers"] for each in kinds]
    assert kinds[0] == found[0] and len(set(depths)) == len(depths) >= 3
    for depth, each in zip(depths, kinds, strict=True):
        same = [other.share for other in found if dict(other.design.encoder)["n_layers"] == depth]
        assert each.share == max(same)


def test_no_student_is_smaller_than_the_official_head():
    space = Space(["phinet"], ["clap", "linear"], [2048, None], [320])
    official = next(row for row in design_search.floors(space) if row["head"] == "clap" and row["embed_width"])
    assert official["head_parameters"] == 2048 * 1024 + 1024**2 + 2 * 1024 == 3_147_776
    assert official["head_parameters"] < official["smallest"] < 3_160_000
    # folded, the convolution and W1 are one matrix; W2 and the norm stay
    assert 1024**2 + 2 * 1024 < official["smallest_folded"] < 1_060_000
    head_only = Space(["phinet"], ["clap"], [2048], [640], clip_s=1.0)
    assert not design_search.search(head_only, Budgets(n_parameters=official["smallest"] - 1))
    assert design_search.search(head_only, Budgets(n_parameters=official["smallest"]))
    assert design_search.search(head_only._replace(folded=True), Budgets(n_parameters=1.06e6))


@pytest.mark.parametrize("folded", [False, True])
def test_the_inverse_sums_are_exact_where_nothing_is_cut(folded):
    # with beta 1 every expansion is t₀, and 24·1.5 is whole
    spectrogram = design_space.spectrogram_of("phinet", 320, 5.0)
    parts = design_scaling.sums(1.5, 7, spectrogram, 2048, "clap", 1024, folded)
    exact = design_space.cost_of(phinet(2048, "clap", 320, 1024, beta=1.0, t_zero=4), folded=folded)
    totals = [constant + 4 * (first + both) for constant, first, both in parts]
    assert totals == pytest.approx([exact.n_parameters, exact.n_macs, exact.peak_bytes / 4], rel=1e-12)
    assert parts.solve(Budgets(totals[0], totals[1])) == pytest.approx((4, 4), rel=1e-9)


def test_the_inverse_finds_the_published_student_from_its_own_cost():
    space = Space(["phinet"], ["clap"], [2048], [320])
    whole = design_space.cost_of(phinet(2048, "clap", 320, 1024))
    with_memory = design_scaling.scaled(space, Budgets(*whole), 7, 320, (2048, "clap"))
    without = design_scaling.scaled(space, Budgets(whole.n_parameters, whole.n_macs), 7, 320, (2048, "clap"))
    for each in (with_memory, without):
        encoder = dict(each.found.design.encoder)
        assert each.held_beta is None and encoder["n_layers"] == 7
        assert encoder["alpha"] == pytest.approx(1.5, rel=0.01)
        assert encoder["beta"] == pytest.approx(0.75, rel=0.03)
        assert encoder["t_zero"] == pytest.approx(6, rel=0.02)


def test_the_inverse_keeps_its_budgets_and_spends_them():
    space = Space(["phinet"], ["linear"], [None], [640])
    budgets = Budgets(1.5e6, 100e6, 6e6)
    each = design_scaling.scaled(space, budgets, 9, 640, (None, "linear"))
    assert each.held_beta is None and budgets.admit(each.found.whole)
    assert each.found.whole == design_space.cost_of(each.found.design)
    for spent, limit in zip(each.found.whole, budgets, strict=True):
        assert 0.94 * limit < spent <= limit


def test_where_no_shape_factor_spends_both_one_budget_binds():
    space = Space(["phinet"], ["linear"], [None], [320], embed_dim=64)
    budgets = Budgets(1e6, 5e6)  # far more parameters than MACs
    each = design_scaling.scaled(space, budgets, 7, 320, (None, "linear"))
    encoder = dict(each.found.design.encoder)
    assert each.held_beta == encoder["beta"] == design_scaling.HIGHEST_BETA and budgets.admit(each.found.whole)
    wider = tuple({**encoder, "alpha": encoder["alpha"] * 1.1}.items())
    assert not budgets.admit(design_space.cost_of(each.found.design._replace(encoder=wider)))
    assert design_scaling.scaled(space, Budgets(1e6, 1e4), 7, 320, (None, "linear")) is None


def test_the_command_of_a_design_names_keys_of_the_recipe():
    designs = (phinet(2048, "clap", **EXTRAS), Design("mn", (("width", 0.4),), None, 640, "mlp", 96))
    for each in designs:
        words = design_report.train_words(each, 5.0)
        options = {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}
        Recipe(ROOT / "hparams" / "distill_phinet.yaml", options)  # refuses what is no key, or out of range
    assert "--student mn --width 0.4" in " ".join(design_report.train_words(designs[1], 5.0))
    assert "--embed_width null" in " ".join(design_report.train_words(phinet(), 5.0))


def test_the_nearest_student_is_counted_in_doublings(tmp_path):
    for name, n_parameters, metric in (("small", 1000, "zero-shot top-1 accuracy"), ("other", 4000, "caption scores")):
        folder = tmp_path / "results" / name / "esc50"
        folder.mkdir(parents=True)
        model = {"n_parameters": n_parameters, "n_macs_paper": 100, "macs_clip_s": 5.0}
        record = {"metric": metric, "value": 0.5, "n_items": 8, "dataset": "esc50", "model": model}
        (folder / "metrics.json").write_text(json.dumps(record), encoding="utf-8")
    results = design_report.read_results(tmp_path)
    assert results["small"]["scores"] == ["esc50 50.0 % of 8 clips"] and "other" not in results
    # twice five seconds are twice the MACs
    assert design_report.nearest(Cost(2000, 200), results, 10.0) == ("small", 1.0)
    assert design_report.nearest(Cost(8000, 1600), results, 5.0) == ("small", 5.0)
    assert design_report.nearest(Cost(8000, 1600), {}, 5.0) == (None, None)


def test_the_command_prints_measures_and_writes(tmp_path, monkeypatch, capsys):
    words = (
        "--params 3e5 --macs 4e6 --head linear --embed_width none --hop_length 882 --embed_dim 64 --clip_s 1 --top 2"
    )
    written = ["--json", str(tmp_path / "d.json"), "--csv", str(tmp_path / "d.csv")]
    monkeypatch.setattr(sys, "argv", ["design.py", *words.split(), "--family", "phinet", *written])
    design.main()
    shown = capsys.readouterr().out
    record = json.loads((tmp_path / "d.json").read_text(encoding="utf-8"))
    with open(tmp_path / "d.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows][:2] == ["1", "2"] and "s1" in [row["rank"] for row in rows]
    assert len(record["designs"]) == len(rows) and record["budgets"]["n_parameters"] == 3e5
    for row, entry in zip(rows, record["designs"], strict=True):
        assert row["command"] == entry["command"] and entry["command"] in shown
        assert entry["n_parameters"] <= 3e5 and entry["n_macs"] <= 4e6 and entry["latency_ms"] > 0
        assert entry["peak_bytes"] < entry["peak_bytes_with_front_end"]
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--params 1e6 --head clap --family phinet", "no PhiNet of the search has fewer than 1,055,173 parameters"),
        ("--macs 1e4 --family mn", "nothing of the search fits 10,000 MACs"),
        ("--params 1e5 --family mn --embed_dim 8 --clip_s 1 --latency_ms 1e-6 --top 1", "none of the best answers"),
    ],
)
def test_what_does_not_fit_is_said(words, message, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["design.py", *words.split()])
    with pytest.raises(SystemExit) as stopped:
        design.main()
    assert message in str(stopped.value)


@pytest.mark.parametrize("words", ["--top 3", "--params -1", "--params many", "--params 1e6 --clip_s 0.01"])
def test_a_wrong_command_line_is_refused(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["design.py", *words.split()])
    with pytest.raises(SystemExit) as stopped:
        design.main()
    assert stopped.value.code == 2 and "error:" in capsys.readouterr().err


@pytest.mark.parametrize("module", [design_space, design_search, design_scaling])
def test_the_examples_of_the_modules_hold(module):
    result = doctest.testmod(module)
    assert result.attempted >= 1 and result.failed == 0
