"""The search gives the published captions on tables of next words, and what the rule says on a table worked by hand."""

import math

import numpy as np
import pytest
import torch
from published_reference import arrays

from tinyclap.decoding.beam_search import beam_search
from tinyclap.errors import ConfigError
from tinyclap.models.caption_decoder import CaptionDecoder

START, END = 1, 2


class Table:
    """Logits of the next word given the last, a table a clip: (B, V, V). A state is (clip of each row,)."""

    def __init__(self, tables):
        self.tables, self.n_steps = torch.as_tensor(tables), []

    def begin(self):
        return (torch.arange(len(self.tables)),)

    def step(self, last_ids, state):
        self.n_steps.append(len(last_ids))
        return self.tables[state[0], last_ids], state

    def select(self, state, rows):
        return (state[0][rows.reshape(-1)],)


def published_tables():
    reference, tables = arrays("beam_tables"), []
    for t in range(24):
        stream = np.random.RandomState(int(reference["table_seed_base"]) + t)
        table = (1.5 * stream.standard_normal((40, 40))).astype(np.float32)
        table[:, END] += {0: 2, 1: -8, 2: 0}[t % 3]
        tables.append(table)
    return np.stack(tables)


@pytest.mark.parametrize("beam", [1, 2, 3, 5])
def test_all_clips_of_a_batch_get_the_published_words(beam):
    table = Table(published_tables())
    found = beam_search(table, table.begin(), START, END, beam=beam, max_words=20)
    assert found.ids[:, 0].tolist() == arrays("beam_tables")[f"beam{beam}_ids"].tolist()
    assert table.n_steps[0] == 24 and table.n_steps[1] <= 24 * beam and table.n_steps[-1] < 24 * beam


def by_hand():
    """Words 1 start, 2 end, 3 a, 4 b. After the start a 0.6, b 0.4; a ends with 0.3, b with 0.9, else they repeat."""
    probabilities = np.full((5, 5), 1e-9)
    probabilities[START, [3, 4]] = 0.6, 0.4
    probabilities[3, [END, 3]] = 0.3, 0.7
    probabilities[4, [END, 4]] = 0.9, 0.1
    return Table(np.log(probabilities / probabilities.sum(1, keepdims=True))[None].astype(np.float32))


def test_scores_are_mean_log_probabilities_with_the_end_counted():
    table = by_hand()
    found = beam_search(table, table.begin(), START, END, beam=2, max_words=4, n_best=2)
    # Two words: a a 0.42 and b end 0.36, which is stored. Three: a a a 0.294 and a a end 0.126, stored as the second.
    assert found.ids.tolist() == [[[4, END, END, END], [3, 3, END, END]]] and found.n_words.tolist() == [[2, 3]]
    assert found.scores[0].tolist() == pytest.approx([math.log(0.36) / 2, math.log(0.126) / 3], abs=1e-5)
    assert found.ids.dtype == found.n_words.dtype == torch.int64 and found.scores.dtype == torch.float32
    greedy = beam_search(table, table.begin(), START, END, beam=1, max_words=3)
    assert greedy.ids.tolist() == [[[3, 3, 3]]] and greedy.n_words.tolist() == [[3]]
    assert greedy.scores.item() == pytest.approx(math.log(0.6 * 0.7 * 0.7) / 3, abs=1e-5)


def test_fewest_words_and_forbidden_words_are_kept_and_probabilities_stay():
    table = by_hand()
    at_once = beam_search(table, table.begin(), START, END, beam=1, max_words=4, forbidden_ids=(3,))
    assert at_once.ids.tolist() == [[[4, END, END, END]]] and at_once.n_words.tolist() == [[2]]
    later = beam_search(table, table.begin(), START, END, beam=1, max_words=4, min_words=3, forbidden_ids=(3,))
    assert later.ids.tolist() == [[[4, 4, 4, END]]]
    assert later.scores.item() == pytest.approx(math.log(0.4 * 0.1 * 0.1 * 0.9) / 4, abs=1e-5)


def test_the_best_captions_come_first_and_differ():
    table = Table(published_tables())
    found = beam_search(table, table.begin(), START, END, beam=5, n_best=5)
    assert (found.scores[:, :-1] >= found.scores[:, 1:]).all() and found.scores.isfinite().all()
    assert all(len({tuple(ids) for ids in clip}) == 5 for clip in found.ids.tolist())
    after_end = torch.arange(20) >= found.n_words[..., None]
    assert (found.ids[after_end] == END).all()


def test_words_can_be_trained_on():
    table = by_hand()
    ids = beam_search(table, table.begin(), START, END).ids[:, 0]
    torch.nn.Embedding(5, 2)(ids).sum().backward()


@torch.no_grad()
def test_a_clip_s_caption_does_not_depend_on_its_neighbours():
    torch.manual_seed(0)
    decoder = CaptionDecoder(30, 8, width=16, n_heads=2, ffn_width=32).eval()
    decoder.pos_encoder.pe.mul_(3)
    memory, n_frames = 5 * torch.randn(6, 9, 8), torch.tensor([9, 1, 5, 9, 3, 7])
    together = beam_search(decoder, decoder.begin(memory, n_frames), START, END, n_best=3)
    assert len({tuple(ids) for ids in together.ids[:, 0].tolist()}) > 3
    for index, n in enumerate(n_frames):
        alone = beam_search(decoder, decoder.begin(memory[index : index + 1, :n], n[None]), START, END, n_best=3)
        assert torch.equal(alone.ids[0], together.ids[index])
        torch.testing.assert_close(alone.scores[0], together.scores[index], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 0}, "beam=0"),
        ({"max_words": 0}, "max_words=0"),
        ({"n_best": 4}, r"n_best=4 is not in \[1, beam=3\]"),
        ({"min_words": 20}, "min_words=20"),
        ({"beam": 6}, "beam=6 is more than the 5 words"),
    ],
)
def test_numbers_that_cannot_be_are_refused(options, message):
    table = by_hand()
    with pytest.raises(ConfigError, match=message):
        beam_search(table, table.begin(), START, END, **options)
