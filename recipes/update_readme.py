#!/usr/bin/env python3
"""Write the result tables of the pages from the result files that are kept in the repository.

    python recipes/update_readme.py            rewrite the blocks between <!-- table:NAME --> and <!-- end -->
    python recipes/update_readme.py --check    say whether they are up to date; changes nothing
    python recipes/update_readme.py --keep results/real_audio
                                               first take over the scores and the plot of a finished recipe;
                                               so --keep_captions results/captioner/real_audio,
                                               --keep_ladder results/captioner/ladder,
                                               --keep_cached_views results/real_audio/cached_views,
                                               --keep_loss_sweep results/real_audio/loss_sweep,
                                               --keep_protocol results/protocol and
                                               --keep_benchmarks results/benchmarks

The rows of recipes/tables are taken over by recipes/tables/make_tables.py --keep, which also runs this script.

The numbers come from files under recipes/<recipe>/results/, which programs wrote; none is typed.
"""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import caption_report
import compare
import prompt_study

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parent / "tables"))

import leaks
import pruning_exactness
import table_pages
from captioning import ladder_report
from real_audio import cached_views_report
from report import read_row, table_rows
from rows import TABLES, read_table
from use_pages import USE_PAGES

from benchmarks import report as bench_report

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks" / "results"
RESULTS = ROOT / "recipes" / "real_audio" / "results"
CAPTIONS = RESULTS / "captioning"
LADDER = ROOT / "recipes" / "captioning" / "results"
CAPTIONERS = {
    "teacher": "captioner from text alone",
    "mn04": "student: mn04, begins as the tagger",
    "phinet": "student: PhiNet, from scratch",
}
FACTS = ("target_cache_killed",)
LOSS_SWEEP = ("loss_sweep.jsonl", "loss_sweep.md")
CAPTION_CORPORA = ("audiocaps", "clotho")
TABLE_RESULTS = ROOT / "recipes" / "tables" / "results"
# The folder of a corpus → its name in rows, and the table that has them.
CORPORA = {
    "ESC50": ("esc50", "zero_shot"),
    "UrbanSound8k": ("urbansound8k", "zero_shot"),
    "TUT17": ("tut17", "zero_shot"),
    "Clotho": ("clotho", "captioning"),
    "AudioCaps": ("audiocaps", "captioning"),
}
PROTOCOL_PAGE = "recipes/tables/protocol.md"
RESULTS_PAGE, RECIPES_PAGE = "docs/results.md", "docs/recipes.md"
DIMENSIONS_PAGE, COMPARISONS_PAGE = "docs/dimensions.md", "docs/comparisons.md"
LATENCY = ROOT / "tinyclap" / "shipped_models" / "tinyclap-phinet-m" / "latency.json"
# What recipes/tables/protocol.sh writes → what is kept of it.
PROTOCOL = {
    "leaks/leaks.json": "leaks_real_audio.json",
    "leaks/exclusion.json": "leaks_score.json",
    "prompts/prompt_study.json": "prompt_study.json",
    "compare/compare.json": "compare.json",
}
FIGURES = ROOT / "recipes" / "tables" / "figures"
FOLDS = ("esc50_fold5", "urbansound8k_fold2")
# The block's name → its rows: label in the table, folder of the model, its scores.
BLOCKS = {
    "real_audio_teacher": [("tagger teacher (mn04 + MiniLM)", "teacher", ("esc50", "urbansound8k"))],
    "headline": [
        ("the teacher: mn04 tagger + MiniLM", "teacher", FOLDS),
        ("`tinyclap-phinet-m`, its student, shipped here", "phinet_m", FOLDS),
    ],
    "real_audio": [
        ("teacher: mn04 tagger", "teacher", FOLDS),
        ("PhiNet L, from scratch", "phinet_l", FOLDS),
        ("PhiNet M, from scratch", "phinet_m", FOLDS),
        ("PhiNet S, from scratch", "phinet_s", FOLDS),
        ("mn04 trunk, hop doubled, 90 % of channels", "trunk_90", FOLDS),
    ],
}


def take(source, target):
    """Copy a metrics.json without paths of this machine."""
    metrics = json.loads(source.read_text(encoding="utf-8"))
    weights = Path(metrics["model"]["weights"])
    metrics["model"]["weights"] = weights.name if weights.is_absolute() else weights.as_posix()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(metrics, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def keep(output):
    """Copy the scores that the zero-shot blocks need, and the plot."""
    for rows in BLOCKS.values():
        for _, model, corpora in rows:
            for corpus in corpora:
                place = Path(model) / corpus / "metrics.json"
                take(output / "scores" / place, RESULTS / place)
    shutil.copy(output / "report" / "accuracy.png", RESULTS / "accuracy.png")


def keep_captions(output):
    """Copy the captioners' scores, what they said of every clip, and the page to read."""
    for name in CAPTIONERS:
        for corpus in CAPTION_CORPORA:
            source, target = output / "scores" / name / corpus, CAPTIONS / name / corpus
            take(source / "metrics.json", target / "metrics.json")
            shutil.copy(source / "predictions.csv", target / "predictions.csv")
    shutil.copy(output / "report" / "side_by_side.md", CAPTIONS / "side_by_side.md")


def keep_ladder(output):
    """Copy the ladder's table and plot."""
    LADDER.mkdir(parents=True, exist_ok=True)
    for name in ("ladder.csv", "ladder.png"):
        shutil.copy(output / name, LADDER / name)


def keep_benchmarks(output):
    """Copy the newest records of every benchmark, one a line."""
    BENCHMARKS.mkdir(parents=True, exist_ok=True)
    records = bench_report.read_records(output)
    for name in dict.fromkeys(record["benchmark"] for record in records):
        lines = [json.dumps(record, ensure_ascii=False) for record in records if record["benchmark"] == name]
        (BENCHMARKS / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name in FACTS:
        if (output / f"{name}.jsonl").exists():
            shutil.copy(output / f"{name}.jsonl", BENCHMARKS)
    bench_report.plot(bench_report.read_records(BENCHMARKS), BENCHMARKS / "ratios.png")


def keep_cached_views(output):
    """Copy the table of the runs with cached views."""
    shutil.copy(output / "cached_views.csv", RESULTS / "cached_views.csv")


def keep_loss_sweep(output):
    """Copy the runs and the table of the losses."""
    for name in LOSS_SWEEP:
        shutil.copy(output / name, RESULTS / name)


def keep_protocol(output):
    """Copy what recipes/tables/protocol.sh found."""
    for place, name in PROTOCOL.items():
        shutil.copy(output / place, TABLE_RESULTS / name)


def cached_views():
    """The Markdown of the runs with cached views."""
    return cached_views_report.markdown(cached_views_report.read_table(RESULTS / "cached_views.csv"))


def benchmark(name):
    """The Markdown of one benchmark."""
    return bench_report.tables(bench_report.read_records(BENCHMARKS))[name]


def ladder_speed():
    """The captioner's rows that the captioning page shows."""
    return bench_report.summary(bench_report.read_records(BENCHMARKS), ["captioner"])


def speed():
    """The ratios that the page of results shows."""
    return bench_report.summary(bench_report.read_records(BENCHMARKS))


def captions():
    """The Markdown of the captioners' table."""
    folders = {name: [str(CAPTIONS / name / corpus) for corpus in CAPTION_CORPORA] for name in CAPTIONERS}
    rows = [caption_report.read_row(f"{label}={','.join(folders[name])}") for name, label in CAPTIONERS.items()]
    return caption_report.markdown(rows)


def ladder():
    """The Markdown of the ladder."""
    return ladder_report.markdown(ladder_report.read_table(LADDER / "ladder.csv"))


def tables_status():
    """How far every table of the papers is."""
    return table_pages.counts({name: read_table(name) for name in TABLES})


def table_page(name):
    """Where one of the papers' tables stands."""
    return f"recipes/tables/{name}.md"


def real_rows():
    """The rows of the papers' tables that have run on real audio."""
    return table_pages.only_run(read_table("zero_shot"), "real")


def figure(name, page):
    """A figure of the papers' tables with what it says under it; a word where it has not been drawn."""
    caption = FIGURES / f"{name}.md"
    if not caption.is_file():
        return "Not drawn yet: `python recipes/figures.py`."
    place = os.path.relpath(FIGURES / f"{name}.png", (ROOT / page).parent)
    return f"![{name}]({Path(place).as_posix()})\n\n{caption.read_text(encoding='utf-8').strip()}"


def kept_of(name):
    """A kept result of the protocol."""
    return json.loads((TABLE_RESULTS / name).read_text(encoding="utf-8"))


def compared():
    """The comparison of two students."""
    content = kept_of("compare.json")
    return compare.page(content, content["labels"])


def exactness():
    """How exact the removal of dimensions is."""
    return pruning_exactness.markdown(pruning_exactness.read(TABLE_RESULTS / "pruning_exactness.csv"))


def table(name):
    """The Markdown of one block."""
    rows = [
        read_row(f"{label}={','.join(str(RESULTS / model / corpus) for corpus in corpora)}")
        for label, model, corpora in BLOCKS[name]
    ]
    lines = table_rows(rows)
    rule = "|" + "---|" * len(lines[0])
    return "\n".join(
        ["| " + " | ".join(lines[0]) + " |", rule, *("| " + " | ".join(line) + " |" for line in lines[1:])]
    )


def headline():
    """Teacher and shipped student, and how long a clip takes."""
    measured = json.loads(LATENCY.read_text(encoding="utf-8"))
    wanted = {"engine": "onnxruntime", "precision": "fp32", "n_threads": 1}
    took = next(row["median_ms"] for row in measured["rows"] if wanted.items() <= row.items())
    of = f"{measured['clip_s']:g} s from waveform to embedding"
    return f"{table('headline')}\n\nThe student on one thread of {measured['machine']}: {took:.1f} ms for {of}."


# The block's name → the page that it stands in, and what writes it.
PAGES = {
    **USE_PAGES,
    **{name: (RESULTS_PAGE, lambda name=name: table(name)) for name in BLOCKS if name != "headline"},
    "headline": ("README.md", headline),
    "captions": (RESULTS_PAGE, captions),
    "ladder": ("recipes/captioning/README.md", ladder),
    "captioner_speed": ("recipes/captioning/README.md", ladder_speed),
    "cached_views": (RECIPES_PAGE, cached_views),
    "loss_sweep": (RECIPES_PAGE, lambda: (RESULTS / "loss_sweep.md").read_text(encoding="utf-8").rstrip()),
    "speed": (RESULTS_PAGE, speed),
    "tables_status": (RESULTS_PAGE, tables_status),
    "tables_real": (RESULTS_PAGE, real_rows),
    "figure_fig2a_pruning": (DIMENSIONS_PAGE, lambda: figure("fig2a_pruning", DIMENSIONS_PAGE)),
    "figure_fig2b_complexity": (RESULTS_PAGE, lambda: figure("fig2b_complexity", RESULTS_PAGE)),
    "figure_captioning_size_quality": (
        table_page("captioning"),
        lambda: figure("captioning_size_quality", table_page("captioning")),
    ),
    **{
        f"corpus_{corpus}": (
            f"recipes/{folder}/README.md",
            lambda corpus=corpus, name=name: table_pages.of_corpus(read_table(name), corpus),
        )
        for folder, (corpus, name) in CORPORA.items()
    },
    "leaks": (COMPARISONS_PAGE, lambda: leaks.report_table(kept_of("leaks.json"))),
    "leaks_real": (PROTOCOL_PAGE, lambda: leaks.report_table(kept_of("leaks_real_audio.json"))),
    "leaks_score": (PROTOCOL_PAGE, lambda: leaks.exclusion_table(kept_of("leaks_score.json"))),
    "prompt_study": (PROTOCOL_PAGE, lambda: prompt_study.page(kept_of("prompt_study.json")["rows"]).strip()),
    "compare": (PROTOCOL_PAGE, compared),
    "pruning_exactness": (table_page("pruning"), exactness),
    **{f"tables_{name}": (table_page(name), lambda name=name: table_pages.table(read_table(name))) for name in TABLES},
    **{
        f"bench_{name}": ("benchmarks/README.md", lambda name=name: benchmark(name))
        for name in ("front_end", "audio_input", "student", "training_step", "teacher", "target_cache", "captioner")
    },
    **{
        f"bench_{name}": ("benchmarks/README.md", lambda name=name: bench_report.facts(BENCHMARKS / f"{name}.jsonl"))
        for name in FACTS
    },
}
KEEPERS = {
    "--keep": keep,
    "--keep_captions": keep_captions,
    "--keep_ladder": keep_ladder,
    "--keep_benchmarks": keep_benchmarks,
    "--keep_cached_views": keep_cached_views,
    "--keep_loss_sweep": keep_loss_sweep,
    "--keep_protocol": keep_protocol,
}


def updated(page, text):
    """A page's text with every block of it written anew."""
    for name, (of_page, write) in PAGES.items():
        if of_page == page:
            pattern = re.compile(rf"(<!-- table:{name} -->\n).*?(<!-- end -->)", re.DOTALL)
            if not pattern.search(text):
                sys.exit(f"{page} has no block <!-- table:{name} --> … <!-- end -->")
            text = pattern.sub(lambda found, write=write: f"{found[1]}{write()}\n{found[2]}", text)
    return text


def main(words):
    """Rewrite or check; returns the exit status."""
    for option, keeper in KEEPERS.items():
        if option in words:
            keeper(Path(words[words.index(option) + 1]))
    stale = []
    for page in dict.fromkeys(page for page, _ in PAGES.values()):
        before = (ROOT / page).read_text(encoding="utf-8")
        after = updated(page, before)
        if before != after:
            stale.append(page)
            if "--check" not in words:
                (ROOT / page).write_text(after, encoding="utf-8")
    if stale and "--check" in words:
        print(f"{', '.join(stale)}: not what the result files say; run: python recipes/update_readme.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
