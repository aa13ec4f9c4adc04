"""The captioner of evidence: what its conditioners show, the words it may not repeat, and the tags that are drawn."""

import math

import pytest
import torch
import torch.nn.functional as F

from tinyclap.checkpoints.state import load_folder, save_folder
from tinyclap.decoding.beam_search import beam_search
from tinyclap.errors import ConfigError
from tinyclap.models.caption_decoder import CaptionDecoder
from tinyclap.models.conditioners import EmbeddingConditioner, TagConditioner, make_conditioner
from tinyclap.models.mobilenet import MobileNet
from tinyclap.models.text_captioner import TextCaptioner, WithoutRepeats
from tinyclap.teachers.tag_simulation import TagSimulator, tag_affinity, usual_logits
from tinyclap.text.tokenizer import WordTokenizer

WORDS = ["a", "dog", "barks", "and", "rain", "falls"]
N_TAGS, LABEL_DIM, WIDTH = 9, 4, 16


def tag_conditioner(n_likeliest=3):
    """A conditioner whose first tag is heard in every third clip."""
    torch.manual_seed(0)
    conditioner = TagConditioner(N_TAGS, LABEL_DIM, WIDTH, n_likeliest)
    prior = torch.full((N_TAGS,), 0.0)
    prior[0] = 1 / 3
    conditioner.calibrate(torch.randn(N_TAGS, LABEL_DIM), prior, torch.full((N_TAGS,), -8.0))
    return conditioner.eval()


def captioner(conditioner=None, **options):
    conditioner = conditioner or tag_conditioner()
    tokenizer = WordTokenizer(["<pad>", "<start>", "<end>", "<unk>", *WORDS])
    torch.manual_seed(1)
    decoder = CaptionDecoder(tokenizer.n_words, WIDTH, WIDTH, n_heads=2, ffn_width=32)
    return TextCaptioner(conditioner, decoder, tokenizer, ["audiocaps", "clotho"], **options).eval()


def evidence(**logits):
    """One row of silence, but for ``t3=1.0``."""
    row = torch.full((1, N_TAGS), -9.0)
    for name, logit in logits.items():
        row[0, int(name[1:])] = logit
    return row


def shown(conditioner, row):
    """The tags whose own vectors, made large, come through."""
    with torch.no_grad():
        conditioner.own.weight.copy_(1e6 * F.one_hot(torch.arange(N_TAGS), WIDTH))
        memory = conditioner(row)[0, :-1]
    return memory.argmax(dim=-1).tolist()


def test_a_frequent_tag_stands_behind_a_rare_one_of_the_same_probability():
    # √prior of the frequent one is 0.578, of a rare one √0.001 = 0.032: e.g. p = 0.5 counts as 0.86 and as 15.8.
    assert shown(tag_conditioner(), evidence(t0=0.0, t4=0.0, t7=-1.0)) == [4, 7, 0]


def test_logits_below_hearing_do_not_change_what_the_decoder_is_shown():
    conditioner = tag_conditioner(n_likeliest=9)
    near, far = evidence(t3=1.0), evidence(t3=1.0)
    near[near < 0], far[far < 0] = -12.0, -15.0
    torch.testing.assert_close(conditioner(near)[0, 0], conditioner(far)[0, 0])
    assert (conditioner(near) - conditioner(far)).abs().max() < 0.1, "but for the 1e-4 under the logarithm"


def test_probabilities_become_the_logits_they_came_from():
    conditioner, logits = tag_conditioner(), torch.tensor([[-7.0, 0.5, 3.0]])
    torch.testing.assert_close(conditioner.from_audio(logits.sigmoid()), logits, atol=1e-3, rtol=1e-3)
    assert conditioner.from_audio(torch.tensor([[0.0, 1.0]])).isfinite().all()


def test_the_clip_vector_is_zero_where_every_tag_has_its_usual_logit():
    conditioner = tag_conditioner()
    torch.testing.assert_close(conditioner.clip_vector(torch.full((2, N_TAGS), -8.0)), torch.zeros(2, N_TAGS))
    assert conditioner.clip_vector(torch.full((1, N_TAGS), -4.0))[0, 0] == 1.0


def test_audio_is_drawn_onto_the_texts_of_the_bank():
    conditioner = EmbeddingConditioner(2, WIDTH, bank_size=2, pull=0.1)
    conditioner.calibrate(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    drawn = conditioner.from_audio(torch.tensor([[3.0, 3.0], [0.8, 0.6]]))
    torch.testing.assert_close(drawn[0], torch.full((2,), math.sqrt(0.5)))
    share = 1 / (1 + math.exp(-2))  # cosines 0.8 and 0.6 over 0.1
    expected = torch.tensor([share, 1 - share])
    torch.testing.assert_close(drawn[1], expected / expected.norm(), atol=1e-4, rtol=1e-4)
    assert conditioner.bank.dtype == torch.float16


def test_forward_and_search_agree_on_the_most_probable_caption():
    model = captioner()
    row = evidence(t3=1.0)
    found = model.generate(row, beam=1, max_words=6, min_words=0, allow_repeats=True)
    ids = torch.cat([torch.tensor([[model.tokenizer.start_id]]), found.ids[:, 0]], dim=1)[:, : int(found.n_words) + 1]
    logits = model(ids[:, :-1], row, torch.tensor([0]))
    logits[..., [model.tokenizer.pad_id, model.tokenizer.start_id, model.tokenizer.unk_id]] = -torch.inf
    assert logits.argmax(dim=-1).tolist() == ids[:, 1:].tolist()


def test_no_word_is_said_twice_but_those_that_may_be():
    model, rows = captioner(may_repeat=["a"]), torch.cat([evidence(t3=1.0), evidence(t5=1.0), evidence(t0=2.0)])
    with torch.no_grad():
        model.decoder.classifier.weight[model.tokenizer.end_id] = -5 * torch.ones(WIDTH)
    for captions in model.caption(rows, n_best=3, beam=3, max_words=6, min_words=5):
        for caption in captions:
            words = [word for word in caption.split() if word != "a"]
            assert len(words) == len(set(words))
    allowed = model.generate(rows, max_words=20, min_words=18, allow_repeats=True)
    assert allowed.ids.shape == (3, 1, 20), "twenty words of six"


class Table:
    """The same logits at every step."""

    def begin(self, n_rows):
        return (torch.zeros(n_rows),)

    def step(self, last_ids, state):
        return torch.tensor([0.0, 1.0, 5.0, 9.0, 8.0]).expand(len(last_ids), -1), state

    def select(self, state, rows):
        return (state[0][rows.reshape(-1)],)


def test_what_was_said_follows_its_beam():
    table = Table()
    decoder = WithoutRepeats(table, may_repeat=())
    state = decoder.begin(table.begin(1), 5, "cpu")
    found = beam_search(decoder, state, start_id=0, end_id=1, beam=2, max_words=4, n_best=2)
    # 3, 4 and 2 in either order of the first two, then only the end is left
    assert found.ids[0].tolist() == [[3, 4, 2, 1], [4, 3, 2, 1]]


def test_a_style_changes_the_words_and_an_unknown_one_is_named():
    model, row = captioner(), evidence(t3=1.0)
    both = [model.generate(row, style=style).scores.item() for style in ("audiocaps", "clotho")]
    assert both[0] != both[1] and model.generate(row).scores.item() == both[0]
    with pytest.raises(ConfigError, match="style 'macs': this captioner knows audiocaps, clotho"):
        model.generate(row, style="macs")


def test_a_clip_has_one_caption_alone_and_among_others():
    model = captioner()
    rows = torch.cat([evidence(t3=1.0), evidence(t5=0.0, t1=-1.0), evidence()])
    together = model.caption(rows)
    assert [model.caption(row[None])[0] for row in rows] == together


def test_a_saved_captioner_comes_back_with_its_buffers(tmp_path):
    model, row = captioner(), evidence(t3=1.0)
    save_folder(model, tmp_path)
    again, _ = load_folder(tmp_path)
    torch.testing.assert_close(again.conditioner.prior, model.conditioner.prior)
    assert again.caption(row, n_best=2) == model.caption(row, n_best=2)


def test_parts_that_do_not_fit_are_named():
    tokenizer = WordTokenizer(["<pad>", "<start>", "<end>", "<unk>", *WORDS])
    with pytest.raises(ConfigError, match="vectors have 16 channels and the vocabulary 10 words.* wants 8 and 10"):
        TextCaptioner(tag_conditioner(), CaptionDecoder(10, 8, 16, n_heads=2), tokenizer, ["audiocaps"])
    with pytest.raises(ConfigError, match="name one corpus"):
        TextCaptioner(tag_conditioner(), CaptionDecoder(10, 16, 16, n_heads=2), tokenizer, [])
    with pytest.raises(ConfigError, match="n_likeliest=10 of 9 tags"):
        TagConditioner(9, 4, n_likeliest=10)
    with pytest.raises(ConfigError, match="condition 'words' is unknown"):
        make_conditioner("words", 8, 9, 4, 3, 4, 2)


class Head:
    """A tagger's classifier with three tags: the first two twins but for a little, the third apart."""

    def __init__(self):
        self.norm = torch.nn.BatchNorm2d(3)
        torch.nn.init.zeros_(self.norm.weight)
        self.norm.bias.data = torch.tensor([3.0, 6.0, -3.0])  # h-swish: 3, 6 and 0
        self.classifier = torch.nn.Sequential(torch.nn.Linear(3, 3))
        self.classifier[0].weight.data = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [-1.9, -0.1, 0.0]])
        self.classifier[0].bias.data = torch.full((3,), -9.0)

    def modules(self):
        return [self.norm, *self.classifier]

    def tag_logits(self, clip):
        return self.classifier(clip)


def test_usual_logits_are_those_of_the_mean_features_where_nothing_varies():
    torch.testing.assert_close(usual_logits(Head(), pooling=0.5), torch.tensor([-6.0, -5.7, -15.3]))


def test_tags_of_one_direction_go_together():
    affinity = tag_affinity(Head().classifier[0].weight.detach())
    assert affinity[0, 1] > 0.98 and affinity[0, 2] < -0.98
    torch.testing.assert_close(affinity.diagonal(), torch.ones(3))


def test_a_heard_tag_gets_its_logit_and_takes_its_twin_along():
    simulator = TagSimulator(low=1.0, high=1.0, noise=0.0, ridge=1e-6, miss=0.0, second=0.0).fit(Head())
    drawn = simulator(torch.tensor([[[0]]]), torch.ones(1, 1, 1))[0]
    assert drawn[0] == pytest.approx(1.0, abs=0.01) and drawn[1] == pytest.approx(1.0, abs=0.5) and drawn[2] < -20


def test_an_event_that_is_not_there_changes_nothing():
    simulator = TagSimulator(low=1.0, high=1.0, noise=0.0, miss=0.0).fit(Head())
    alone = simulator(torch.tensor([[[0]]]), torch.ones(1, 1, 1))
    padded = simulator(torch.tensor([[[0], [2]]]), torch.tensor([[[1.0], [0.0]]]))
    torch.testing.assert_close(alone, padded, atol=1e-3, rtol=1e-3)


def test_events_are_missed_as_often_as_asked_but_never_all_of_a_caption():
    torch.manual_seed(0)
    simulator = TagSimulator(miss=0.3, second=0.25).fit(Head())
    tags, shares = torch.zeros(4000, 2, 2, dtype=torch.long), torch.full((4000, 2, 2), 0.5)
    heard = simulator._choose(tags, shares)[1].view(4000, 2, 2)
    assert (heard[..., 0].sum(dim=1) > 0).all()
    # Both are heard in 0.7², and in 0.3² in which neither would be; the rest loses one of two.
    assert heard[..., 0].float().mean().item() == pytest.approx(0.49 + 0.09 + 0.42 / 2, abs=0.02)
    assert heard[..., 1].float().mean().item() == pytest.approx(0.25 * (0.49 + 0.09 + 0.42 / 2), abs=0.02)


def test_a_tagger_of_ours_has_what_the_simulator_reads():
    torch.manual_seed(0)
    drawn = TagSimulator().fit(MobileNet(width=0.1))(torch.tensor([[[3, 5]], [[7, 1]]]), torch.full((2, 1, 2), 0.5))
    assert drawn.shape == (2, 527) and drawn.isfinite().all()


def test_bounds_of_the_simulator_are_checked():
    with pytest.raises(ConfigError, match="low=2 <= high=1.0"):
        TagSimulator(low=2)
