"""Draw what stands against size: the accuracy of models (the paper's figure 2b) and the quality of captions."""

from textwrap import fill

from plots.captions import CORPORA
from plots.scores import title_of
from plots.style import PALETTE, WIDTH_IN, looks, settle, write_names

SIZES = {"n_parameters": "parameters of the audio tower", "n_macs": "multiply–accumulates of a 5 s clip"}
SHORT = {1e3: " k", 1e6: " M", 1e9: " G"}
PUBLISHED = "#333333"
SOFT = "#555555"
# points of nearly one size stand this factor apart
SIDE_STEP = 1.13
BELOW = {"loc": "upper center", "bbox_to_anchor": (0.45, -0.19)}


def in_words(value, _=None):
    """A size on an axis.

    Example
    -------
    >>> in_words(100000), in_words(4e6), in_words(1e10)
    ('100 k', '4 M', '10 G')
    """
    unit = max((unit for unit in SHORT if unit <= value), default=1)
    return f"{value / unit:.3g}{SHORT.get(unit, '')}"


def round_sizes(low, high):
    """Round numbers of an axis: powers of ten, or more where these are fewer than three.

    Example
    -------
    >>> [f"{size:g}" for size in round_sizes(5e4, 2e8)], [f"{size:g}" for size in round_sizes(2.5e6, 6e6)]
    (['100000', '1e+06', '1e+07', '1e+08'], ['3e+06', '4e+06', '5e+06', '6e+06'])
    """
    for leading in ((1,), (1, 2, 5), (1, 2, 3, 5, 7), tuple(range(1, 10))):
        every = [digit * 10**power for power in range(13) for digit in leading]
        sizes = [size for size in every if low <= size <= high]
        if len(sizes) >= 3:
            break
    return sizes


def size_axis(axes, label):
    """A logarithmic axis of sizes, written in words."""
    from matplotlib.ticker import FixedLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(round_sizes(*axes.get_xlim())))
    axes.xaxis.set_major_formatter(in_words)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)


def low_edge(scores):
    """The lower end of an axis of accuracies in %, a multiple of ten below all that is drawn."""
    lowest = min(min((score.mean, *score.clips)) for score in scores)
    return max(10 * int((100 * lowest - 1) // 10), 0)


def draw_point(axes, x, score, scale=100, **look):
    """One model: a marker, a thin bar with caps over clips, a thick one over seeds.

    Returns
    -------
    tuple
        (x, lowest, highest) of what was drawn.
    """
    y, colour = scale * score.mean, look["color"]
    low = high = y
    if score.clips:
        low, high = (scale * bound for bound in score.clips)
        axes.errorbar(x, y, [[y - low], [high - y]], fmt="none", ecolor=colour, elinewidth=0.8, capsize=2.5, zorder=2)
    if score.seeds_half is not None:
        half = scale * score.seeds_half
        axes.errorbar(x, y, half, fmt="none", ecolor=colour, elinewidth=3.2, alpha=0.55, zorder=2.5)
        low, high = min(low, y - half), max(high, y + half)
    axes.plot(x, y, linestyle="none", zorder=3, **look)
    return x, low, high


def bar_legend(scores):
    """What the bars of some scores mean, as entries of a legend."""
    from matplotlib.lines import Line2D

    clips = Line2D([], [], color=SOFT, linewidth=0.8, marker="|", markersize=6, label="95 % interval over clips")
    if all(score.seeds_half is None for score in scores):
        return [clips]
    return [Line2D([], [], color=SOFT, linewidth=3.2, alpha=0.55, label="95 % interval over seeds"), clips]


def draw_complexity(pyplot, ours, published, benchmarks):
    """Figure 2b: a row a benchmark and one for their mean, a column for parameters and one for MACs.

    Arguments
    ---------
    pyplot : module
    ours, published : list of Score
        With the means over ``benchmarks`` among them, of benchmark ``mean``.
    benchmarks : list of str

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.lines import Line2D

    panels = [*benchmarks, "mean"] if len(benchmarks) > 1 else list(benchmarks)
    figure, grid = pyplot.subplots(
        len(panels), len(SIZES), figsize=(WIDTH_IN, 1.6 + 2.5 * len(panels)), sharex="col", sharey=True, squeeze=False
    )
    style = looks(dict.fromkeys(score.model for score in ours))
    later = []
    for row, benchmark in zip(grid, panels, strict=True):
        row[0].set_ylabel("zero-shot top-1 accuracy, %")
        for axes, size in zip(row, SIZES, strict=True):
            shown = [score for score in ours if score.benchmark == benchmark and getattr(score, size)]
            bars = [
                draw_point(axes, x, score, **look_of(score, style))
                for x, score in side_by_side([(getattr(score, size), score) for score in shown], SIDE_STEP)
            ]
            named = [point for score in published for point in draw_published(axes, score, benchmark, size)]
            later.append((axes, named, bars))
            axes.set_title(panel_title(benchmark, benchmarks, ours), fontsize=9)
            axes.margins(x=0.06)
    for axes, size_label in zip(grid[-1], SIZES.values(), strict=True):
        size_axis(axes, size_label)
    grid[0][0].set_ylim(low_edge([*ours, *(one for one in published if one.benchmark in panels)]), 101)
    each = {score.model: score for score in ours}
    entries = [Line2D([], [], linestyle="none", label=name, **look_of(score, style)) for name, score in each.items()]
    entries += [
        Line2D([], [], linestyle="none", label=f"{name}, published, whole corpora", **published_look(teaches))
        for name, teaches in {score.model: score.is_teacher for score in published}.items()
    ]
    figure.legend(handles=[*entries, *bar_legend(ours)], loc="outside lower center", ncols=2)
    settle(figure)
    for axes, named, bars in later:
        write_names(axes, named, bars)
    return figure


def draw_published(axes, score, benchmark, size):
    """A star for the published student, a hollow diamond for its teacher; returns what is to be named."""
    if score.benchmark != benchmark or not getattr(score, size):
        return []
    x, y = getattr(score, size), 100 * score.mean
    axes.plot(x, y, linestyle="none", zorder=4, **published_look(score.is_teacher))
    return [(x, y, f"{score.model},\npublished, whole corpus", PUBLISHED)]


def published_look(is_teacher):
    """A star, or a hollow diamond."""
    marker = {"marker": "D", "markersize": 7} if is_teacher else {"marker": "*", "markersize": 14}
    return marker | {"markerfacecolor": "white" if is_teacher else "#F0C808", "markeredgecolor": PUBLISHED}


def look_of(score, style):
    """Marker of one of our models: a diamond for a teacher, hollow where whole corpora were scored."""
    look = style[score.model] | ({"marker": "D", "markersize": 7} if score.is_teacher else {"markersize": 6})
    edge = {"markerfacecolor": "white", "markeredgecolor": look["color"]} if score.origin == "whole" else {}
    return {"markeredgecolor": "white", "markeredgewidth": 0.6} | look | edge


def side_by_side(points, step):
    """Points of one size, moved apart on a logarithmic axis so that their bars can be told apart.

    Arguments
    ---------
    points : list of tuple
        (size, score).
    step : float
        Factor from one place to the next.

    Returns
    -------
    list of tuple

    Example
    -------
    >>> class One:
    ...     mean = 0.5
    >>> [round(x) for x, _ in side_by_side([(100, One), (100, One), (900, One)], 1.21)]
    [91, 110, 900]
    """
    placed, crowds = [], []
    for size, score in sorted(points, key=lambda point: (point[0], point[1].mean)):
        if crowds and size < crowds[-1][0][0] * step:
            crowds[-1].append((size, score))
        else:
            crowds.append([(size, score)])
    for crowd in crowds:
        middle = sum(size for size, _ in crowd) / len(crowd)
        places = range(len(crowd))
        placed += [(middle * step ** (place - (len(crowd) - 1) / 2), crowd[place][1]) for place in places]
    return placed


def panel_title(benchmark, benchmarks, ours, said="ours: {}"):
    """The head of a panel, with the part of the corpus that ours were scored on."""
    if benchmark == "mean":
        return "mean of the " + {2: "two", 3: "three"}.get(len(benchmarks), str(len(benchmarks)))
    scopes = list(dict.fromkeys(score.scope for score in ours if score.benchmark == benchmark and score.scope))
    return title_of(benchmark) + (f" ({said.format('; '.join(scopes))})" if scopes else "")


def draw_captioning(pyplot, ours, published, unknown):
    """Quality of captions against parameters: a panel for each of our corpora, one for what others have published.

    Arguments
    ---------
    pyplot : module
    ours : dict
        Head of a panel to its list of Score, CIDEr-D.
    published : list of Score
        SPIDEr.
    unknown : dict
        Published system whose score is not public to its number of parameters.

    Returns
    -------
    matplotlib.figure.Figure
    """
    n_panels = len(ours) + bool(published)
    figure, (panels,) = pyplot.subplots(
        1, n_panels, figsize=(WIDTH_IN, 5.4), squeeze=False, width_ratios=[1] * len(ours) + [1.7] * bool(published)
    )
    for axes, (head, scores) in zip(panels, ours.items(), strict=False):
        axes.set_title(head)
        draw_our_captions(axes, scores)
    panels[0].set_ylabel("CIDEr-D")
    named = draw_their_captions(panels[-1], published, unknown) if published else []
    for axes in panels:
        size_axis(axes, "parameters")
    everything = [score for some in ours.values() for score in some]
    corpora, _ = panels[-1].get_legend_handles_labels() if published else ([], [])
    handles = [*corpora, *bar_legend(everything)]
    if published:
        panels[-1].legend(handles=handles, **BELOW)
    else:
        figure.legend(handles=handles, loc="outside lower right")
    settle(figure)
    write_names(panels[-1], named, [(size, *panels[-1].get_ylim()) for size in unknown.values()], dot_in=0.05)
    return figure


def draw_our_captions(axes, scores):
    """Ours in one panel, networks of one size side by side, with a legend below."""
    style, bars = looks(dict.fromkeys(score.model for score in scores)), []
    for x, score in side_by_side([(score.n_parameters, score) for score in scores], SIDE_STEP):
        bars.append(draw_point(axes, x, score, 1, label=fill(score.model, 30), **look_of(score, style)))
    axes.set_ylim(0, 1.06 * max(high for _, _, high in bars))
    sizes = [x for x, _, _ in bars]
    axes.set_xlim(min(sizes) / 1.5, max(sizes) * 1.5)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], handletextpad=0.2, **BELOW)


def draw_their_captions(axes, published, unknown):
    """Published SPIDEr: a colour a corpus, the papers' teacher hollow; returns what is to be named."""
    corpora = list(dict.fromkeys(score.benchmark for score in published))
    for colour, corpus in zip(PALETTE, corpora, strict=False):
        axes.plot([], [], "o", markersize=6, color=colour, label=CORPORA.get(corpus, corpus))
        for score in (score for score in published if score.benchmark == corpus):
            look = {"marker": "D", "markerfacecolor": "white"} if score.is_teacher else {"marker": "o"}
            axes.plot(score.n_parameters, score.mean, linestyle="none", markersize=6, color=colour, **look)
    axes.set_title("published\n(whole test parts)")
    axes.set_ylabel("SPIDEr")
    axes.set_ylim(bottom=int(10 * min(score.mean for score in published)) / 10)
    axes.margins(x=0.14, y=0.1)
    for name, size in unknown.items():
        axes.axvline(size, color=SOFT, linestyle=":", linewidth=1.2)
        # Along its line, on the empty side.
        says = f"{name}, {in_words(size)}: not public "
        axes.text(size, sum(axes.get_ylim()) / 2, says, fontsize=8, color=SOFT, rotation=90, va="center", ha="right")
    axes.plot([], [], "D", markersize=6, color=SOFT, markerfacecolor="white", label="the paper's teacher")
    colours = dict(zip(corpora, PALETTE, strict=False))
    return [(one.n_parameters, one.mean, fill(one.model, 14), colours[one.benchmark]) for one in published]
