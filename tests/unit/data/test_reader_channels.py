"""Channels of a clip: their mean, or their sum as in the official tinyCLAP code."""

import numpy as np
import pytest
import soundfile

from tinyclap.data.clip_reader import ClipReader
from tinyclap.errors import ConfigError


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"in_memory": True}])
def test_the_sum_of_channels_is_their_mean_times_their_number(tmp_path, columns, options):
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, (8000, columns))
    path = tmp_path / "clip.wav"
    soundfile.write(path, samples, 8000, subtype="FLOAT")
    summed = ClipReader(8000, channels="sum", **options)(path, start_s=0.25, duration_s=0.5)
    assert summed.dtype == np.float32
    np.testing.assert_allclose(summed, samples[2000:6000].sum(axis=1), atol=1e-4)
    mean = ClipReader(8000, **options)(path, start_s=0.25, duration_s=0.5)
    np.testing.assert_allclose(summed, mean * columns, atol=1e-6)
    assert ClipReader(8000, channels="sum", **options).at(4000).channels == "sum"


def test_other_channels_are_refused():
    with pytest.raises(ConfigError, match="mean"):
        ClipReader(8000, channels="left")
