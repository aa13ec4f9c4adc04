"""CIDEr-D, and intervals of BLEU, from n-gram counts: plain Python, quick enough for each epoch's validation.

Sources: CIDEr-D: Vedantam et al., "CIDEr: Consensus-based Image Description Evaluation", CVPR 2015. BLEU: Papineni et
al., ACL 2002.
"""

import math
from collections import Counter

import numpy as np

from tinyclap.errors import ConfigError
from tinyclap.text.tokenizer import caption_words

N_ORDERS = 4


def cider_d(candidates, references, sigma=6.0):
    """Mean CIDEr-D of captions, in [0, 10]; see :func:`cider_d_of_clips`.

    Example
    -------
    >>> cider_d(["a dog barks loudly", "rain"], [["A dog barks loudly."], ["A cat meows twice."]])
    5.0
    """
    scores = cider_d_of_clips(candidates, references, sigma)
    return sum(scores) / len(scores)


def cider_d_of_clips(candidates, references, sigma=6.0):
    """CIDEr-D of each caption; 300 clips with five references each take 0.1 s.

    Arguments
    ---------
    candidates : list of str, N of them
    references : list of list of str, N of them
        At least one for each clip. Document frequencies are theirs: an n-gram's idf is log N − log (number of clips
        with it in a reference). So a score depends on the whole set, and that of a single clip is always 0.
    sigma : float
        Width of the Gaussian penalty of differing lengths, in words.

    Returns
    -------
    list of float, N of them
        In [0, 10].

    Raises
    ------
    ConfigError
        No clips, or one without references.

    Notes
    -----
    The numbers are those of aac-metrics, within rounding; a test compares them. That library is an extra which training
    should not need, and takes five seconds to import.
    """
    candidates, references = plain_captions(candidates, references)
    documents = [[_ngram_counts(reference) for reference in of_clip] for of_clip in references]
    frequencies = Counter(ngram for of_clip in documents for ngram in set().union(*of_clip))
    log_n = math.log(len(documents))
    idf = {ngram: log_n - math.log(count) for ngram, count in frequencies.items()}

    def vectors(counts):
        weights = [{} for _ in range(N_ORDERS)]
        for ngram, count in counts.items():
            weights[len(ngram) - 1][ngram] = count * idf.get(ngram, log_n)
        n_pairs = sum(count for ngram, count in counts.items() if len(ngram) == 2)  # the public code's length
        return weights, [math.sqrt(sum(w * w for w in part.values())) for part in weights], n_pairs

    scores = []
    for candidate, of_clip in zip(candidates, documents, strict=True):
        mine = vectors(_ngram_counts(candidate))
        total = sum(_similarity(mine, vectors(counts), sigma) for counts in of_clip)
        scores.append(10.0 * total / len(of_clip))
    return scores


def plain_captions(candidates, references):
    """Captions as the metrics read them: words with one blank between them.

    Arguments
    ---------
    candidates : list of str
    references : list of list of str

    Returns
    -------
    (list of str, list of list of str)
        References that hold no word are left out.

    Raises
    ------
    ConfigError
        There are none, the two differ in length, or a clip has no reference with a word in it.

    Example
    -------
    >>> plain_captions(["Rain, then wind."], [["It rains!", "..."]])
    (['rain then wind'], [['it rains']])
    """
    if len(candidates) != len(references) or not candidates:
        raise ConfigError(f"{len(candidates)} captions to score, and references for {len(references)} clips")
    plain = [[" ".join(caption_words(text)) for text in of_clip] for of_clip in references]
    plain = [[text for text in of_clip if text] for of_clip in plain]
    without = [index for index, of_clip in enumerate(plain) if not of_clip]
    if without:
        raise ConfigError(f"{len(without)} clip(s) have no reference with a word in it, the first is clip {without[0]}")
    return [" ".join(caption_words(text)) for text in candidates], plain


def _ngram_counts(caption):
    words = caption.split()
    return Counter(
        tuple(words[start : start + order])
        for order in range(1, N_ORDERS + 1)
        for start in range(len(words) - order + 1)
    )


def _similarity(mine, theirs, sigma):
    """Mean over the orders of the clipped cosine of two tf-idf vectors, less for differing lengths."""
    total = 0.0
    for own, other, own_norm, other_norm in zip(mine[0], theirs[0], mine[1], theirs[1], strict=True):
        dot = sum(min(weight, other[ngram]) * other[ngram] for ngram, weight in own.items() if ngram in other)
        if dot:
            total += dot / (own_norm * other_norm)
    return total / N_ORDERS * math.exp(-((mine[2] - theirs[2]) ** 2) / (2 * sigma**2))


def bleu_intervals(candidates, references, level=0.95, n_resamples=2000, seed=0):
    """Percentile bootstrap intervals of the corpus' BLEU-1 to BLEU-4 over clips.

    A corpus' BLEU is no mean over clips: each resample sums the clips' n-gram counts and lengths anew.

    Arguments
    ---------
    candidates : list of str, N of them
    references : list of list of str, N of them
    level : float
        Coverage, in (0, 1).
    n_resamples, seed : int

    Returns
    -------
    dict of str to (float, float)
        ``bleu_1`` to ``bleu_4`` → lower and upper end, in [0, 1].
    """
    pairs = zip(*plain_captions(candidates, references), strict=True)
    counts = np.array([bleu_counts(candidate, of_clip) for candidate, of_clip in pairs], dtype=float)
    n_clips = len(counts)
    draws = np.random.default_rng(seed).multinomial(n_clips, np.full(n_clips, 1 / n_clips), size=n_resamples)
    tail = (1 - level) / 2
    ends = np.quantile(bleu_of(draws @ counts), [tail, 1 - tail], axis=0)
    return {f"bleu_{order + 1}": (float(ends[0, order]), float(ends[1, order])) for order in range(N_ORDERS)}


def bleu_counts(candidate, references):
    """One clip's share of a corpus' BLEU.

    Arguments
    ---------
    candidate : str
    references : list of str
        Both as :func:`plain_captions` gives them.

    Returns
    -------
    list of int, 10 of them
        Hits of each order (no more of an n-gram than the reference that has most of it), n-grams of each order, words,
        words of the reference that is closest in length.

    Example
    -------
    >>> bleu_counts("the the dog", ["the dog barks", "a dog"])
    [2, 1, 0, 0, 3, 2, 1, 0, 3, 3]
    """
    counts, most = _ngram_counts(candidate), Counter()
    for reference in references:
        most |= _ngram_counts(reference)
    n_words = len(candidate.split())
    closest = min((abs(len(text.split()) - n_words), len(text.split())) for text in references)[1]
    orders = range(1, N_ORDERS + 1)
    hits = [sum(min(n, most[ngram]) for ngram, n in counts.items() if len(ngram) == order) for order in orders]
    return [*hits, *(max(0, n_words - order + 1) for order in orders), n_words, closest]


def bleu_of(counts):
    """BLEU-1 to BLEU-4 from a corpus' counts.

    Arguments
    ---------
    counts : array of float, shape (..., 10)
        Sums of what :func:`bleu_counts` gives.

    Returns
    -------
    numpy.ndarray, shape (..., 4)
        In [0, 1].

    Example
    -------
    >>> bleu_of([3, 2, 1, 0, 4, 3, 2, 1, 4, 4]).round(4).tolist()
    [0.75, 0.7071, 0.63, 0.0001]
    """
    hits, guesses, n_words, n_closest = np.split(np.asarray(counts, dtype=float), [4, 8, 9], axis=-1)
    # the two small numbers are the public code's, where nothing must be divided by zero
    sums = np.cumsum(np.log((hits + 1e-15) / (guesses + 1e-9)), axis=-1)
    ratio = (n_words + 1e-15) / (n_closest + 1e-9)
    return np.exp(sums / np.arange(1, N_ORDERS + 1)) * np.exp(np.minimum(0, 1 - 1 / ratio))
