"""State dicts and arrays of the published systems, for the tests that compare with them."""

import importlib.util
import json
from functools import cache
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).resolve().parents[1] / "reference"
STUDENTS = {
    "phinet_alpha_1.50_beta_0.75_t0_6_N_7": {"alpha": 1.5, "beta": 0.75, "t_zero": 6, "n_layers": 7},
    "phinet_alpha_0.75_beta_0.75_t0_4_N_5": {"alpha": 0.75, "beta": 0.75, "t_zero": 4, "n_layers": 5},
}

_spec = importlib.util.spec_from_file_location("reference_rule", FOLDER / "rule.py")
rule = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rule)


@cache
def arrays(name):
    """The arrays of one .npz file, by name."""
    with np.load(FOLDER / f"{name}.npz") as content:
        return {key: content[key] for key in content.files}


@cache
def _shapes():
    return json.loads((FOLDER / "published_keys.json").read_text())


def waveform(seed, duration_s, sample_rate_hz):
    """The reference's waveform, (1, T)."""
    return torch.from_numpy(rule.waveform(int(seed), float(duration_s), sample_rate_hz))[None]


def student_state_dict(name):
    """The released student's weights by the rule, under their published names."""
    shapes = _shapes()[f"student.{name}"]
    return {key: torch.from_numpy(rule.fill(f"student.{key}", shape)) for key, shape in shapes.items()}


def msclap_shapes():
    """Names and shapes of CLAP 2022's state dict, as published."""
    groups = ("audio_encoder", "caption_encoder.base", "caption_encoder.projection")
    return {f"{group}.{key}": shape for group in groups for key, shape in _shapes()[f"msclap2022.{group}"].items()}


def msclap_state_dict():
    """CLAP 2022's weights by the rule, under their published names."""
    return {key: torch.from_numpy(rule.fill(key, shape)) for key, shape in msclap_shapes().items()}


def relative_error(ours, reference):
    """‖ours − reference‖ / ‖reference‖ in float64."""
    ours, reference = np.asarray(ours, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    return np.linalg.norm(ours - reference) / np.linalg.norm(reference)
