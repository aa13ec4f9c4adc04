"""How the figures look: fonts, colours, files that come out the same every time, and names that do not overlap.

White cards with dark text: as readable in print as on a dark page.
"""

import os
from contextlib import contextmanager

from report import COLOURS

# black, grey and violet after Okabe & Ito's six
PALETTE = (*COLOURS, "#000000", "#7F7F7F", "#6A3D9A")
MARKERS = "osD^vPX"
WIDTH_IN = 9.0
DPI = 160
RC = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "errorbar.capsize": 0,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.constrained_layout.h_pad": 0.06,
    # outlines of letters, and the same ids in every file: no font of the reader's machine, no chance
    "svg.fonttype": "path",
    "svg.hashsalt": "tinyclap",
}
NAME_SIZE = 8


def looks(names):
    """Colour and marker of each model: colours first, then other markers."""
    return {
        name: {"color": PALETTE[index % len(PALETTE)], "marker": MARKERS[index // len(PALETTE) % len(MARKERS)]}
        for index, name in enumerate(names)
    }


@contextmanager
def styled():
    """pyplot without a screen, in the style of the figures.

    Returns
    -------
    module
        ``matplotlib.pyplot``, whose figures are closed at the end.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context(RC):
        try:
            yield pyplot
        finally:
            pyplot.close("all")


def save(figure, folder, name):
    """Write ``name.png`` and ``name.svg``, each whole or not at all, without a date or a program's version.

    Arguments
    ---------
    figure : matplotlib.figure.Figure
    folder : pathlib.Path
        Made if missing.
    name : str
        Without suffix.

    Returns
    -------
    list of pathlib.Path
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        path = folder / f"{name}.{suffix}"
        unfinished = folder / f".{name}.{suffix}"
        figure.savefig(unfinished, format=suffix, dpi=DPI, facecolor="white", metadata=metadata)
        os.replace(unfinished, path)
        written.append(path)
    return written


def places_round(x, y, width, height, reach):
    """Lower left corners of a box beside a point, the best place first.

    Arguments
    ---------
    x, y, width, height, reach : float
        Pixels; ``reach`` is the distance between point and box.

    Returns
    -------
    list of tuple
    """
    corners = []
    for step in (1.0, 2.2, 3.6, 5.2):
        gap = reach * step
        right, left, middle = x + gap, x - gap - width, x - width / 2
        above, below, level = y + gap, y - gap - height, y - height / 2
        corners += [(right, level), (left, level), (middle, above), (middle, below)]
        corners += [(right, above), (right, below), (left, above), (left, below)]
    return corners


def overlap(one, other):
    """Area that two boxes (x0, y0, x1, y1) share."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    up = min(one[3], other[3]) - max(one[1], other[1])
    return max(across, 0) * max(up, 0)


def write_names(axes, named, taken=(), dot_in=0.09):
    """Write names beside their points where they hide nothing: not each other, not a point, not a bar.

    The place that hides least is taken when none is free. A name far from its point gets a thin line to it.

    Arguments
    ---------
    axes : matplotlib.axes.Axes
        Its layout must be settled: call ``figure.draw_without_rendering()`` and switch the layout engine off before.
    named : list of tuple
        (x, y, name, colour), x and y in the axes' units.
    taken : list of tuple
        Further boxes to spare: (x, y low, y high) of bars, in the axes' units.
    dot_in : float
        Half the width of a marker, inches.

    Returns
    -------
    list of matplotlib.text.Annotation
    """
    renderer = axes.figure.canvas.get_renderer()
    pixels = axes.transData.transform
    dot, bar = (part * axes.figure.dpi for part in (dot_in, 0.03))
    frame = axes.get_window_extent(renderer)
    boxes = []
    everything = [(*box, bar, 0) for box in taken] + [(x, y, y, dot, dot) for x, y, _, _ in named]
    for x, low, high, aside, beyond in everything:
        (left, bottom), (_, top) = pixels((x, low)), pixels((x, high))
        boxes.append((left - aside, bottom - beyond, left + aside, top + beyond))
    # a line to a name must not move the axes
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    written = []
    for x, y, name, colour in sorted(named, key=lambda entry: (-entry[1], entry[0])):
        text = axes.annotate(name, (x, y), fontsize=NAME_SIZE, color=colour, annotation_clip=False)
        extent = text.get_window_extent(renderer)
        width, height = extent.width, extent.height

        def hidden(corner, width=width, height=height):
            box = (corner[0], corner[1], corner[0] + width, corner[1] + height)
            outside = width * height - overlap(box, (frame.x0, frame.y0, frame.x1, frame.y1))
            # rounded: places that hide nothing are all as good, and then the first is taken
            return round(sum(overlap(box, other) for other in boxes) + 3 * outside)

        point = pixels((x, y))
        corners = places_round(*point, width, height, dot + bar)
        best = min(corners, key=hidden)
        boxes.append((best[0], best[1], best[0] + width, best[1] + height))
        text.set_position(axes.transData.inverted().transform(best))
        if corners.index(best) >= 8:
            _lead(axes, point, (best[0] + width / 2, best[1] + height / 2), colour)
        written.append(text)
    return written


def _lead(axes, start, end, colour):
    """A thin line between two places in pixels."""
    back = axes.transData.inverted().transform
    (x0, y0), (x1, y1) = back(start), back(end)
    axes.plot([x0, x1], [y0, y1], color=colour, linewidth=0.5, alpha=0.6, zorder=1)


def settle(figure):
    """Fix the layout, so that names can be placed by pixels."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
