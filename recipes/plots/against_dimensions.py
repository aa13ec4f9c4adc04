"""Draw accuracy against kept dimensions, the paper's figure 2a."""

from plots.against_size import panel_title
from plots.style import PALETTE, WIDTH_IN, looks

from tinyclap.pruning.curves import METHODS

METHOD_LABELS = {
    "plain": "mean |activation| (the paper's)",
    "variance": "variance",
    "random": "random",
    "pca": "PCA",
    "whitening": "PCA, whitened",
    "nested": "nested training: the first ones",
}
METHOD_COLOURS = dict(
    zip(METHODS, (PALETTE[0], PALETTE[4], "#8A8A8A", PALETTE[1], PALETTE[3], PALETTE[2]), strict=True)
)
MOST_ROWS = 4
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def draw_curve(axes, curve, band=True, seeds=True, **look):
    """One curve, its band over clips, and bars over seeds."""
    shares = [100 * kept / curve.n_dims for kept in curve.points]
    scores = list(curve.points.values())
    axes.plot(shares, [100 * score.mean for score in scores], marker="o", markersize=2.2, linewidth=1.4, **look)
    if band and all(score.clips for score in scores):
        bounds = [[100 * score.clips[side] for score in scores] for side in (0, 1)]
        axes.fill_between(shares, *bounds, color=look["color"], alpha=0.13, linewidth=0)
    halves = [score.seeds_half for score in scores]
    if seeds and None not in halves:
        axes.errorbar(
            shares, [100 * score.mean for score in scores], [100 * half for half in halves],
            fmt="none", ecolor=look["color"], elinewidth=2, alpha=0.4,
        )  # fmt: skip


def draw_pruning(pyplot, curves, benchmarks):
    """Figure 2a: a column a benchmark and their mean; first all models by the paper's ranking, then a row a model.

    Arguments
    ---------
    pyplot : module
    curves : list of Curve
        With the mean curves, of benchmark ``mean``.
    benchmarks : list of str

    Returns
    -------
    matplotlib.figure.Figure
    """
    columns = [*benchmarks, "mean"] if len(benchmarks) > 1 else list(benchmarks)
    models = list(dict.fromkeys(curve.model for curve in curves))
    main = {model: main_methods(curves, model) for model in models}
    compared = own_rows(curves)
    n_rows = 1 + len(compared)
    figure, grid = pyplot.subplots(
        n_rows, len(columns), figsize=(WIDTH_IN, 1.3 + 2.35 * n_rows), sharex=True, sharey=True, squeeze=False
    )
    style = looks(models)
    scores = [score for curve in curves for score in curve.points.values()]
    for axes, benchmark in zip(grid[0], columns, strict=True):
        axes.set_title(panel_title(benchmark, benchmarks, scores, "{}"))
        for curve in curves:
            if curve.benchmark == benchmark and curve.method in main[curve.model]:
                line = "--" if curve.method == "nested" else "-"
                nested = ", first ones" if curve.method == "nested" else ""
                label = f"{curve.model} ({curve.n_dims}){nested}"
                draw_curve(axes, curve, color=style[curve.model]["color"], linestyle=line, label=label)
    for row, model in zip(grid[1:], compared, strict=True):
        for axes, benchmark in zip(row, columns, strict=True):
            for curve in curves:
                if curve.benchmark == benchmark and curve.model == model:
                    colour, label = METHOD_COLOURS[curve.method], METHOD_LABELS[curve.method]
                    draw_curve(axes, curve, band=False, seeds=False, color=colour, label=label)
        row[-1].annotate(model, (1.02, 0.5), xycoords="axes fraction", rotation=270, va="center", ha="left", fontsize=9)
    finish(figure, grid)
    return figure


def own_rows(curves):
    """Models with several methods, which get a row of their own: at most `MOST_ROWS`, those with the most methods."""
    methods = {}
    for curve in curves:
        methods.setdefault(curve.model, set()).add(curve.method)
    several = [model for model, some in methods.items() if len(some) > 1]
    most = sorted(several, key=lambda model: -len(methods[model]))[:MOST_ROWS]
    return [model for model in several if model in most]


def main_methods(curves, model):
    """The methods of a model in the first row: the paper's, and nested training's where there is one."""
    have = [curve.method for curve in curves if curve.model == model]
    return [method for method in ("plain", "nested") if method in have] or have[:1]


def finish(figure, grid):
    """Kept shares on a logarithmic axis, accuracies from zero, and a legend for each kind of row."""
    axes = grid[0][0]
    axes.set_xscale("log")
    shown = [tick for tick in TICKS if tick >= 0.98 * min(min(line.get_xdata()) for line in axes.lines)]
    axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
    axes.set_ylim(0, 102)
    for place in grid.flat:
        place.minorticks_off()
    for place in grid[-1]:
        place.set_xlabel("dimensions kept, % of all")
    for row in grid:
        row[0].set_ylabel("top-1 accuracy, %")
    models = handles_of(grid[0])
    if len(grid) == 1:
        figure.legend(models.values(), models, loc="outside lower center", ncols=3, title="models (dimensions)")
        return
    methods = handles_of(grid[1:].flat)
    figure.legend(models.values(), models, loc="outside lower left", ncols=1, title="first row: models (dimensions)")
    figure.legend(
        methods.values(), methods, loc="outside lower right", ncols=2, title="other rows: how the dimensions are chosen"
    )


def handles_of(panels):
    """Entries of a legend, by label, each once."""
    entries = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    return entries
