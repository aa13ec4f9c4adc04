"""The captions of the figures: what is drawn, of how many clips and seeds, and what must not be compared."""

from plots.scores import title_of

CLIPS = "95 % bootstrap intervals over clips (the mean of the seeds' bounds)"
CORPORA = {"audiocaps": "AudioCaps", "clotho": "Clotho", "soundscapes": "synthesised scenes"}


def joined(names):
    """``a``, ``a and b``, ``a, b and c``.

    Example
    -------
    >>> joined(["a", "b", "c"]), joined(["a"])
    ('a, b and c', 'a')
    """
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def counts(scores):
    """``1``, or ``1 to 3``: how many seeds stand behind the scores of students."""
    numbers = sorted({len(score.values) for score in scores})
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def bars(scores):
    """What the bars mean."""
    thin = f"in bars with caps are {CLIPS}"
    if all(score.seeds_half is None for score in scores):
        return f"Th{thin}; one training seed each."
    return (
        f"Thick bars are 95 % intervals over training seeds (Student's t; {counts(scores)} seeds), th{thin}. The two "
        "answer different questions and are not added."
    )


def scopes(scores, benchmarks):
    """What was scored, corpus by corpus."""
    parts = []
    for name in benchmarks:
        said = dict.fromkeys(
            score.scope or f"{score.n_items:,} clips" for score in scores if score.benchmark == name and score.n_items
        )
        parts.append(f"{title_of(name)} ({'; '.join(said)})")
    return joined(parts)


def mean_clause(benchmarks):
    """How the panel of means is made."""
    if len(benchmarks) < 2:
        return ""
    return (
        " The mean is taken seed by seed; its interval over clips adds the half-widths of the independent corpora as "
        "squares and divides by their number."
    )


def pruning(curves, benchmarks, compared):
    """Caption of figure 2a; ``compared`` are the models that have a row of their own."""
    scores = [score for curve in curves for score in curve.points.values()]
    methods = {curve.method for curve in curves}
    text = (
        f"**Zero-shot accuracy against the dimensions that are kept** (the paper's figure 2a) on "
        f"{scopes(scores, benchmarks)}. "
        "First row: dimensions of least mean absolute activation over the training clips are masked on both sides; "
        "where scores are cosines, what is left is normalised again."
    )
    if "nested" in methods:
        text += " Dashed: a student trained with nested losses, of which the first dimensions are kept."
    if compared:
        text += (
            f" Other rows: other ways to choose the dimensions, without bands, of {joined(compared)}; PCA and "
            "whitening turn both towers."
        )
    if "random" in methods:
        text += " Random: the mean over orders drawn with fixed seeds."
    spread = (
        f"; bars are 95 % intervals over training seeds (Student's t; {counts(scores)} seeds)"
        if any(score.seeds_half is not None for score in scores)
        else ""
    )
    return text + f" Bands are {CLIPS}{spread}." + mean_clause(benchmarks)


def complexity(ours, published, benchmarks):
    """Caption of figure 2b."""
    parts = any(score.origin == "part" for score in ours)
    text = (
        "**Zero-shot accuracy against parameters and multiply–accumulates of the audio tower** (the paper's figure "
        f"2b): {scopes(ours, benchmarks)}. Diamonds are teachers; models of nearly one size stand side by side. "
        f"{bars(ours)}"
    )
    if any(score.origin == "whole" for score in ours):
        text += " Hollow: ours on whole corpora."
    stars = {}
    for score in published:
        stars.setdefault(score.model, []).append(f"{100 * score.mean:g} % on {title_of(score.benchmark)}")
    if stars:
        text += (
            " Published, on whole corpora: " + "; ".join(f"{name} {joined(said)}" for name, said in stars.items()) + "."
        )
    if stars and parts:
        text += (
            " **Ours are scored on parts of the corpora, some with fewer classes: they do not compare with the "
            "published points.**"
        )
    return text + mean_clause(benchmarks)


def head_of(corpus, scores):
    """Title of a panel of our captioners."""
    numbers = sorted({score.n_items for score in scores})
    return f"ours, {CORPORA.get(corpus, corpus)}\n({' or '.join(map(str, numbers))} clips)"


def captioning(by_corpus, published, unknown):
    """Caption of the plot of captions."""
    text = "**Quality of captions against parameters.**"
    everything = [score for scores in by_corpus.values() for score in scores]
    if everything:
        text += (
            f" Ours (CIDEr-D, document frequencies of the scored clips' own references) on "
            f"{joined([CORPORA.get(corpus, corpus) for corpus in by_corpus])}; diamonds are teachers; networks of "
            f"one size stand side by side. {bars(everything)}"
        )
    if published:
        text += " Right: published SPIDEr of whole test parts, from recipes/literature.csv."
    for name, size in unknown.items():
        text += f" The {name} ({size:,} parameters): no score of it is public."
    if everything and published:
        text += " CIDEr-D of a few clips and SPIDEr of whole test parts do not compare."
    return text
