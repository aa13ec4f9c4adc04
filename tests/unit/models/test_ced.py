"""CED against its formula written out plainly, its published sizes and names, and inputs of any length."""

import pytest
import torch
import torch.nn.functional as F

from tinyclap import load_published
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.metrics.cost import count_parameters
from tinyclap.models.ced import Ced
from tinyclap.published.encoder_weights import EncoderWeights
from tinyclap.published.table import recognise


def published_shapes(width=192, n_layers=12, init_bn="init_bn.1", prefix=""):
    """Names and shapes of a published checkpoint, from the classes of github.com/RicherMans/CED."""
    shapes = {f"{init_bn}.{name}": (64,) for name in ("weight", "bias", "running_mean", "running_var")}
    shapes |= {f"{init_bn}.num_batches_tracked": (), "time_pos_embed": (1, width, 1, 63)}
    shapes |= {"freq_pos_embed": (1, width, 4, 1), "norm.weight": (width,), "norm.bias": (width,)}
    shapes |= {"patch_embed.proj.weight": (width, 1, 16, 16), "patch_embed.proj.bias": (width,)}
    for index in range(n_layers):
        block = f"blocks.{index}"
        for norm in ("norm1", "norm2"):
            shapes |= {f"{block}.{norm}.weight": (width,), f"{block}.{norm}.bias": (width,)}
        for name, n_out, n_in in (("attn.qkv", 3, 1), ("attn.proj", 1, 1), ("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4)):
            shapes |= {
                f"{block}.{name}.weight": (n_out * width, n_in * width),
                f"{block}.{name}.bias": (n_out * width,),
            }
    shapes = {f"{prefix}{name}": shape for name, shape in shapes.items()}
    shapes |= {"outputlayer.0.weight": (width,), "outputlayer.0.bias": (width,)}
    return {**shapes, "outputlayer.1.weight": (527, width), "outputlayer.1.bias": (527,)}


def published_weights(**options):
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, shape in published_shapes(**options).items():
        scale = shape[-1] ** -0.5 if len(shape) == 2 else 0.3
        weights[name] = torch.randn(shape, generator=generator) * scale
        if name.endswith(("running_var", "norm.weight", "norm1.weight", "norm2.weight")):
            weights[name] = weights[name].abs() + 0.5
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(7)
    return weights


def reference(weights, log_mel):
    """Patches after the last norm (B, 4, T, C) and logits (B, 527) of log-mel (B, M, F), one step after another."""
    n_clips, width = len(log_mel), len(weights["norm.weight"])
    mean, variance = (weights[f"init_bn.1.running_{name}"][:, None] for name in ("mean", "var"))
    gain, bias = (weights[f"init_bn.1.{name}"][:, None] for name in ("weight", "bias"))
    image = (log_mel - mean) / torch.sqrt(variance + 1e-5) * gain + bias
    n_times = log_mel.shape[2] // 16
    tokens = torch.zeros(n_clips, 4 * n_times, width)
    for row in range(4):
        for column in range(n_times):
            pixels = image[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16].flatten(1)
            patch = pixels @ weights["patch_embed.proj.weight"].flatten(1).T + weights["patch_embed.proj.bias"]
            patch = patch + weights["time_pos_embed"][0, :, 0, column] + weights["freq_pos_embed"][0, :, row, 0]
            tokens[:, row * n_times + column] = patch

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name, x, eps=1e-6):
        centred = x - x.mean(-1, keepdim=True)
        normed = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + eps)
        return normed * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    for index in range(12):
        block = f"blocks.{index}"
        query, key, value = linear(f"{block}.attn.qkv", norm(f"{block}.norm1", tokens)).split(width, dim=-1)
        heads = []
        for head in range(width // 64):
            part = slice(64 * head, 64 * head + 64)
            scores = query[..., part] @ key[..., part].transpose(1, 2) / 8
            heads.append(scores.softmax(-1) @ value[..., part])
        tokens = tokens + linear(f"{block}.attn.proj", torch.cat(heads, -1))
        hidden = F.gelu(linear(f"{block}.mlp.fc1", norm(f"{block}.norm2", tokens)))
        tokens = tokens + linear(f"{block}.mlp.fc2", hidden)
    tokens = norm("norm", tokens)
    logits = linear("outputlayer.1", norm("outputlayer.0", tokens.mean(1), eps=1e-5))
    return tokens.unflatten(1, (4, n_times)), logits


def relative_error(ours, wanted):
    return float((ours.double() - wanted.double()).norm() / wanted.double().norm())


@torch.no_grad()
@pytest.mark.parametrize("n_frames", [1001, 157, 16])
def test_published_weights_give_what_the_formula_gives(n_frames):
    weights = published_weights()
    network = load_published("ced", state_dict=weights)
    log_mel = torch.randn(2, n_frames, 64) * 10 - 30
    encoding = network.audio.encoder(log_mel)
    tokens, logits = reference({name: tensor.double() for name, tensor in weights.items()}, log_mel.mT.double())
    assert relative_error(encoding.frames, tokens.mean(1)) < 1e-5
    assert relative_error(encoding.clip, tokens.mean((1, 2))) < 1e-5
    assert relative_error(network.audio.encoder.tag_logits(encoding.clip), logits) < 1e-5


@pytest.mark.parametrize(("width", "millions"), [(192, 5.5), (256, 9.7), (384, 21.6), (768, 85.7)])
def test_sizes_are_the_published_ones(width, millions):
    with torch.device("meta"):
        assert round(count_parameters(Ced(width, n_tags=527)) / 1e6, 1) == millions


@torch.no_grad()
def test_names_of_zenodo_and_of_hugging_face_load_strictly():
    clip = torch.randn(1, 16000)
    zenodo = {**published_weights(width=64), "front_end.0.spectrogram.window": torch.zeros(512)}
    hub = published_weights(width=64, init_bn="init_bn", prefix="encoder.")
    shared = dict(zip(hub, published_weights(width=64).values(), strict=True))
    logits = [load_published("ced", state_dict=weights).tag(clip, 16000) for weights in (zenodo, shared)]
    torch.testing.assert_close(*logits)
    assert logits[0].shape == (1, 527)
    assert recognise(zenodo)["name"] == recognise(hub)["name"] == "ced"
    del zenodo["blocks.3.attn.qkv.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: blocks\.3\.attn\.qkv\.bias"):
        load_published("ced", state_dict=zenodo)
    with pytest.raises(ConfigError, match="ced takes no options; not width"):
        load_published("ced", state_dict=hub, width=64)


@pytest.mark.parametrize("options", [{}, {"init_bn": "init_bn", "prefix": "encoder."}], ids=["zenodo", "hub"])
def test_a_student_begins_with_the_published_encoder(tmp_path, options):
    weights = published_weights(width=64, **options)
    torch.save({"model": weights}, tmp_path / "ced.pt")
    encoder = Ced(width=64)
    EncoderWeights(encoder, tmp_path / "ced.pt").load()
    assert torch.equal(
        encoder.blocks[11].mlp["fc2"].bias, weights[f"{options.get('prefix', '')}blocks.11.mlp.fc2.bias"]
    )
    with pytest.raises(CheckpointError, match="another shape"):
        EncoderWeights(Ced(width=128), tmp_path / "ced.pt").load()


@torch.no_grad()
def test_short_inputs_are_lengthened_long_ones_refused():
    encoder = Ced(width=64, n_layers=2).eval()
    short = torch.randn(1, 3, 64)
    repeated = torch.cat([short, short[:, -1:].expand(-1, 13, -1)], 1)
    torch.testing.assert_close(encoder(short).clip, encoder(repeated).clip)
    assert encoder(torch.zeros(1, 1012, 64)).frames.shape == (1, 63, 64)
    assert encoder.n_valid_frames(torch.tensor([3, 47, 1001])).tolist() == [1, 2, 62]
    with pytest.raises(ConfigError, match="1013 frames, CED takes 1012"):
        encoder(torch.zeros(1, 1013, 64))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"width": 100}, "no multiple of 64"), ({"n_mels": 40}, "multiple of patch"), ({"max_frames": 8}, "max_frames=8")],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Ced(**options)
