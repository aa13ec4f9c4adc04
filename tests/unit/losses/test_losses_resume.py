"""Runs with losses that have a state of their own are killed, and go on as if they had not been."""

import pytest
import torch
from small_run import Distillation, make_corpora

from tinyclap.losses import make_loss


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("corpus"))


@pytest.mark.parametrize("options", [{"name": "centred", "momentum": 0.2}, {"name": "siglip", "nested_dims": [2]}])
def test_a_killed_run_repeats_the_unbroken_one(corpora, tmp_path, options):
    """A mean of the teacher's embeddings that began anew changed every loss after a resume."""

    def make(folder):
        terms = {"distill": {"loss": make_loss(embed_dim=6, **options), "student": "clip", "teacher": "clip"}}
        return Distillation(corpora, tmp_path / folder, terms=terms, run_opts={"ckpt_interval_steps": 2})

    unbroken = make("unbroken")
    unbroken.fit()
    make("killed").fit_until(2, 3)
    resumed = make("killed")
    resumed.fit()
    assert resumed.steps() == unbroken.steps() and resumed.history() == unbroken.history()
    for one, other in zip(
        *(run.brain.terms["distill"].loss.state_dict().values() for run in (resumed, unbroken)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
