"""Making shards on a Ray cluster (extra ``scale``): CPUs decode audio, teachers run on GPUs where there are any.

Every machine has tinyclap and sees corpora and cache under the same paths. Shards are byte for byte those of one
process. The shard of a worker that dies is begun again.
"""

import copy
import logging

import numpy as np

from tinyclap.errors import ConfigError

logger = logging.getLogger(__name__)

_STORE_BYTES = 1 << 30  # of a local cluster: some shards of decoded audio
_CPUS_OF_READER = 0.5  # less than a teacher's: Ray makes one stage of two that need the same, and they take turns
_readers = {}


def make_on_ray(maker, shards, address, n_teachers, bar):
    """Make shards on a cluster.

    Arguments
    ---------
    maker : object
        With ``hear(*shard)`` → list of (numpy.ndarray of shape (T,), note), ``make(*shard, heard)`` → number of views,
        and ``to(device)``; pickled.
    shards : list of (str, int, int). Part, first view, number of views.
    address : str. Of a cluster (``auto``, ``ray://host:10001``), or ``"local"`` to start one here.
    n_teachers : int. Running at once; 0 for one a GPU, or one without GPUs. Each has a CPU, or a GPU.
    bar : tqdm.tqdm

    Raises
    ------
    ConfigError: Ray is not installed, or there is no such cluster.
    """
    ray = _connected(address)
    try:
        n_gpus = int(ray.cluster_resources().get("GPU", 0))
        reader = copy.copy(maker)
        reader.teacher = None  # whoever decodes needs no weights
        rows = [dict(zip(("part", "first", "n_views"), shard, strict=True)) for shard in shards]
        heard = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _hear, fn_kwargs={"reader": ray.put(reader)}, num_cpus=_CPUS_OF_READER
        )
        kept = ray.put(maker)  # as long as teachers may have to be started again
        made = heard.map(
            _Teacher,
            fn_constructor_kwargs={"maker": kept, "device": "cuda" if n_gpus else None},
            compute=ray.data.ActorPoolStrategy(size=n_teachers or max(n_gpus, 1)),
            **({"num_gpus": 1} if n_gpus else {"num_cpus": 1}),
        )
        for row in made.iter_rows():
            bar.update(int(row["n_views"]))
    finally:
        if address == "local":
            ray.shutdown()


def _connected(address):
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError("Ray is not installed; pip install 'tinyclap[scale]', or use --n_processes") from error
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.WARNING}
    try:
        if address == "local":
            ray.init(object_store_memory=_STORE_BYTES, **quiet)
        elif not ray.is_initialized():
            ray.init(address=address, log_to_driver=False)
    except (ConnectionError, ValueError) as error:
        raise ConfigError(f"no Ray cluster at {address!r} ({error}); give its address, or --ray local") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.verbose_progress = False
    return ray


def _hear(row, reader):
    import ray

    if reader not in _readers:
        _readers.clear()
        _readers[reader] = ray.get(reader)
    heard = _readers[reader].hear(row["part"], int(row["first"]), int(row["n_views"]))
    samples, notes = [wav for wav, _ in heard], [note for _, note in heard]
    return {
        **row,
        "samples": np.concatenate(samples),
        "lengths": np.array([len(wav) for wav in samples]),
        "notes": [notes],
    }


class _Teacher:
    """A teacher in a Ray actor."""

    def __init__(self, maker, device):
        import ray

        # Ray's shared memory has another alignment, which changes the last bit of sums.
        self.maker = copy.deepcopy(ray.get(maker))
        if device is not None:
            self.maker.to(device)

    def __call__(self, row):
        wavs = np.split(np.array(row["samples"]), np.cumsum(row["lengths"])[:-1])
        heard = list(zip(wavs, row["notes"][0], strict=True))
        return {"n_views": self.maker.make(row["part"], int(row["first"]), int(row["n_views"]), heard)}
