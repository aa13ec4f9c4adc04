"""Cost of a network: parameters, multiply-accumulates (MACs) in two conventions, memory of activations, latency."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(module: nn.Module, trainable_only: bool = False) -> int:
    """Count the parameters of a module, or those that get a gradient; shared tensors count once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)


def count_macs(module: Callable[..., Any], *inputs: Any) -> dict[str, int]:
    """Count the MACs of one forward pass, ``module(*inputs)``, without gradient, in two conventions.

    ``n_macs`` is half of the FLOPs of ``torch.utils.flop_counter``: convolutions and every matrix product, so also the
    mel bands and attention, but no FFT. ``n_macs_paper`` is convolutions and linear layers alone, as the paper counts;
    its figures are for 5 s at 44.1 kHz, a 690 × 64 log-mel.

    Example
    -------
    >>> count_macs(nn.Linear(3, 2), torch.zeros(5, 3))
    {'n_macs': 30, 'n_macs_paper': 30}
    """
    return _observed(module, *inputs)[1]


def complexity(model: Any, clip_duration_s: float = 5.0, run: Callable[..., Any] | None = None) -> dict[str, float]:
    """Count parameters and MACs of a model's audio side, on a silent clip.

    `model` has ``embed_audio(wavs, sample_rate_hz)`` and ``sample_rate_hz``; `run`, called likewise, is measured in its
    place. Returns ``n_parameters`` of the layers that took part (so no text tower and no unused head), ``n_macs`` and
    ``n_macs_paper`` of :func:`count_macs`, and ``macs_clip_s``.
    """
    wavs = torch.zeros(1, round(clip_duration_s * model.sample_rate_hz))
    parameters, macs = _observed(run or model.embed_audio, wavs, model.sample_rate_hz)
    return {"n_parameters": sum(parameters.values()), **macs, "macs_clip_s": clip_duration_s}


def _observed(run, *inputs):
    """Sizes of the parameters that took part in ``run(*inputs)``, by their ids, and the MACs in both conventions."""
    parameters, macs = {}, {"n_macs": 0, "n_macs_paper": 0}

    def note(module, _, out):
        # Attention layers use their last linear map without calling it, so it is counted with them.
        for parameter in module.parameters(recurse=isinstance(module, nn.MultiheadAttention)):
            parameters[id(parameter)] = parameter.numel()
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
            macs["n_macs_paper"] += out.numel() * module.weight[0].numel()

    hook = nn.modules.module.register_module_forward_hook(note)
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            run(*inputs)
    finally:
        hook.remove()
    return parameters, {**macs, "n_macs": counter.get_total_flops() // 2}


def peak_activation_memory(module: Callable[..., Any], *inputs: torch.Tensor) -> dict[str, Any]:
    """Peak bytes of activations in a forward pass: ``peak_bytes``, ``operation`` (then), ``input_bytes`` (among them).

    Exact for what PyTorch runs, and independent of the machine: every storage that an operation makes counts until it
    is released. Weights do not count, views count once. Not seen is the workspace of a kernel (on x86 CPUs, PyTorch's
    allocator peaked at 1.1 to 1.7 times this for the students here), nor the front end's quick path on CPUs, which
    works block by block: under observation :class:`tinyclap.features.LogMel` runs its plain operations.
    """
    with torch.no_grad(), _LiveStorages(inputs) as live:
        module(*inputs)
    return {"peak_bytes": live.peak_bytes, "operation": live.operation, "input_bytes": live.input_bytes}


class _LiveStorages(TorchDispatchMode):
    """Adds up the storages that operations made and that are still held."""

    def __init__(self, inputs):
        super().__init__()
        self.live, self.foreign = {}, {}
        self._note(inputs, self.live)
        self.peak_bytes = self.input_bytes = sum(n_bytes for _, n_bytes in self.live.values())
        self.operation = "input"

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        # What comes in without having been made here is a weight or a constant.
        self._note(tree_leaves((args, kwargs)), self.foreign)
        out = func(*args, **(kwargs or {}))
        self.live = {key: entry for key, entry in self.live.items() if not entry[0].expired()}
        self._note(tree_leaves(out), self.live)
        n_bytes = sum(n_bytes for _, n_bytes in self.live.values())
        if n_bytes > self.peak_bytes:
            self.peak_bytes, self.operation = n_bytes, str(func)
        return out

    def _note(self, leaves, table):
        """Put the storages of tensors into a table, unless one of the tables has them."""
        for tensor in leaves:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                # The weak reference keeps the address from being given to another storage.
                reference = StorageWeakRef(storage)
                if reference.cdata not in self.live and reference.cdata not in self.foreign:
                    table[reference.cdata] = reference, storage.nbytes()


def measure_latency(
    module: Callable[..., Any],
    *inputs: torch.Tensor,
    n_repeats: int = 20,
    n_warmup: int = 3,
    n_threads: int | None = None,
) -> dict[str, Any]:
    """Time ``module(*inputs)`` without gradient, on the device of the inputs.

    Arguments
    ---------
    module, *inputs : nn.Module or callable, and torch.Tensor
    n_repeats, n_warmup : int
    n_threads : int or None. Threads of the CPU during the measurement; None leaves them as they are.
    """
    device = inputs[0].device if inputs else torch.device("cpu")
    n_threads_before = torch.get_num_threads()
    torch.set_num_threads(n_threads or n_threads_before)
    times_ms = []
    try:
        with torch.no_grad():
            for index in range(n_warmup + n_repeats):
                start = time.perf_counter()
                module(*inputs)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                if index >= n_warmup:
                    times_ms.append(1e3 * (time.perf_counter() - start))
        n_threads_used = torch.get_num_threads()
    finally:
        torch.set_num_threads(n_threads_before)
    tenths = statistics.quantiles(times_ms, n=10, method="inclusive") if len(times_ms) > 1 else times_ms * 9
    return {
        "median_ms": statistics.median(times_ms),
        "p10_ms": tenths[0],
        "p90_ms": tenths[-1],
        "n_repeats": n_repeats,
        "n_threads": n_threads_used,
        "device": str(device),
    }
