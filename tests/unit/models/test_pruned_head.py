"""Removed rows give what masked rows give: exactly where the algebra allows it, measured where it does not."""

import pytest
import torch
import torch.nn.functional as F
from published_reference import STUDENTS, student_state_dict

from tests import tiny
from tinyclap import load_published
from tinyclap.checkpoints.state import load_folder, save_folder
from tinyclap.config.registry import build
from tinyclap.errors import ConfigError
from tinyclap.features.front_ends import log_mel
from tinyclap.metrics.cost import complexity, count_parameters
from tinyclap.models.phinet import PhiNet
from tinyclap.models.projection import ClapProjection, LinearHead, MlpHead, TagHead
from tinyclap.models.pruned_head import principal_directions
from tinyclap.models.student import AudioStudent, Clap

SMALL = "phinet_alpha_0.75_beta_0.75_t0_4_N_5"
EXACT = 1e-5


@pytest.fixture(scope="module")
def published():
    """The head of a released student, by the rule, with moments of features of low rank, as real ones are."""
    head = load_published("tinyclap-student", student_state_dict(SMALL), **STUDENTS[SMALL]).audio.projection
    features = low_rank_features(1200, head.d_in)
    return head, moments_of(head, features)


def low_rank_features(n_clips, d_in, seed=0):
    """Features that vary along 24 directions, each less than the one before."""
    generator = torch.Generator().manual_seed(7)
    axes = torch.randn(24, d_in, generator=generator) * 0.8 ** torch.arange(24)[:, None]
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_clips, 24, generator=generator) @ axes * 0.5


@torch.no_grad()
def moments_of(head, features):
    first = head.linear1(features)
    hidden = F.gelu(first)
    pre_norm = (first + head.linear2(hidden)).double()
    return {
        "pre_norm_second_moment": (pre_norm.T @ pre_norm / len(pre_norm)).numpy(),
        "hidden_mean": hidden.double().mean(0).numpy(),
        "hidden_std": hidden.double().std(0).numpy(),
    }


def clap_head(d_in=12, d_out=20, bias=True):
    torch.manual_seed(0)
    head = ClapProjection(d_in, d_out).eval()
    torch.nn.init.uniform_(head.layer_norm.weight, 0.5, 2)
    if bias:
        torch.nn.init.normal_(head.layer_norm.bias, std=0.5)
    return head


def masked(head, features, kept):
    """Rows of the whole head: masked, and unit vectors again."""
    return F.normalize(head(features)[:, kept], dim=-1)


@torch.no_grad()
def error(head, pruned, kept, seed=1):
    """Greatest difference of an entry between unit rows, on features that the moments have not seen."""
    features = low_rank_features(100, head.d_in, seed)
    return (F.normalize(pruned(features), dim=-1) - masked(head, features, kept)).abs().max().item()


# CLAP's head ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("n_kept", [768, 102])
def test_without_a_bias_removed_rows_equal_masked_ones_and_need_no_scale(published, n_kept):
    head = ClapProjection(2048, 1024).eval()
    head.load_state_dict(published[0].state_dict())
    head.layer_norm.bias.zero_()
    kept = torch.randperm(1024, generator=torch.Generator().manual_seed(0))[:n_kept].tolist()
    pruned = head.keep_dims(kept)
    assert error(head, pruned, kept) < EXACT
    assert pruned.is_exact and pruned.n_exact == 0
    # D − |K| rows of linear2 are gone, and gain and bias of as many entries
    assert count_parameters(head) - count_parameters(pruned) == (1024 - n_kept) * (1024 + 2)


def test_with_a_bias_the_error_falls_with_the_directions_and_ends_at_nothing(published):
    head, moments = published
    assert head.layer_norm.bias.abs().max() > 0.01
    kept = list(range(0, 1024, 4))
    errors = [error(head, head.keep_dims(kept, moments, r), kept) for r in (0, 2, 8, 24)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1e-4 and errors[2] < errors[0] / 4 and errors[3] < errors[0] / 20
    whole = head.keep_dims(kept, moments, 1024 - 256)
    assert whole.is_exact and error(head, whole, kept) < EXACT
    assert error(head, head.keep_dims(kept), kept) < EXACT, "without moments nothing is approximated"
    assert not head.keep_dims(kept, moments, 8).is_exact


def test_a_scale_of_one_kept_entry_by_hand():
    # z = W1 x + W2 GELU(0): x has one entry, and GELU's inputs are nought where W1 is
    head = ClapProjection(1, 4).eval()
    with torch.no_grad():
        head.linear1.weight.copy_(torch.tensor([[3.0], [0.0], [0.0], [1.0]]))
        head.linear2.weight.zero_()
        head.layer_norm.bias.fill_(1.0)
    # z = (3, 0, 0, 1), mean 1, variance (4 + 1 + 1 + 0) / 4 = 1.5; kept: (3 − 1) / √1.5 + 1
    found = head.keep_dims([0])(torch.ones(1, 1))
    assert found.item() == pytest.approx(2 / 1.5**0.5 + 1, abs=1e-4)
    # the dropped, centred part (−1, −1, 0) is all that the second moment knows: a direction has it, and so has its mean
    moments = {"pre_norm_second_moment": [[9.0, 0, 0, 3], [0, 0, 0, 0], [0, 0, 0, 0], [3, 0, 0, 1]]}
    for n_rows in (0, 1):
        assert head.keep_dims([0], moments, n_rows)(torch.ones(1, 1)).item() == pytest.approx(found.item(), abs=1e-5)
    # of a clip twice as loud the mean knows nothing: z = 6, 0, 0, 2; (6 − 2) / √((16 + 2 · 1) / 4) + 1
    twice = 2 * torch.ones(1, 1)
    assert head.keep_dims([0], moments, 0)(twice).item() == pytest.approx(4 / (18 / 4) ** 0.5 + 1, abs=1e-4)
    assert head.keep_dims([0], moments, 1)(twice).item() == pytest.approx(4 / 6**0.5 + 1, abs=1e-4)


def test_directions_hold_the_most_of_what_was_dropped():
    features = low_rank_features(500, 10).double()
    second_moment = features.T @ features / 500
    centred = features - features.mean(dim=1, keepdim=True)
    energy = centred[:, 4:].square().sum(dim=1).mean().item()
    rests = [principal_directions(second_moment, list(range(4, 10)), r)[1] for r in (0, 1, 3, 5)]
    assert rests[0] == pytest.approx(energy) and rests == sorted(rests, reverse=True)
    directions, rest = principal_directions(second_moment, list(range(4, 10)), 3)
    torch.testing.assert_close(directions.sum(dim=1), torch.zeros(3).double(), atol=1e-12, rtol=0)
    assert (features @ directions.T).square().sum(dim=1).mean().item() + rest == pytest.approx(energy)


def test_fewer_hidden_units_cost_accuracy_by_degrees(published):
    head, moments = published
    kept = list(range(0, 1024, 4))
    heads = [head.keep_dims(kept, moments, 24, fraction) for fraction in (1.0, 0.5, 0.2)]
    errors = [error(head, pruned, kept) for pruned in heads]
    sizes = [count_parameters(pruned) for pruned in heads]
    assert errors == sorted(errors) and sizes == sorted(sizes, reverse=True)
    assert heads[0].n_hidden == 1024 and heads[0].linear2.bias is None
    assert 512 <= heads[1].n_hidden <= 512 + 256 and not heads[1].is_exact
    assert heads[1].linear1.out_features == heads[1].n_hidden + 1 + 24


@torch.no_grad()
def test_a_hidden_unit_that_never_moves_is_dropped_for_nothing():
    head = clap_head(bias=False)
    features = torch.randn(200, 12)
    head.linear1.weight[7] = 0
    moments = moments_of(head, features)
    kept = [0, 3, 5]
    pruned = head.keep_dims(kept, moments, 0, 19 / 20)
    assert pruned.n_hidden == 19 and count_parameters(pruned) == 20 * 12 + 3 * 19 + 3 + 6
    torch.testing.assert_close(F.normalize(pruned(features), dim=-1), masked(head, features, kept), atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(("n_rows", "hidden"), [(None, None), (0, None), (3, None), (0, 0.5), (3, 0.5)])
def test_a_pruned_head_can_lose_more_and_rebuilds_from_json(n_rows, hidden):
    head, features = clap_head(), torch.randn(50, 12)
    pruned = head.keep_dims([4, 1, 9, 0, 7], moments_of(head, features), n_rows, hidden)
    fewer = pruned.keep_dims([2, 0])
    torch.testing.assert_close(fewer(features), pruned(features)[:, [2, 0]])
    for made in (pruned, fewer):
        again = build(made.config)
        again.load_state_dict(made.state_dict())
        assert torch.equal(again.eval()(features), made(features))


@torch.no_grad()
def test_without_scale_a_pruned_head_loses_rows_again():
    head, features = clap_head(bias=False), torch.randn(50, 12)
    twice, once = head.keep_dims([4, 1, 9, 0]).keep_dims([3, 1]), head.keep_dims([0, 1])
    torch.testing.assert_close(twice(features), once(features))
    assert count_parameters(twice) == count_parameters(once)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"indices": [0, 20]}, r"places 0 to 19.*\[20\] are none"),
        ({"indices": [0, 0]}, "one comes twice"),
        ({"indices": []}, "none is left"),
        ({"indices": [0], "n_statistic_rows": 2}, "needs pre_norm_second_moment.*rank_latent"),
        ({"indices": [0], "n_statistic_rows": -1}, "at least 0, not -1"),
        ({"indices": [0], "n_statistic_rows": 2, "moments": {"pre_norm_second_moment": [[1.0]]}}, r"is \(1, 1\)"),
        ({"indices": [0], "hidden_fraction": 1.5}, r"in \(0, 1\], not 1.5"),
        ({"indices": [0], "hidden_fraction": 0.5}, "needs hidden_std"),
    ],
)
def test_what_cannot_be_removed_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        clap_head().keep_dims(**options)


# Other heads, students, CLAPs -----------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("head", [LinearHead(6, 9), LinearHead(6, 9, bias=False), MlpHead(6, 5, 9), TagHead(6, 9)])
def test_other_heads_give_the_very_rows(head):
    if isinstance(head, TagHead):
        head.calibrate(torch.randn(9), torch.rand(9) + 0.5)
    features, kept = torch.randn(7, 6), [8, 2, 3]
    pruned = head.eval().keep_dims(kept)
    torch.testing.assert_close(pruned(features), head(features)[:, kept])
    assert pruned.d_out == 3 and count_parameters(pruned) < count_parameters(head)
    again = build(pruned.config)
    again.load_state_dict(pruned.state_dict())
    assert torch.equal(again.eval()(features), pruned(features))


def small_student(head="clap", **options):
    torch.manual_seed(0)
    encoder = PhiNet(n_mels=32, alpha=0.35, n_layers=4, t_zero=2, embed_width=24)
    features = log_mel("clap2022", sample_rate_hz=16000, f_max_hz=8000.0, n_mels=32)
    head = clap_head(24, 20) if head == "clap" else head
    return AudioStudent(features, encoder, head, {"window_s": 1.0}, **options).eval()


@torch.no_grad()
@pytest.mark.parametrize("head", ["clap", LinearHead(24, 20), MlpHead(24, 7, 20)])
def test_folding_and_pruning_come_to_the_same_in_either_order_and_in_a_folder(head, tmp_path):
    student, kept = small_student(head), [3, 11, 0, 19]
    wavs = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0)) * 0.1
    wanted = F.normalize(student(wavs).clip[:, kept], dim=-1)
    pruned = student.keep_dims(kept)
    forms = {"pruned": pruned, "pruned_folded": pruned.fold(), "folded_pruned": student.fold().keep_dims(kept)}
    for name, form in forms.items():
        save_folder(form, tmp_path / name)
        for one in (form, load_folder(tmp_path / name)[0]):
            torch.testing.assert_close(F.normalize(one(wavs).clip, dim=-1), wanted, atol=EXACT, rtol=0)
            assert one.embed_dim == 4 and one.embed_audio(wavs, 16000).shape == (2, 4)
        assert load_folder(tmp_path / name)[0].folded == ("folded" in name)
    assert count_parameters(forms["pruned_folded"]) == count_parameters(forms["folded_pruned"])
    assert student.embed_dim == 20 and student(wavs).clip.shape == (2, 20), "the student is as it was"


@torch.no_grad()
def test_parameters_and_macs_of_the_headline_student_really_go():
    student = load_published("tinyclap-student", student_state_dict(list(STUDENTS)[0])).audio
    student.projection.layer_norm.bias.zero_()
    before, after = complexity(student), complexity(student.keep_dims(range(256)))
    saved = (1024 - 256) * 1024
    assert before["n_parameters"] - after["n_parameters"] == saved + 2 * (1024 - 256)
    assert before["n_macs"] - after["n_macs"] == before["n_macs_paper"] - after["n_macs_paper"] == saved
    assert after["n_parameters"] == 3_646_579


def test_a_tag_space_keeps_its_probabilities():
    head = TagHead(24, 20)
    torch.nn.init.normal_(head.linear.weight)
    student = small_student(head, output="sigmoid")
    wavs = torch.randn(1, 40000) * 0.1  # three windows: what is no cosine is exact for any length
    kept = [5, 1]
    torch.testing.assert_close(
        student.keep_dims(kept).embed_audio(wavs, 16000), student.embed_audio(wavs, 16000)[:, kept]
    )


def test_a_student_without_head_or_with_another_says_what_to_do():
    encoder = PhiNet(alpha=0.35, n_layers=4, embed_width=None)
    with pytest.raises(ConfigError, match="no projection.*distil one with a head"):
        AudioStudent(log_mel("clap2022"), encoder).keep_dims([0])
    with pytest.raises(ConfigError, match="hidden_fraction is for CLAP's whole head, not for LinearHead"):
        small_student(LinearHead(24, 20)).keep_dims([0], hidden_fraction=0.5)


@torch.no_grad()
def test_a_clap_loses_rows_on_one_side_and_columns_on_the_other(tmp_path):
    clap, wavs, kept = tiny.clap(), torch.randn(3, 8000) * 0.1, [9, 2, 4]
    pruned = clap.keep_dims(kept)
    texts = ["a dog barks", "rain"]
    torch.testing.assert_close(pruned.embed_text(texts), F.normalize(clap.embed_text(texts)[:, kept], dim=-1))
    ours, whole = pruned.embed_audio(wavs, 16000), clap.embed_audio(wavs, 16000)
    torch.testing.assert_close(ours, F.normalize(whole[:, kept], dim=-1), atol=EXACT, rtol=0)
    torch.testing.assert_close(pruned.embed_text(texts, whole=True), clap.embed_text(texts))
    again = pruned.keep_dims([2, 0])
    assert again.text_dims == [4, 9]
    save_folder(again, tmp_path)
    loaded = load_folder(tmp_path)[0]
    assert isinstance(loaded, Clap) and torch.equal(loaded.embed_text(texts), again.embed_text(texts))
    assert torch.equal(loaded.scale, clap.scale) and loaded(wavs, ["a", "b", "c"]).text.shape == (3, 2)
    with pytest.raises(ConfigError, match="ends in 3 dimensions, the text tower in 16"):
        Clap(pruned.audio, clap.text)
