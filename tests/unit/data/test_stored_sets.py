"""Batches with a teacher's answers and batches without: one interface, and workers that carry arrays alone."""

import pickle

import numpy as np
import torch

from tinyclap.data.stored_sets import ExampleBatch, StoredExamples, collate_examples


class Taught:
    """Three clips of two, one and three views; a row is its own number."""

    places = {"a": (0, 2), "ä/b": (2, 1), "c": (3, 3)}

    def place(self, name):
        """First row and number of views."""
        return self.places[name]

    def get(self, row, kind="npy"):
        """A row of a kind."""
        return np.full(2, row, dtype=np.float16) if kind == "npy" else np.full((4, 3), -row, dtype=np.float16)


class Views:
    """Says which view was read."""

    def views_of(self, name):
        """As many as there are rows."""
        return [f"c{index}" for index in range(Taught.places[name][1])]

    def read(self, name, view):
        """The view's number, at the clip's first row."""
        return np.array([Taught.places[name][0], float(view[1:])], dtype=np.float32)


class Counter:
    """An epoch counter."""

    current = 1


def make(**options):
    return StoredExamples(list(Taught.places), Taught(), 5, **options)


def test_a_batch_has_what_its_examples_have_in_float32():
    examples = make()
    batch = collate_examples([examples[0], examples[2]]).to("cpu")
    assert isinstance(batch, ExampleBatch) and batch.wav is None
    assert batch.target.dtype == batch.log_mel.dtype == torch.float32
    assert batch.target.tolist() == [[0.0, 0.0], [3.0, 3.0]] and batch.log_mel.shape == (2, 4, 3)
    assert collate_examples([{"id": "a", "wav": torch.zeros(3)}])[1:] == (None, None, None)


def test_validation_takes_the_first_view_whatever_the_epoch():
    examples = make()
    assert [examples.view(index, epoch) for index in range(3) for epoch in (1, 2, 7)] == [0] * 9


def test_the_audio_that_is_read_is_that_of_the_row():
    examples, counter = make(epoch_counter=Counter(), views=Views()), Counter()
    examples.epoch_counter = counter
    seen = set()
    for counter.current in range(1, 7):
        for index, name in enumerate(Taught.places):
            example = examples[index]
            first, view = example["wav"].tolist()
            assert first == Taught.places[name][0] and example["target"][0] == first + view
            seen.add((name, view))
    assert len(seen) == 6, "all views come"


def test_another_seed_takes_the_views_in_another_order():
    orders = set()
    for seed in range(8):
        examples = StoredExamples(["c"], Taught(), seed, epoch_counter=Counter())
        orders.add(tuple(examples.view(0, epoch) for epoch in range(1, 10)))
    assert len(orders) > 4


def test_workers_are_sent_arrays():
    held = vars(pickle.loads(pickle.dumps(make())))
    assert held["names"] is None, "without audio to read, names are not needed"
    assert all(isinstance(held[name], np.ndarray) for name in ("first_rows", "n_views", "hashes"))
