"""Names, shapes and number of parameters of a weights file.

A safetensors file is read without torch; other files by :mod:`tinyclap.checkpoints.state`, which executes nothing.
"""

import math
from pathlib import Path

from tinyclap.errors import CheckpointError, ConfigError

_WRAPPER = "module."  # of torch's parallel wrapper
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "position_ids")


def read_shapes(path):
    """Names of the tensors of a ``.safetensors`` or ``torch.save`` file → (shape, type)."""
    path = Path(path)
    if path.suffix != ".safetensors":
        from tinyclap.checkpoints.state import read_state_dict

        state = read_state_dict(path)
        return {name: (list(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for name, tensor in state.items()}
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ConfigError(f"safetensors is not installed ({error}); run: pip install safetensors") from error
    try:
        with safe_open(path, framework="numpy") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
            return {name: (part.get_shape(), part.get_dtype()) for name, part in parts.items()}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cut short, or no safetensors file ({error}); fetch it again") from error


def summary(shapes):
    """How many tensors, numbers and parameters (no buffers) a file has; numbers by type and by first word of the name.

    Example
    -------
    >>> summary({"head.weight": ([2, 3], "F32"), "norm.running_mean": ([3], "F32")})
    {'n_tensors': 2, 'n_numbers': 9, 'n_parameters': 6, 'types': {'F32': 9}, 'parts': {'head': 6, 'norm': 3}}
    """
    types, parts, n_parameters = {}, {}, 0
    for name, (shape, kind) in shapes.items():
        n_numbers = math.prod(shape)
        first = name.removeprefix(_WRAPPER).split(".")[0]
        types[kind] = types.get(kind, 0) + n_numbers
        parts[first] = parts.get(first, 0) + n_numbers
        n_parameters += n_numbers * (name.split(".")[-1] not in _BUFFERS)
    numbers = {"n_tensors": len(shapes), "n_numbers": sum(types.values()), "n_parameters": n_parameters}
    return {**numbers, "types": types, "parts": parts}
