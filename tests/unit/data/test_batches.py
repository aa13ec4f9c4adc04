"""Batches of every recipe, the order of their examples, and runs that are stopped in the middle of an epoch."""

import copy
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from speechbrain.dataio.dataloader import SaveableDataLoader
from speechbrain.utils.checkpoints import Checkpointer
from torch.utils.data import DataLoader

from tinyclap.data.batches import Batch, EpochDataset, EpochSampler, collate
from tinyclap.errors import AudioError, ConfigError

# Batch and collate ----------------------------------------------------------------------------------------------------


def test_a_batch_has_what_its_examples_have_and_nothing_else():
    batch = collate([{"id": name, "clip": np.full(2, row, np.float16)} for row, name in enumerate("ab")])
    assert batch.id == ["a", "b"] and batch.clip.tolist() == [[0, 0], [1, 1]]
    assert batch.wavs is None and batch.texts is None and set(batch) == {"id", "clip"}
    with pytest.raises(AttributeError, match="no 'wav'; it has id, clip"):
        _ = batch.wav


def test_half_precision_of_a_cache_is_float32_on_the_device(device):
    columns = {"clip": np.ones(2, np.float16), "log_mel": np.ones((3, 2), np.float16), "wav": np.ones(4, np.float32)}
    batch = collate([columns, columns])
    assert batch.clip.dtype == torch.float16, "half as much to copy"
    moved = batch.to(device)
    assert {moved[name].dtype for name in ("clip", "log_mel", "wavs")} == {torch.float32}
    assert {moved[name].device.type for name in moved} == {device.type} and moved.n_samples.dtype == torch.int64


def test_clips_and_maps_of_several_lengths_end_in_zeros():
    examples = [
        {"wav": np.ones(n, np.float32), "frames": np.ones((n, 2), np.float16), "middle": np.ones((2, n, 3), np.float16)}
        for n in (2, 4)
    ]
    batch = collate(examples)
    assert batch.wavs.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]] and batch.n_samples.tolist() == [2, 4]
    assert batch.frames.shape == (2, 4, 2) and not batch.frames[0, 2:].any() and batch.frames[0, :2].all()
    assert batch.middle.shape == (2, 2, 4, 3) and not batch.middle[0, :, 2:].any() and batch.middle[1].all()


def test_rows_with_captions_come_first_and_captions_are_padded_by_the_pad_id():
    labelled = {"id": "a", "ids": np.array([1, 5, 2]), "teacher_ids": np.array([1, 2]), "pad_id": 7}
    longer = {"id": "b", "ids": np.array([1, 5, 6, 2]), "teacher_ids": np.array([1, 4, 2]), "pad_id": 7}
    other = {"id": "u", "teacher_ids": np.array([1, 3, 4, 2]), "pad_id": 7}
    batch = collate([[labelled, other], [longer, other]])
    assert batch.id == ["a", "b", "u", "u"] and batch.n_labelled == 2 and "pad_id" not in batch
    assert batch.ids.tolist() == [[1, 5, 2, 7], [1, 5, 6, 2]]
    assert batch.teacher_ids.tolist() == [[1, 2, 7, 7], [1, 4, 2, 7], *[[1, 3, 4, 2]] * 2]
    alone = collate([[other], [other]])
    assert alone.n_labelled == 0 and alone.ids.shape == (0, 0)


def test_targets_that_some_clips_lack_are_an_error():
    with pytest.raises(ConfigError, match="some clips of a batch have `clip` and others not"):
        collate([{"wav": np.ones(2), "clip": np.ones(2)}, {"wav": np.ones(2)}])


@pytest.mark.parametrize(("name", "value"), [("wav", np.nan), ("wav", np.inf), ("log_mel", -np.inf)])
@pytest.mark.parametrize("place", [0, 1])
def test_audio_that_is_no_number_is_an_error_that_names_the_clip(name, value, place):
    clips = [{"id": f"clip{index}", name: np.ones((4, 3), np.float32)} for index in range(2)]
    clips[place][name][2, 1] = value
    with pytest.raises(AudioError, match=f"^clip{place}: NaN or infinite samples"):
        collate(clips).to("cpu")


def test_a_whole_batch_passes_and_its_tuples_move_too(device):
    batch = Batch(ids=torch.zeros(2, 3), facts=(torch.zeros(2), torch.ones(2)), id=["a", "b"])
    assert collate([batch]) is batch
    moved = batch.to(device)
    assert isinstance(moved.facts, tuple) and {fact.device.type for fact in moved.facts} == {device.type}
    assert moved.id == ["a", "b"]


def test_a_batch_is_copied_and_sent_between_processes_whole():
    batch = Batch(clip=torch.ones(2), id=["a"])
    for other in (pickle.loads(pickle.dumps(batch)), copy.copy(batch), copy.deepcopy(batch)):
        assert isinstance(other, Batch) and other.clip.tolist() == [1, 1] and other.id == ["a"] and other.wavs is None


def test_every_tensor_of_a_batch_is_pinned(monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    batch = Batch(wavs=torch.zeros(1), id=["a"], facts=(torch.zeros(2), torch.zeros(3))).pin_memory()
    assert [len(tensor) for tensor in pinned] == [1, 2, 3] and isinstance(batch, Batch) and batch.id == ["a"]


# Order ----------------------------------------------------------------------------------------------------------------


def order(epoch=1, n_examples=10, **options):
    sampler = EpochSampler(n_examples, **{"seed": 3, **options})
    sampler.set_epoch(epoch)
    assert len(sampler) == len(list(sampler))
    return list(sampler)


def test_the_order_is_a_function_of_seed_and_epoch():
    assert order() == order() and sorted(order()) == [(1, index) for index in range(10)]
    indices = {
        tuple(index for _, index in order(**o)) for o in ({}, {"epoch": 2}, {"seed": 4}, {"seed": 2, "epoch": 2})
    }
    assert len(indices) == 4, "another seed's next epoch is no epoch of this one"
    assert order(shuffle=False) == [(1, index) for index in range(10)]


@pytest.mark.parametrize(("n_examples", "world_size"), [(10, 2), (10, 3), (7, 4), (2, 5), (0, 2)])
@pytest.mark.parametrize("shuffle", [True, False])
def test_ranks_share_an_epoch_in_equal_parts(n_examples, world_size, shuffle):
    parts = [
        order(n_examples=n_examples, shuffle=shuffle, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    assert len({len(part) for part in parts}) == 1
    counts = Counter(index for part in parts for _, index in part)
    assert set(counts) == set(range(n_examples))
    assert not counts or max(counts.values()) - min(counts.values()) <= 1
    whole = order(n_examples=n_examples, shuffle=shuffle)
    assert [part[0] for part in parts[: len(whole)] if part] == whole[:world_size], (
        "the order of one process, dealt out"
    )


def test_a_rank_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="rank 2 of 2"):
        EpochSampler(4, seed=1, rank=2, world_size=2)


# Epochs of loaders ----------------------------------------------------------------------------------------------------


class Examples(EpochDataset):
    """An example says its epoch and its index; one may be a broken recording."""

    def __init__(self, n_examples=11, broken=None):
        self.n_examples, self.broken = n_examples, broken

    def __len__(self):
        return self.n_examples

    def example(self, epoch, index):
        """Epoch and index."""
        if index == self.broken:
            raise AudioError("clip.wav", "is cut off")
        return {"id": f"{epoch}/{index}", "clip": np.array([epoch, index], np.float32)}


def loader_of(n_workers, seed=5, **options):
    dataset = Examples(**options)
    sampler = EpochSampler(len(dataset), seed)
    more = {"persistent_workers": True, "prefetch_factor": 2} if n_workers else {}
    return SaveableDataLoader(dataset, 2, sampler=sampler, collate_fn=collate, num_workers=n_workers, **more)


def epoch_of(loader, epoch):
    loader.sampler.set_epoch(epoch)
    return [name for batch in loader for name in batch.id]


def test_workers_that_persist_know_the_epoch():
    alone, shared = loader_of(0), loader_of(2)
    for epoch in (1, 2, 3):
        names = epoch_of(shared, epoch)
        assert names == epoch_of(alone, epoch) and {name.split("/")[0] for name in names} == {str(epoch)}


@pytest.mark.parametrize("n_workers", [0, 2])
def test_an_epoch_goes_on_where_a_stopped_run_saved_it(tmp_path, n_workers):
    whole = epoch_of(loader_of(0), 2)
    first = loader_of(n_workers)
    checkpointer = Checkpointer(tmp_path, {"loader": first})
    epoch_of(first, 1)
    first.sampler.set_epoch(2)
    batches = iter(first)
    seen = [name for _ in range(2) for name in next(batches).id]
    checkpointer.save_checkpoint(end_of_epoch=False)
    resumed = loader_of(0 if n_workers else 2)
    Checkpointer(tmp_path, {"loader": resumed}).recover_if_possible()
    assert seen + epoch_of(resumed, 2) == whole
    assert epoch_of(resumed, 3) == epoch_of(loader_of(0), 3), "the next epoch is whole"


def test_an_index_alone_is_of_epoch_0_and_a_dataset_ends():
    names = [example["id"] for example in Examples(3)]
    assert names == ["0/0", "0/1", "0/2"]
    for index in (3, -1, (1, 3)):
        with pytest.raises(IndexError):
            Examples(3)[index]


@pytest.mark.parametrize("n_workers", [0, 1])
def test_a_broken_recording_in_a_worker_is_the_error_that_it_is_without(n_workers):
    def read(take):
        for batch in DataLoader(Examples(4, broken=2), 2, collate_fn=collate, num_workers=n_workers):
            take(batch)

    for take in (lambda batch: batch.to("cpu"), lambda batch: batch.wavs, lambda batch: batch["clip"]):
        with pytest.raises(AudioError, match=r"^clip.wav: is cut off$"):
            read(take)
