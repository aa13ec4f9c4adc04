"""Training and validation examples of a distillation: crops of clips with cached teacher targets, or as audio alone."""

import zlib

import numpy as np

from tinyclap.data.batches import EpochDataset
from tinyclap.data.items import require_both
from tinyclap.errors import ConfigError, ManifestError


def make_distillation_sets(targets, views, seed, epoch="clips", repeat_by_captions=False):
    """``train`` and ``valid``: datasets for :func:`tinyclap.data.batches.collate`.

    With cached targets an example has their columns and, without a cached ``log_mel``, ``wav``. With a live teacher it
    has ``wav`` and, where all clips have captions, ``texts``: one of them.

    Arguments
    ---------
    targets : tinyclap.data.targets.TeacherTargets or None. None (a CLAP from scratch): every clip needs a caption.
    views : tinyclap.data.views.Views
    seed : int
    epoch : {"clips", "views"}. One view of each clip (K epochs have all K, in random order), or all of them.
    repeat_by_captions : bool. An epoch has each clip in as many crops as it has captions, as in the official code.
    """
    if epoch not in ("clips", "views"):
        raise ConfigError(f"epoch={epoch!r}; choose one of clips, views")
    if epoch == "views" and repeat_by_captions:
        raise ConfigError("repeat_by_captions repeats clips, an epoch of views has each view once; give one of them")
    train, valid = views.train_items, views.valid_items
    require_both(train, valid)
    without = [name for items in (train, valid) for name in items if not items[name]["captions"]]
    if targets is None and without:
        raise ManifestError(
            f"{len(without)} clips have no caption, such as {', '.join(without[:3])}: without a teacher nothing can "
            "be learnt from them; leave their corpora out"
        )
    n_visits = [1] * len(train)
    if repeat_by_captions:
        n_visits = [len(item["captions"] or [None]) for item in train.values()]
    elif epoch == "views":
        n_visits = [len(views.views_of(name)) for name in train]
    train = _Clips(views, train, seed, targets, n_visits, repeat_by_captions)
    return {"train": train, "valid": _Clips(views, valid, seed, targets)}


class _Clips(EpochDataset):
    """Clips of one side, visited `n_visits` times an epoch each; without it (validation) once, always the first view.

    Visits are counted on through the epochs: K in a row take each of a clip's K cached views once, in random order;
    with a live teacher each is another random crop. In the order of captions, an epoch's k-th visit has the k-th one.
    """

    def __init__(self, views, items, seed, targets, n_visits=None, in_caption_order=False):
        self.views, self.items, self.seed, self.targets = views, items, seed, targets
        self.is_cached = targets is not None and targets.is_cached
        self.is_training, self.in_caption_order = n_visits is not None, in_caption_order
        self.has_texts = not self.is_cached and all(item["captions"] for item in items.values())
        # Arrays, which forked workers share, whereas reference counts copy lists.
        self.names, self.n_visits = np.array(list(items)), np.array(n_visits or [1] * len(items))
        views_of = [views.views_of(name) for name in items] if self.is_cached or not self.is_training else []
        self.n_views, self.first_views = np.array(list(map(len, views_of))), np.array([names[0] for names in views_of])
        self.clips = np.repeat(np.arange(len(items)), self.n_visits)
        self.visits = np.concatenate([np.arange(count) for count in self.n_visits])

    def __len__(self):
        return len(self.clips)

    def example(self, epoch, index):
        """A dict of ``id`` and what :func:`make_distillation_sets` says."""
        place = self.clips[index]
        name, repeat = str(self.names[place]), int(self.visits[index])
        example = {"id": name}
        if self.is_training and not self.is_cached:
            example["wav"] = self.views.crop(name, epoch, repeat, self.seed)
        else:
            view = self._view(place, (max(epoch, 1) - 1) * int(self.n_visits[place]) + repeat)
            example |= self.targets.example(name, view) if self.is_cached else {}
            if "log_mel" not in example:
                example["wav"] = self.views.read(name, view)
        if self.has_texts:
            captions = self.items[name]["captions"]
            turn, again = epoch if self.is_training else 0, [repeat] if repeat else []
            random = np.random.default_rng([self.seed, turn, zlib.crc32(name.encode()), 1, *again])
            example["texts"] = captions[repeat] if self.in_caption_order else str(random.choice(captions))
        return example

    def _view(self, place, visit):
        """The view of a clip's visit, counted from 0 through all epochs."""
        first, n_views = str(self.first_views[place]), int(self.n_views[place])
        if not self.is_training or n_views == 1:
            return first
        turn, step = divmod(visit, n_views)
        key = [self.seed, zlib.crc32(str(self.names[place]).encode()), turn]
        return f"{first[0]}{np.random.default_rng(key).permutation(n_views)[step]}"
