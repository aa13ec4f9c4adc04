"""Datasets for captioners: labelled clips with their captions, unlabelled ones with teacher targets."""

import functools
import hashlib
import logging
import math
import zlib

import numpy as np

from tinyclap.data.batches import EpochDataset, FixedDataset
from tinyclap.data.vocabulary import report_words
from tinyclap.decoding.token_choices import StudentChoices
from tinyclap.errors import ConfigError, ManifestError
from tinyclap.text.tokenizer import WordTokenizer, caption_words

logger = logging.getLogger(__name__)

_LABELLED, _UNLABELLED = 0, 1  # streams of random numbers


def choose_labelled(items, fraction, seed):
    """The round(fraction · n) clips that keep their captions, at least one for a fraction above 0; the sets are nested.

    `items`, id → item with ``group``, keep their order, and `seed` decides which groups come first.
    """
    n_chosen = max(round(fraction * len(items)), math.ceil(fraction)) if items else 0
    return _first(items, n_chosen, lambda name: f"{seed}/{items[name]['group']}")


def make_caption_sets(
    labelled,
    unlabelled,
    targets,
    vocabulary,
    sample_rate_hz,
    seed,
    labelled_fraction=1.0,
    rest_as_unlabelled=False,
    unlabelled_per_labelled=1,
    examples_per_epoch=None,
    one_item_a_caption=False,
    max_words=20,
    valid_max_s=30.0,
    valid_max_clips=None,
):
    """``train`` and ``valid``: datasets of a captioner's run for :func:`tinyclap.data.batches.collate`.

    A training example is a labelled row and its unlabelled ones; a row has teacher targets where they are cached.
    Validation is on whole labelled clips; where none is held out, on held-out unlabelled views with the teacher's
    captions as references.

    Arguments
    ---------
    labelled, unlabelled : tinyclap.data.views.Views or None
        Windows of clips with captions (which belong to the whole clip), and views of audio alone.
    targets : tinyclap.data.targets.TeacherTargets or None. Loaded; without any there are no unlabelled rows.
    vocabulary : str or os.PathLike. See :meth:`tinyclap.text.tokenizer.WordTokenizer.load`.
    sample_rate_hz, seed : int. The student's rate.
    labelled_fraction : float. Of the labelled training clips that keep their captions; see :func:`choose_labelled`.
    rest_as_unlabelled : bool. The other clips join the unlabelled ones.
    unlabelled_per_labelled : int. Unlabelled rows for each labelled one; without labelled clips, rows of an example.
    examples_per_epoch : int, optional. By default each labelled clip (or else unlabelled view) comes once an epoch.
    one_item_a_caption : bool. A clip comes once an epoch for each of its captions, as in the paper's code.
    max_words, valid_max_s : int, float. Longer captions and validation clips are cut; in words and seconds.
    valid_max_clips : int, optional. At most so many validation clips, the same in every run.
    """
    check_options(locals())
    tokenizer = WordTokenizer.load(vocabulary)
    rows = _Rows(targets, tokenizer, sample_rate_hz, max_words)
    for views in (labelled, unlabelled):
        if views is not None and views.kind == "windows":
            views.reader_at(sample_rate_hz)  # before loader workers are forked, which then share what it keeps
    with_labels, valid = (labelled.train_items, labelled.valid_items) if labelled is not None else ({}, {})
    chosen = choose_labelled(with_labels, labelled_fraction, seed)
    _require_captions({**{clip: with_labels[clip] for clip in chosen}, **valid})
    pool = []
    if rows.columns and unlabelled_per_labelled:
        rest = sorted(set(with_labels) - set(chosen)) if rest_as_unlabelled else []
        pool += [(labelled, clip, view) for clip in rest for view in labelled.views_of(clip)]
        pool += [(unlabelled, *key) for key in unlabelled.keys("train")] if unlabelled is not None else []
    if not chosen and not pool:
        raise ManifestError("nothing to train on: no labelled clip, and no unlabelled one with teacher targets")
    named = {"the training captions": [caption for clip in chosen for caption in with_labels[clip]["captions"]]}
    if "caption" in rows.columns:
        named["the teacher's captions"] = list(targets.values("caption"))
    report_words(named, tokenizer, max_words)
    if rows.choices is not None:
        logger.info("%s", rows.choices.report(targets.values("token_choices")))
    entries = [(clip,) for clip in chosen]
    if one_item_a_caption:
        entries = [(clip, number) for clip in chosen for number in range(len(with_labels[clip]["captions"]))]
    train = _TrainSet(labelled, entries, pool, rows, seed, examples_per_epoch, unlabelled_per_labelled)
    train[0]  # raises here, not in a worker, where the targets are of other views
    if valid:
        kept = sorted(_first(sorted(valid), valid_max_clips), key=lambda clip: valid[clip]["duration_s"])
        return {"train": train, "valid": FixedDataset([(labelled, clip, valid_max_s) for clip in kept], rows.of_clip)}
    held = unlabelled.keys("valid") if unlabelled is not None and "caption" in rows.columns else []
    if not held:
        raise ManifestError("nothing to validate on: name a corpus with a validation part, or give a valid_fraction")
    kept = [(unlabelled, *key) for key in _first(held, valid_max_clips)]
    return {"train": train, "valid": FixedDataset(kept, rows.of_view)}


def check_options(options):
    """Refuse `options`, some arguments of :func:`make_caption_sets` by name, that mean nothing."""
    least = {"examples_per_epoch": 1, "valid_max_clips": 1, "max_words": 1, "unlabelled_per_labelled": 0}
    for name, lowest in least.items():
        value = options.get(name)
        if value is not None and (value % 1 != 0 or value < lowest):
            raise ConfigError(f"{name}={value}; it is a whole number from {lowest} on")
    if not 0 <= options.get("labelled_fraction", 1) <= 1:
        raise ConfigError(f"labelled_fraction={options['labelled_fraction']}; it is in [0, 1]")
    targets, labelled = options.get("targets"), options.get("labelled")
    if targets is not None and targets.columns and not targets.is_cached:
        raise ConfigError("captioners learn from cached teacher targets; give --target_cache FOLDER, or no teacher")
    if targets is not None and "token_choices" in targets.columns and "caption" not in targets.columns:
        raise ConfigError("token_choices are those of the teacher's caption; give --target_columns [caption, …] too")
    if labelled is not None and labelled.kind != "windows":
        raise ConfigError(f"labelled views are {labelled.kind}, of which captions need not hold; give windows")


class _Rows:
    """Makes the rows of a batch; an example is a list of them."""

    def __init__(self, targets, tokenizer, sample_rate_hz, max_words):
        self.targets, self.tokenizer = targets, tokenizer
        self.sample_rate_hz, self.max_words = sample_rate_hz, max_words
        self.columns = () if targets is None else targets.columns
        self.choices = StudentChoices(targets.words, tokenizer) if "token_choices" in self.columns else None

    def of_view(self, views, clip, view, captions=None, chosen=0):
        """A row of one view, with the `chosen` one of its clip's `captions`, if any, and its teacher targets."""
        row = self._row(clip, views.read(clip, view, self.sample_rate_hz), captions or [], chosen)
        row |= self.targets.example(clip, view) if self.columns else {}
        if "caption" in row:
            row["teacher_ids"] = self._encoded(row["caption"])
            row["references"] = captions or [row["caption"]]
        if self.choices is not None:
            choices = row.pop("token_choices")
            row["token_ids"], row["token_probs"] = self.choices.targets(choices, len(row["teacher_ids"]) - 1)
        return [row]

    def of_clip(self, views, clip, max_s):
        """A row of a whole validation clip with one of its captions, always the same, and no teacher targets."""
        item = views.valid_items[clip]
        wav, captions = views.reader_at(self.sample_rate_hz)(item["wav"], 0.0, max_s), item["captions"]
        return [self._row(clip, wav, captions, zlib.crc32(clip.encode()) % len(captions))]

    def _row(self, clip, wav, captions, chosen):
        ids = {"ids": self._encoded(captions[chosen])} if captions else {}
        return {"id": clip, "wav": wav, "references": captions, "pad_id": self.tokenizer.pad_id, **ids}

    def _encoded(self, caption):
        return np.array(self.tokenizer.encode(caption, self.max_words))


class _TrainSet(EpochDataset):
    """Training examples, lists of rows; each pass over the clips, and over the unlabelled views, has another order."""

    def __init__(self, labelled, entries, pool, rows, seed, examples_per_epoch, unlabelled_per_labelled):
        self.labelled, self.entries, self.pool, self.rows, self.seed = labelled, entries, pool, rows, seed
        self.n_unlabelled = unlabelled_per_labelled if pool else 0
        self.n_examples = examples_per_epoch or len(entries) or math.ceil(len(pool) / self.n_unlabelled)

    def __len__(self):
        return self.n_examples

    def example(self, epoch, index):
        """A labelled row, where there are labels, and its unlabelled ones."""
        position = (max(epoch, 1) - 1) * self.n_examples + index
        rows = []
        if self.entries:
            turn, place = self._place(position, len(self.entries), _LABELLED)
            clip, *number = self.entries[place]
            random = np.random.default_rng([self.seed, turn, zlib.crc32(clip.encode()), *number])
            views, captions = self.labelled.views_of(clip), self.labelled.train_items[clip]["captions"]
            view, chosen = views[random.integers(len(views))], random.integers(len(captions))
            rows += self.rows.of_view(self.labelled, clip, view, captions, *(number or [chosen]))
        for number in range(position * self.n_unlabelled, (position + 1) * self.n_unlabelled):
            _, place = self._place(number, len(self.pool), _UNLABELLED)
            rows += self.rows.of_view(*self.pool[place])
        return rows

    def _place(self, number, n_places, stream):
        """The pass over the places, each shuffled anew, and the place of a running number."""
        turn, step = divmod(number, n_places)
        return turn, int(_order(self.seed, stream, turn, n_places)[step])


@functools.lru_cache(maxsize=4)  # an epoch may touch two passes of each stream
def _order(seed, stream, turn, n_places):
    return np.random.default_rng([seed, stream, turn]).permutation(n_places)


def _first(keys, n_keys, name=str):
    """The `n_keys` of some keys that come first by the hashes of their names; in their order."""
    chosen = set(sorted(keys, key=lambda key: (hashlib.sha256(name(key).encode()).digest(), key))[:n_keys])
    return [key for key in keys if key in chosen]


def _require_captions(items):
    pairs = [(name, caption) for name, item in items.items() for caption in item["captions"] or ()]
    without = [name for name, item in items.items() if not item["captions"]]
    empty = [f"{name}: {caption!r}" for name, caption in pairs if not caption_words(caption)]
    found = (without, "clips have no caption"), (empty, "captions have no word")
    problems = [f"{len(names)} {what}, such as {', '.join(names[:5])}" for names, what in found if names]
    if problems:
        raise ManifestError(f"{'; '.join(problems)}. Fix the corpus' table and prepare it again, or leave these out")
