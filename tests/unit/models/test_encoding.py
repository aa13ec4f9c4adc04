"""What encoders return, and what happens to inputs that are too short for them."""

import torch

from tinyclap.models.encoding import as_encoding, at_least_frames


def test_short_inputs_repeat_their_last_frame():
    log_mel = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert at_least_frames(log_mel, 4).tolist() == [[[1, 2], [3, 4], [3, 4], [3, 4]]]


def test_long_inputs_pass_untouched():
    log_mel = torch.rand(2, 5, 3)
    assert at_least_frames(log_mel, 5) is log_mel


def test_every_frame_of_a_batch_is_valid():
    encoding = as_encoding(torch.zeros(3, 2), torch.zeros(3, 7, 2))
    assert encoding.n_frames.tolist() == [7, 7, 7] and encoding.n_frames.dtype == torch.int64
