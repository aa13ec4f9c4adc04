"""Many recordings: in order, in bounded memory, each as if it were alone; what is wrong is said of that one."""

import itertools
import os
import struct
import threading

import numpy as np
import pytest

import tinyclap
from tests.fakes import bad_files, write_audio
from tinyclap.audio.batch import each_clip, embed_many, require_sane
from tinyclap.errors import AudioError, ConfigError

PATIENCE_S = 20


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("onnxruntime", reason="the shipped model needs an engine")
    return tinyclap.from_pretrained()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Eight recordings of other rates, lengths, channels and codings."""
    folder = tmp_path_factory.mktemp("recordings")
    kinds = [(8000, 0.2, 1), (44100, 3.1, 2), (16000, 10.7, 1), (96000, 0.9, 2), (11025, 2.5, 1), (32000, 21.0, 1)]
    for index, (rate, duration_s, channels) in enumerate(kinds):
        write_audio(folder / f"{index}.wav", duration_s, rate, channels, pitch_hz=200 + 90 * index, seed=index)
    write_audio(folder / "6.flac", 1.0, 22050, 1, seed=6)
    write_audio(folder / "7.wav", 1.0, 24000, 1, subtype="FLOAT", seed=7)
    return sorted(folder.iterdir())


def test_two_recordings_are_worked_on_at_once_and_given_in_order():
    second_began = threading.Event()

    def work(source):
        if source == "first":
            assert second_began.wait(PATIENCE_S), "the second was not begun while the first was in hand"
        else:
            second_began.set()
        return source.upper()

    given = list(each_clip(work, ["first", "second", "third"], n_workers=2))
    assert given == [("first", "FIRST"), ("second", "SECOND"), ("third", "THIRD")]


def test_sources_are_taken_as_they_are_needed():
    n_taken = 0

    def endless():
        nonlocal n_taken
        for number in itertools.count():
            n_taken += 1
            yield number

    results = each_clip(lambda number: -number, endless(), n_workers=3)
    assert [next(results) for _ in range(5)] == [(number, -number) for number in range(5)]
    results.close()
    assert n_taken <= 5 + 2 * 3


def test_the_first_wrong_one_in_order_is_raised_and_all_before_it_are_given():
    def work(number):
        if number in (3, 5):
            raise AudioError("somewhere", f"number {number} is bad")
        return number

    results, given = each_clip(work, range(8), n_workers=4), []
    with pytest.raises(AudioError, match="number 3"):
        for _, result in results:
            given.append(result)
    assert given == [0, 1, 2]


def test_wrong_ones_are_given_as_their_errors_where_they_are_skipped():
    def work(number):
        if number == 1:
            raise MemoryError
        if number == 2:
            raise PermissionError(13, "Permission denied")
        return number

    results = [result for _, result in each_clip(work, range(4), 2, "skip")]
    assert results[0] == 0
    assert results[3] == 3
    assert "clip 1 of the batch: needs more memory" in str(results[1])
    assert "Permission denied" in str(results[2])


def test_a_fault_of_the_program_is_no_fault_of_a_recording():
    with pytest.raises(ZeroDivisionError):
        list(each_clip(lambda number: 1 // number, [0], 1, "skip"))


@pytest.mark.parametrize(("n_workers", "on_error"), [(0, "skip"), (1.5, "skip"), (1, "ignore")])
def test_options_that_mean_nothing_are_refused_before_any_work(n_workers, on_error):
    with pytest.raises(ConfigError):
        each_clip(len, ["a"], n_workers, on_error)


@pytest.mark.parametrize("n_workers", [1, 3])
def test_a_row_is_that_of_the_clip_alone_to_the_bit(model, recordings, n_workers):
    alone = {path: model.embed(path)[0] for path in recordings}
    for paths in (recordings, recordings[::-1], recordings[3:5]):
        for path, row in embed_many(model, paths, n_workers):
            assert np.array_equal(row, alone[path]), path


def test_python_gives_the_same_for_one_call_and_for_many(model, recordings):
    rows = model.embed(recordings)
    assert rows.dtype == np.float32
    assert np.array_equal(rows, np.concatenate([model.embed(path) for path in recordings]))


def test_arrays_and_integers_pass(model):
    wav = (np.random.default_rng(0).standard_normal(16000) * 3000).astype(np.int16)
    rows = [row for _, row in embed_many(model, [wav, wav.astype(np.float32) / 32768], sample_rate_hz=16000)]
    assert np.array_equal(*rows)
    with pytest.raises(ConfigError, match="sample_rate_hz"):
        list(embed_many(model, [wav]))


def test_an_empty_batch_is_refused(model):
    with pytest.raises(AudioError, match="no clip"):
        model.embed([])


def test_every_kind_of_broken_file_is_named_and_the_others_are_embedded(model, tmp_path):
    made = bad_files(tmp_path)
    bad = ["nan", "infinite", "no_samples", "empty", "truncated", "truncated.flac", "page", "noise", "song.m4a"]
    good = ["whole", "stereo_24_bit", "short"]
    paths = [made[name] for pair in itertools.zip_longest(bad, good) for name in pair if name]
    results = dict(embed_many(model, [*paths, tmp_path / "gone.wav"], 2, "skip"))
    wrong = {path for path, result in results.items() if isinstance(result, AudioError)}
    assert wrong == {*(made[name] for name in bad), tmp_path / "gone.wav"}
    assert all(str(path) in str(results[path]) for path in wrong)
    assert all(results[made[name]].shape == (model.embed_dim,) for name in good)


def test_a_header_that_promises_the_impossible_is_refused_before_decoding(model, tmp_path):
    path = tmp_path / "slow.wav"
    write_audio(path, 1.0, 8000)
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", 1)
    path.write_bytes(content)
    for sources in (path, [path, path]):
        with pytest.raises(AudioError, match="slow.wav: has a sample rate of 1 Hz"):
            model.embed(sources)


def test_a_recording_longer_than_memory_should_hold_is_refused_where_that_is_asked(tmp_path):
    path = tmp_path / "long.wav"
    write_audio(path, 130.0, 1000)
    require_sane(path)
    with pytest.raises(AudioError, match="2 minutes long, more than 1.*tinyclap listen"):
        require_sane(path, longest_s=60)


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode on Windows")
def test_a_name_that_is_no_utf8_can_be_read(model, tmp_path):
    write_audio(tmp_path / "plain.wav", 1.0)
    strange = os.path.join(os.fsencode(tmp_path), b"\xff\xfe.wav")
    os.rename(tmp_path / "plain.wav", strange)
    assert model.embed(os.fsdecode(strange)).shape == (1, model.embed_dim)
