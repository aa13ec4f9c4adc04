"""SpecAugment hides stripes and leaves the rest."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torchaudio.functional import mask_along_axis_iid

from tinyclap.features.spec_augment import SpecAugment


def test_stripes_take_the_mean_and_differ_between_clips():
    torch.manual_seed(0)
    mel = torch.randn(4, 300, 64) - 50
    masked = SpecAugment()(mel)
    changed = masked != mel
    torch.testing.assert_close(masked[changed], mel.mean().expand(int(changed.sum())))
    assert 0 < changed.float().mean() < 0.7 and not torch.equal(changed[0], changed[1])
    whole_frames, whole_bands = changed.all(dim=2).sum(1), changed.all(dim=1).sum(1)
    assert (whole_frames <= 128).all() and (whole_bands <= 16).all()
    rest = changed & ~changed.all(dim=2, keepdim=True) & ~changed.all(dim=1, keepdim=True)
    assert not rest.any()


def test_no_stripes_change_nothing_and_short_clips_are_borne():
    mel = torch.randn(1, 5, 8)
    assert torch.equal(SpecAugment(0, 64, 0, 8)(mel), mel)
    assert SpecAugment()(mel).shape == mel.shape


def test_the_same_random_state_masks_the_same_stripes_as_a_mean_read_on_the_host():
    mel = torch.randn(3, 200, 64, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    masked = SpecAugment()(mel)
    torch.manual_seed(1)
    by_hand = mel[:, None]
    for axis, width in ((2, 64), (2, 64), (3, 8), (3, 8)):
        by_hand = mask_along_axis_iid(by_hand, width, mel.mean().item(), axis)
    assert torch.equal(masked, by_hand[:, 0])


def test_no_value_is_read_on_the_host():
    with FakeTensorMode():
        assert SpecAugment()(torch.zeros(2, 300, 64)).shape == (2, 300, 64)
