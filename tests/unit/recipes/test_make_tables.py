"""The papers' tables: rows that can be run, hashes that know what has run, and columns that only a program writes."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

sys.path[:0] = [str(ROOT / "recipes" / "tables"), str(ROOT / "recipes")]

import adopt  # noqa: E402
import make_tables  # noqa: E402
import rows as table_rows  # noqa: E402
import smoke  # noqa: E402
import table_pages  # noqa: E402
import tasks  # noqa: E402

from tinyclap.errors import ConfigError  # noqa: E402
from tinyclap.training.command_line import parse_command_line  # noqa: E402
from tinyclap.training.recipe import Recipe  # noqa: E402

TABLES = make_tables.read_all()
EVERY_ROW = {row["row_id"]: row for rows in TABLES.values() for row in rows}


def row_of(**more):
    """A row with nothing but what is given."""
    plain = dict.fromkeys((*table_rows.TYPED, *table_rows.OURS), "")
    plain |= {"row_id": "R", "experiment": "A0", "group": "real", "title": "model: corpus", "seeds": "1 2"}
    return {**plain, "score": "hparams/esc50.yaml", "metric": "value", "status": "not run", **more}


def trained(row_id="R", **more):
    """A row that trains and scores."""
    words = {"hparams": "hparams/distill_phinet.yaml", "overrides": "--alpha 1.5", "score_overrides": "--weights {run}"}
    return row_of(row_id=row_id, **{**words, **more})


def record_of(value, interval=(0.4, 0.6), **more):
    """What is kept of one score."""
    facts = {"commit": "0123456789abcdef", "dirty": False, "date": "2026-01-02T03:04:05+00:00", "hardware": "a CPU"}
    return {"value": value, "interval_95": interval, "n_items": 20, "metric": "value", **facts, **more}


def test_the_tables_hold_every_experiment_of_the_papers():
    assert len(EVERY_ROW) >= 300
    wanted = {f"A{index}" for index in range(14)} | {f"B{index}" for index in range(12)} | {"ours"}
    assert {row["experiment"] for row in EVERY_ROW.values()} == wanted


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """What stands for every corpus, run and weights file in a row: a folder that looks like a model's."""
    folder = tmp_path_factory.mktemp("released")
    (folder / "config.json").write_text("{}")
    return str(folder)


def recipes_of(row):
    """(recipe, words) of everything that a row loads."""
    pairs = [(row["hparams"], row["overrides"]), (row["score"], row["score_overrides"]), (tasks.RANKER, row["rank"])]
    found = [(recipe, shlex.split(words)) for recipe, words in pairs if recipe.endswith(".yaml") and words]
    if row["score"] == "recipes/complexity.py" and "--recipe" in row["score_overrides"]:
        words = shlex.split(row["score_overrides"])
        given = dict(zip(words[::2], words[1::2], strict=True))
        found.append((given["--recipe"], shlex.split(given.get("--set", ""))))
    return found


@pytest.mark.parametrize("name", TABLES)
def test_the_words_of_a_row_and_of_its_tiny_form_are_options_of_its_recipe(name, released, monkeypatch):
    monkeypatch.chdir(ROOT)
    calls = {}
    for row in TABLES[name] + smoke.smoke_rows(EVERY_ROW, TABLES[name])[1]:
        for recipe, words in recipes_of(row):
            assert Path(recipe).is_file(), f"{row['row_id']}: {recipe}"
            words = [tasks.PLACEHOLDER.sub(released, word) for word in words]
            _, _, options = parse_command_line([recipe, *words])
            # of rows that differ by values alone, one is enough
            calls.setdefault((recipe, frozenset(options)), (row["row_id"], options))
    for (recipe, _), (row_id, options) in calls.items():
        try:
            Recipe(recipe, options, is_complete=name != "complexity")
        except ConfigError as error:
            pytest.fail(f"{row_id}: {error}")
    assert calls


@pytest.mark.parametrize("name", TABLES)
def test_every_row_makes_tasks_and_its_tiny_form_needs_no_corpus_and_no_weights(name):
    tiny, chosen = smoke.smoke_rows(EVERY_ROW, TABLES[name])
    planner, small = tasks.Planner(EVERY_ROW), tasks.Planner(tiny)
    for row in TABLES[name]:
        for seed in table_rows.seeds_of(row):
            assert len(planner.score(row["row_id"], seed).hash) == 64
    asked = [task for row in chosen for task in [small.score(row["row_id"], table_rows.seeds_of(row)[0])]]
    assert len(asked) == len(TABLES[name])
    for task in asked:
        assert tasks.missing_for(task, {}) == [], task.label


def test_our_columns_and_the_pages_are_what_the_kept_results_say():
    assert make_tables.main(["--check"]) == 0, "run: python recipes/tables/make_tables.py"


def test_the_columns_of_two_seeds_by_hand():
    found = make_tables.ours(row_of(), [record_of(0.5, (0.4, 0.6)), record_of(0.6, (0.5, 0.8))])
    # standard deviation 0.1/√2; Student's t of one degree of freedom 12.706, so 12.706 · 0.0707107/√2 = 0.6353
    wanted = {
        "ours_mean": "0.550000",
        "ours_std": "0.070711",
        "ours_ci95": "0.635300",
        "clip_ci95": "0.450000..0.700000",
    }
    assert {name: found[name] for name in wanted} == wanted
    assert (found["n_seeds"], found["n_items"], found["status"]) == ("2", "20", "ours")
    assert (found["commit"], found["date"], found["hardware"]) == ("0123456789ab", "2026-01-02", "a CPU")


def test_nothing_run_leaves_empty_cells():
    found = make_tables.ours(row_of(), [])
    assert found.pop("status") == "not run"
    assert set(found.values()) == {""}


def test_one_score_has_no_interval_over_seeds_and_a_dirty_commit_is_said():
    found = make_tables.ours(row_of(seeds="-"), [record_of(4434547, None, dirty=True)])
    assert found["ours_std"] == found["ours_ci95"] == found["clip_ci95"] == found["n_seeds"] == ""
    assert found["ours_mean"] == "4434547" and found["commit"] == "0123456789ab+changes"


@pytest.mark.parametrize(("mean", "status"), [(0.783, "reproduced"), (0.743, "reproduced"), (0.742, "differs")])
def test_the_tolerance_decides_between_reproduced_and_differs(mean, status):
    assert make_tables.status({"paper_value": "0.763", "tolerance": "0.02"}, mean) == status


def test_a_score_is_kept_without_folders_and_counts_until_its_words_change(tmp_path):
    row = row_of(seeds="-", score_overrides="--data_folder {esc50} --weights x")
    tables = {"zero_shot": [row]}
    folder = tmp_path / "out" / "scores" / "R" / "-"
    folder.mkdir(parents=True)
    metrics = {"dataset": "esc50", "split": "test", "options": {"folds": [5]}, "value": 0.5, "interval_95": [0.4, 0.6]}
    facts = {"n_items": 20, "commit": "c" * 40, "dirty": False, "date": "2026-01-02", "machine": "x", "n_threads": 1}
    (folder / "metrics.json").write_text(json.dumps({**metrics, **facts, "model": {"weights": "/home/me"}}))
    (folder / "task.json").write_text(json.dumps({"hash": make_tables.hashes_of(tables)["R", "-"]}))
    assert make_tables.keep(tmp_path / "out", tables, tmp_path / "kept") == 1
    text = (tmp_path / "kept" / "zero_shot" / "R" / "-.json").read_text()
    assert "/home/me" not in text and json.loads(text)["folds"] == [5]
    assert json.loads(text)["commands"] == ["evaluate.py hparams/esc50.yaml --data_folder '{esc50}' --weights x"]

    made, stale = make_tables.filled("zero_shot", [row], make_tables.hashes_of(tables), tmp_path / "kept")
    assert (made[0]["ours_mean"], stale) == ("0.500000", [])
    changed = {"zero_shot": [{**row, "score_overrides": "--data_folder {esc50} --weights y"}]}
    assert make_tables.keep(tmp_path / "out", changed, tmp_path / "other") == 0
    made, stale = make_tables.filled(
        "zero_shot", changed["zero_shot"], make_tables.hashes_of(changed), tmp_path / "kept"
    )
    assert made[0]["status"] == "not run" and len(stale) == 1


def test_rows_with_the_same_training_share_it_and_another_seed_does_not():
    one, other = trained("one"), trained("other", score="hparams/urbansound8k.yaml")
    planner = tasks.Planner({"one": one, "other": other})
    scores = [planner.score("one", "1"), planner.score("other", "1"), planner.score("one", "2")]
    kinds = [task.kind for task in planner.in_order(scores)]
    assert kinds == ["train", "score", "score", "train", "score"]


def test_a_score_knows_by_its_hash_that_its_training_has_changed():
    hashes = {
        tasks.Planner({"R": trained(overrides=words)}).score("R", "1").hash for words in ("--alpha 1.5", "--alpha 2.0")
    }
    assert len(hashes) == 2


def test_placeholders_become_folders_and_yaml_maps_pass_through(tmp_path):
    row = trained(
        overrides="--teacher_options '{space: sentence}' --esc50_folder {esc50} "
        "--target_cache {target_cache:s} --x {seed}",
        rank="--weights {run}", prune="{run} --ranking {ranking} --dim 8", score_overrides="--weights {pruned}",
    )  # fmt: skip
    planner = tasks.Planner({"R": row})
    train, rank, prune, score = planner.in_order([planner.score("R", "7")])
    run, ranking, pruned = (f"{tmp_path}/{task.folders[0]}" for task in (train, rank, prune))
    command = train.command(tmp_path, {"ESC50_FOLDER": "/corpora/ESC"})
    assert command[2:10] == [
        *("--teacher_options", "{space: sentence}", "--esc50_folder", "/corpora/ESC"),
        *("--target_cache", f"{tmp_path}/target_caches/s", "--x", "7"),
    ]
    assert command[10:] == ["--seed", "7", "--output_folder", run, "--noprogressbar"]
    words = ["prune.py", run, "--ranking", ranking, "--dim", "8", "--target", f"{pruned}/student"]
    assert prune.command(tmp_path, {}) == words
    assert score.command(tmp_path, {})[3] == f"{pruned}/student"
    assert tasks.missing_for(score, {}) == ["ESC50_FOLDER"]


def test_a_row_can_name_the_seed_of_what_it_builds_on():
    rows = {"T": trained("T", seeds="1"), "R": trained(overrides="--teacher_weights {run:T@1} --x {run:T}")}
    planner = tasks.Planner(rows)
    train = planner.score("R", "2").needs["{run}"]
    assert {place: need.seed for place, need in train.needs.items()} == {"{run:T@1}": "1", "{run:T}": "2"}


def run_folder(folder, **overrides):
    """A finished run as train.py leaves it."""
    (folder / "student").mkdir(parents=True)
    (folder / "student" / "config.json").write_text("{}")
    (folder / "run.json").write_text(json.dumps({"recipe": "distill_phinet.yaml", "overrides": overrides}))
    return folder


def test_a_run_made_by_hand_is_adopted_only_with_the_rows_own_options_and_seed(tmp_path):
    row = trained(overrides="--alpha 0.5 --terms '{distill: {weight: 1.0}}' --esc50_folder {esc50}")
    task = tasks.Planner({"R": row}).score("R", "7").needs["{run}"]
    mine = {"alpha": "0.5", "terms": "{distill: {weight: 1.0}}", "esc50_folder": "/somewhere"}  # as typed
    mine |= {"output_folder": "/x", "seed": "7"}
    right = run_folder(tmp_path / "right", **mine)
    adopt.adopt(task, right, tmp_path / "out")
    assert task.is_done(tmp_path / "out") and (tmp_path / "out" / task.folders[0] / "student/config.json").is_file()
    with pytest.raises(ConfigError, match=r"--alpha: 0.7, where the row says 0.5; --beta: 1, .*; seed 8, not 7"):
        adopt.adopt(
            task, run_folder(tmp_path / "wrong", **{**mine, "alpha": "0.7", "beta": "1", "seed": "8"}), tmp_path / "out"
        )
    (right / "student" / "config.json").unlink()
    with pytest.raises(ConfigError, match="has not finished"):
        adopt.adopt(task, right, tmp_path / "other")


def test_a_row_that_needs_itself_or_a_stranger_is_refused():
    with pytest.raises(ConfigError, match="needs itself"):
        tasks.Planner({"R": trained(overrides="--stage1_run {run:R}")}).score("R", "1")
    with pytest.raises(ConfigError, match="Z, which is in no table"):
        tasks.Planner({"R": row_of(score_overrides="--weights {run:Z}")}).score("R", "1")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"paper_value": "0.5", "group": "paper"}, "needs its paper_source"),
        ({"paper_value": "0.5", "paper_source": "x", "tolerance": "0.1"}, "only rows of the group paper"),
        ({"seeds": "1234,1235"}, "write numbers"),
        ({"hparams": "hparams/esc50.yaml", "seeds": "-"}, "it trains"),
        ({"group": "reel"}, "group is 'reel'"),
    ],
)
def test_a_row_that_breaks_the_rules_is_refused_in_words(more, says):
    assert any(says in text for text in table_rows.problems_of(row_of(**more)))
    assert table_rows.problems_of(row_of()) == []


def test_rows_are_chosen_by_group_id_and_pattern_and_strangers_are_named():
    rows = TABLES["zero_shot"]
    assert [row["row_id"] for row in table_rows.select(rows, ["A0_*"])] == ["A0_esc50", "A0_urbansound8k", "A0_tut17"]
    assert {row["group"] for row in table_rows.select(rows, ["real"])} == {"real"}
    with pytest.raises(ConfigError, match="Q9"):
        table_rows.select(rows, ["A0_esc50", "Q9"])


def test_a_cell_shows_seeds_and_clips_apart_and_the_verdict():
    row = row_of(paper_value="0.56", tolerance="0.1", **make_tables.ours(
        {**row_of(), "paper_value": "0.56", "tolerance": "0.1"}, [record_of(0.5), record_of(0.6)]
    ) | {"group": "paper"})  # fmt: skip
    assert table_pages.shown(row) == "0.550 ± 0.071 (2) [0.400, 0.600] reproduced"
    assert table_pages.shown(row_of()) == ""


def test_what_trains_nothing_is_one_task_for_all_seeds_of_the_rows_that_ask_for_it():
    teacher = row_of(row_id="T", seeds="-", rank="--weights x", score_overrides="--weights x")
    student = trained(overrides="--nested_order {ranking:T}")
    planner = tasks.Planner({"T": teacher, "R": student})
    first, second = (planner.in_order([planner.score("R", seed)]) for seed in ("1", "2"))
    ranks = {task.hash for task in (*first, *second) if task.kind == "rank"}
    assert len(ranks) == 1 and first[-1].hash != second[-1].hash
