"""Inference with exported models in onnxruntime or OpenVINO, without torch.

    model = tinyclap.runtime.load("exported/student")
    model.embed(["dog.wav", "rain.flac"])

The layer below :func:`tinyclap.from_pretrained`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tinyclap.checkpoints.folder import read_export

if TYPE_CHECKING:
    from tinyclap.runtime.audio_model import AudioModel
    from tinyclap.runtime.captioner import CaptionModel

__all__ = ["load"]


def load(
    folder: str | os.PathLike[str], engine: str = "onnxruntime", precision: str = "auto", n_threads: int | None = None
) -> AudioModel | CaptionModel:
    """Open an exported folder.

    Arguments
    ---------
    folder : str or os.PathLike
    engine : {"onnxruntime", "openvino"}
    precision : {"auto", "fp32", "int8", "bf16"}
        "auto" takes what the folder states as its best; "bf16" needs OpenVINO and a CPU that has it.
    n_threads : int or None. Threads of one call; None takes all cores.

    Raises
    ------
    CheckpointError: The folder or one of its files is missing or changed.
    ConfigError: The engine is not installed, or does not have this precision.
    """
    config = read_export(folder)
    if config["kind"] == "captioner":
        from tinyclap.runtime.captioner import CaptionModel

        return CaptionModel(folder, config, engine, precision, n_threads)
    from tinyclap.runtime.audio_model import AudioModel

    return AudioModel(folder, config, engine, precision, n_threads)
