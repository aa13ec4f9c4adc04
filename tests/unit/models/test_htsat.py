"""HTS-AT: the image that a spectrogram becomes, windows and shifts, and frames in the order of time."""

import json

import pytest
import torch
from published_reference import FOLDER

from tinyclap.config.registry import build
from tinyclap.errors import ConfigError
from tinyclap.metrics.cost import count_parameters
from tinyclap.models import htsat
from tinyclap.models.htsat import Htsat

SMALL = {"n_mels": 16, "image_size": 64, "width": 8, "depths": (2, 2), "n_heads": (2, 2), "window": 4, "n_tags": 3}
# what follows from sizes, and our front end
OWN = ("audio_feats_extractor", "relative_position_index", "attn_mask")


def small(seed=0, **changes):
    torch.manual_seed(seed)
    return Htsat(**{**SMALL, **changes}).eval()


def test_names_and_shapes_are_the_published_ones():
    published = json.loads((FOLDER / "published_keys.json").read_text())["wavcaps_htsat_bart.encoder.audio_enc"]
    published = {name: tuple(shape) for name, shape in published.items() if not any(own in name for own in OWN)}
    with torch.device("meta"):
        encoder = Htsat()
    assert {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()} == published
    assert count_parameters(Htsat(n_tags=0)) == 27_534_488
    assert (encoder.n_image_frames, encoder.stride, encoder.frame_dim, encoder.embed_dim) == (1024, 32, 768, 768)


@torch.no_grad()
def test_stretches_of_time_lie_one_above_the_other_in_the_image():
    encoder = small()
    log_mel = torch.arange(256 * 16, dtype=torch.float32).view(1, 256, 16)
    image = encoder._image(log_mel)
    assert image.shape == (1, 1, 64, 64)
    expected = torch.cat([stretch.T for stretch in log_mel[0].split(64)])  # 4 stretches of 64 frames
    torch.testing.assert_close(image[0, 0], expected, rtol=1e-5, atol=0)  # batch norm divides by √(1 + 1e-5)


@torch.no_grad()
def test_fewer_frames_are_stretched_from_the_first_to_the_last():
    encoder = small()
    ramp = torch.linspace(0, 1, 100)[None, :, None].expand(1, 100, 16)
    image = encoder._image(ramp)[0, 0]
    assert image[0, 0] == pytest.approx(0, abs=1e-6) and image[-1, -1] == pytest.approx(1, rel=1e-4)
    torch.testing.assert_close(image[::16].flatten(), torch.linspace(0, 1, 256), rtol=0, atol=1e-3)


def test_the_bias_of_two_patches_is_that_of_the_offset_between_them():
    assert htsat._offsets(2).tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


def test_patches_from_opposite_edges_do_not_see_each_other():
    seen = htsat._shift_mask(side=4, window=2, shift=1) == 0
    everything, left_right = torch.ones(4, 4), torch.tensor([[1, 0], [0, 1]]).repeat(2, 2)
    top_bottom = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2))
    assert torch.equal(seen, torch.stack([everything, left_right, top_bottom, torch.eye(4)]).bool())
    assert htsat._shift_mask(4, 2, 1).unique().tolist() == [-100, 0]


def test_windows_go_row_by_row_and_back():
    feature_map = torch.arange(2 * 4 * 4 * 3).view(2, 4, 4, 3)
    windows = htsat._to_windows(feature_map, 2)
    assert torch.equal(windows[0, 1], feature_map[0, :2, 2:].reshape(4, 3))
    assert torch.equal(htsat._from_windows(windows, feature_map.shape), feature_map)


def test_four_patches_merge_column_by_column():
    merging = htsat._Merging(1)
    merging.norm, merging.reduction = torch.nn.Identity(), torch.nn.Identity()
    assert merging(torch.tensor([[[[1.0], [2.0]], [[3.0], [4.0]]]])).flatten().tolist() == [1, 3, 2, 4]


def test_a_stage_of_one_window_shifts_nothing():
    encoder = small(depths=(2, 2), window=8)  # 16 × 16 patches, then 8 × 8
    assert [block.shift for stage in encoder.layers for block in stage.blocks] == [0, 4, 0, 0]
    assert small(window=99).layers[0].blocks[1].mask is None


@torch.no_grad()
def test_frames_stand_in_the_order_of_time():
    encoder = small()
    log_mel = torch.zeros(1, 256, 16)
    silence = encoder(log_mel).frames
    assert silence.shape == (1, 32, 16)
    for frame in (0, 9, 18, 31):
        louder = log_mel.clone()
        louder[:, frame * encoder.stride : (frame + 1) * encoder.stride] = torch.randn(1, 8, 16)
        change = (encoder(louder).frames - silence).norm(dim=-1)[0]
        assert change.argmax() == frame


@torch.no_grad()
def test_a_clip_is_the_same_alone_and_in_a_batch():
    encoder = small()
    log_mel = torch.randn(3, 200, 16)
    encoding = encoder(log_mel)
    torch.testing.assert_close(encoder(log_mel[1:2]).frames[0], encoding.frames[1], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(encoding.clip, encoding.frames.mean(1))
    assert encoding.n_frames.tolist() == [32, 32, 32]


def test_one_frame_is_enough_and_too_many_are_refused():
    encoder = small()
    assert encoder(torch.zeros(1, 1, 16)).frames.isfinite().all()
    with pytest.raises(ConfigError, match="257 frames, HTS-AT takes 1 to 256; cut the clip into windows"):
        encoder(torch.zeros(1, 257, 16))


def test_it_rebuilds_from_its_config():
    encoder = small()
    build(encoder.config).load_state_dict(encoder.state_dict())


@pytest.mark.parametrize("wrong", [{"n_heads": (2,)}, {"n_mels": 20}, {"n_mels": 4, "image_size": 64}])
def test_sizes_that_do_not_divide_are_refused(wrong):
    with pytest.raises(ConfigError, match="as many depths as n_heads, and image_size a multiple"):
        small(**wrong)
