"""A target cache made on a Ray cluster, one of whose workers is killed, has the bytes that one process writes alone."""

import hashlib
import os
import signal
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from tinyclap.data.targets import TeacherTargets
from tinyclap.errors import AudioError

pytest.importorskip("ray", reason="Ray is an optional library: pip install 'tinyclap[scale]'")
sys.path.insert(0, str(ROOT / "tests" / "unit"))

from small_run import ToneTeacher, make_corpora, make_features, make_views  # noqa: E402


class Mortal(ToneTeacher):
    """Kills its process at the ninth view, once."""

    def __init__(self, tombstone):
        super().__init__()
        self.tombstone, self.n_asked = tombstone, 0

    def targets(self, wavs, sample_rate_hz, columns=("clip",)):
        """As every teacher, but for the ninth view."""
        self.n_asked += len(wavs)
        if self.n_asked > 8 and not Path(self.tombstone).exists():
            Path(self.tombstone).write_text(str(os.getpid()), encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().targets(wavs, sample_rate_hz, columns)


def digests(targets):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in targets.folder.glob("*.arrow")}


@pytest.fixture
def one_thread():
    """Sums in another order, by another number of threads, differ in their last bit."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def test_a_cluster_that_loses_a_teacher_writes_what_one_process_writes(tmp_path, monkeypatch, one_thread):
    corpora = make_corpora(tmp_path / "corpus")
    folders = (ROOT / "tests" / "unit", ROOT / "tests" / "integration", ROOT)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, folders)))  # workers import this module too

    def make(folder, teacher):
        options = {"features": make_features(), "batch_size": 4, "shard_size": 8}
        return TeacherTargets(teacher, make_views(corpora), ("clip", "frames"), tmp_path / folder, **options)

    alone = make("alone", ToneTeacher()).load()
    broken = Path(
        {**make_views(corpora).train_items, **make_views(corpora).valid_items}[alone.views[0].keys()[-1][0]]["wav"]
    )
    content, tombstone = broken.read_bytes(), tmp_path / "tombstone"
    broken.write_bytes(b"no audio")  # of the last shard
    cluster = make("cluster", Mortal(str(tombstone)))
    cluster.scale(ray_address="local")
    with pytest.raises(AudioError, match=broken.name):
        cluster.load()
    assert tombstone.exists() and int(tombstone.read_text("utf-8")) != os.getpid(), "a worker died"
    made = digests(cluster)
    assert len(made) == len(digests(alone)) - 1 >= 3 and made.items() <= digests(alone).items()
    broken.write_bytes(content)
    assert digests(make("cluster", ToneTeacher()).load()) == digests(alone)
