"""A target cache whose makers are killed, share the work, or meet a full disk: nothing is lost or made twice."""

import hashlib
import multiprocessing
import os
import resource
import signal
import sys
import time

import pytest
import torch
from caption_run import LoudnessTeacher, captioned, make_corpora, make_views

from tests.conftest import ROOT
from tinyclap.data import shards
from tinyclap.data.corpora import Corpora, Corpus
from tinyclap.data.targets import TeacherTargets
from tinyclap.errors import TinyclapError

N_VIEWS = 30  # in shards of 8


class LoggingTeacher(LoudnessTeacher):
    """It notes who gives it how many views; each batch takes `nap_s`, and it can be killed or hang."""

    def __init__(self, log, moment, nap_s):
        super().__init__()
        self.log, self.moment, self.nap_s = log, moment, nap_s

    def targets(self, wavs, sample_rate_hz, columns=("clip",)):
        """As its parent's."""
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {len(wavs)}\n")
        time.sleep(self.nap_s)
        if self.moment == "teacher" and len(self.asked) >= 12:
            die()
        if self.moment == "hang":
            time.sleep(120)
        return super().targets(wavs, sample_rate_hz, columns)


def die(*anything):
    """What the kernel does to a process without memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_the_second(call, when):
    """`call`, which kills the process the second time, before or after its work."""
    calls = []

    def called(*anything):
        calls.append(anything)
        if len(calls) == 2 and when == "before":
            die()
        done = call(*anything)
        if len(calls) == 2:
            die()
        return done

    return called


def make_cache(place, name, moment=None, nap_s=0.0, limit=None, rank=None):
    """Make the cache `name` in this process, which ends with status 1 and a message for an error of ours."""
    torch.set_num_threads(1)
    log = place / f"{name}.log"
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    if moment == "write":  # its temporary file is there
        shards.pa.OSFile = die_in_the_second(shards.pa.OSFile, "after")
    if moment == "rename":
        shards._write_checksum = die_in_the_second(shards._write_checksum, "before")
    if rank is not None:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
        torch.distributed.init_process_group("gloo", init_method=f"file://{log}.ranks", rank=rank, world_size=2)
    corpus = Corpus("toy", place / "corpus" / "toy", lambda **_: None, train={"split": "train"})
    views = make_views(Corpora([corpus], place / "corpus" / "manifests"))
    teacher = LoggingTeacher(log, moment, nap_s)
    targets = TeacherTargets(teacher, views, ("clip", "caption"), place / name, batch_size=4, shard_size=8)
    try:
        assert len(list(targets.load().values("caption"))) == N_VIEWS
    except TinyclapError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        log.with_suffix(".error").write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
        sys.exit(1)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the corpus, and ``whole``: an unbroken cache."""
    folder = tmp_path_factory.mktemp("faults")
    make_corpora(folder / "corpus", train=captioned(10))
    finish(start(folder, "whole"))
    return folder


@pytest.fixture(scope="module", autouse=True)
def context():
    """Processes forked from a server that has the libraries: starting a Python takes seconds."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(
        map(str, (ROOT / "tests" / "unit", ROOT / "tests" / "unit" / "data", ROOT))
    )
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tinyclap.data.targets", "caption_run", __name__])
    yield
    os.environ["PYTHONPATH"] = before or ""


def start(place, name, **options):
    """Begin :func:`make_cache` in another process."""
    process = multiprocessing.get_context("forkserver").Process(target=make_cache, args=(place, name), kwargs=options)
    process.start()
    return process


def finish(process, status=0):
    """Wait for a process, which ends with `status`."""
    process.join(120)
    assert process.exitcode == status


def asked(place, name):
    """Number of views given to the teacher, by process."""
    rows = [line.split() for line in (place / f"{name}.log").read_text("utf-8").splitlines()]
    return {pid: sum(int(n_views) for who, n_views in rows if who == pid) for pid, _ in rows}


def is_like_whole(place, name):
    """Whether a cache has the bytes of the unbroken one, and no temporary file."""

    def digests(folder):
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.arrow")}

    left = [path.name for path in (place / name).glob(".*.lock") if path.name != ".targets.lock"]
    return digests(place / name) == digests(place / "whole") and not left


@pytest.mark.parametrize(("moment", "n_whole"), [("teacher", 1), ("write", 1), ("rename", 1)])
def test_a_run_killed_at_any_moment_resumes_and_ends_in_the_same_bytes(place, moment, n_whole):
    finish(start(place, moment, moment=moment), status=-signal.SIGKILL)
    assert len(list((place / moment).glob("*.sha256"))) == n_whole
    before = sum(asked(place, moment).values())
    finish(start(place, moment))
    assert is_like_whole(place, moment)
    assert sum(asked(place, moment).values()) - before == N_VIEWS - 8 * n_whole, "whole shards are not made again"


def test_two_runs_share_the_work_and_make_nothing_twice(place):
    processes = [start(place, "two", nap_s=0.3) for _ in range(2)]
    for process in processes:
        finish(process)
    assert is_like_whole(place, "two")
    made = asked(place, "two")
    assert sum(made.values()) == N_VIEWS and len(made) == 2


def test_ranks_share_the_work_and_open_the_cache_together(place):
    ranks = [start(place, "ranks", nap_s=0.3, rank=rank) for rank in range(2)]
    for process in ranks:
        finish(process)
    assert is_like_whole(place, "ranks")
    made = asked(place, "ranks")
    assert sum(made.values()) == N_VIEWS and len(made) == 2


def test_whoever_waits_takes_over_what_a_killed_run_was_making(place):
    hanging = start(place, "taken", moment="hang")
    deadline = time.monotonic() + 60
    while not (place / "taken.log").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    waiting = start(place, "taken")
    while len(list((place / "taken").glob("*.sha256"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert waiting.is_alive(), "it waits for the shard that is being made"
    hanging.kill()
    hanging.join()
    finish(waiting)
    assert is_like_whole(place, "taken")


@pytest.mark.parametrize(("limit", "named"), [(1500, "windows_0000000.arrow"), (200, "targets.json")])
def test_a_full_disk_is_said_in_one_line_and_costs_nothing_that_was_whole(place, limit, named):
    name = f"full{limit}"
    finish(start(place, name, limit=limit), status=1)
    said = (place / f"{name}.error").read_text("utf-8")
    assert said.startswith("CheckpointError: ") and named in said and "\n" not in said
    assert "cannot be written (File too large)" in said and "give the same command again" in said
    assert not list((place / name).glob("*.part")) and not list((place / name).glob("*.arrow"))
    finish(start(place, name))
    assert is_like_whole(place, name)
