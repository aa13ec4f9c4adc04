"""The search over exported graphs gives the published captions, whoever computes the graphs."""

import numpy as np
import pytest
import torch
from published_reference import arrays
from test_decoding import END, START, published_tables
from test_parity_captioner import BEAMS, DECODER, by_the_rule

from tinyclap.errors import ConfigError
from tinyclap.export.caption_graphs import MemoryGraph, StepGraph
from tinyclap.models.caption_decoder import CaptionDecoder
from tinyclap.runtime.caption_search import GraphDecoder


class TableStep:
    """What the graph of one word does, with tables (B, V, V) of the next word's logits for a decoder."""

    input_names = ["last_ids", "rows", "running", "banned", "word_mask", "ranks", "said_0", "said_1", "asked_0"]

    def __init__(self, tables):
        self.tables = torch.from_numpy(tables)

    def run(self, feeds):
        feeds = {name: torch.from_numpy(array) for name, array in feeds.items()}
        rows = self.tables[feeds["asked_0"][:, :1, 0], feeds["last_ids"]]
        scores = rows.log_softmax(-1) + feeds["running"][..., None] + feeds["banned"]
        found = scores.flatten(1).topk(len(feeds["ranks"]))
        said = np.zeros((len(feeds["rows"]), 1, feeds["word_mask"].shape[-1], 1), np.float32)
        return [found.values.numpy(), found.indices.numpy(), said, said]


class TorchStep:
    """The graph of one word, run by torch."""

    def __init__(self, graph, n_layers):
        self.graph = graph
        heard = [f"{name}_{index}" for index in range(n_layers) for name in ("asked", "told", "bias")]
        said = [f"said_{index}" for index in range(2 * n_layers)]
        self.input_names = ["last_ids", "rows", "running", "banned", "word_mask", "ranks", *said, *heard]

    @torch.no_grad()
    def run(self, feeds):
        return [output.numpy() for output in self.graph(*(torch.from_numpy(feeds[name]) for name in self.input_names))]


def sizes(decoder, start_id=START, end_id=END, pad_id=0):
    keys = ("n_words", "n_heads", "width", "max_positions")
    found = {key: getattr(decoder, key) for key in keys}
    return found | {
        "n_layers": len(decoder.model.layers),
        "start_id": start_id,
        "end_id": end_id,
        "pad_id": pad_id,
    }


@pytest.mark.parametrize("beam", [1, 2, 3, 5])
def test_all_clips_of_a_batch_get_the_published_words(beam):
    tables = published_tables()
    decoder = GraphDecoder(
        TableStep(tables),
        {
            "n_words": 40,
            "n_layers": 1,
            "n_heads": 1,
            "width": 1,
            "max_positions": 20,
            "start_id": START,
            "end_id": END,
            "pad_id": 0,
        },
    )
    found = decoder.search([np.arange(len(tables))[:, None, None]], beam=beam)
    assert found.ids[:, 0].tolist() == arrays("beam_tables")[f"beam{beam}_ids"].tolist()
    assert found.ids.dtype == np.int64 and found.scores.dtype == np.float32
    assert (found.n_words == 20).any() and (found.n_words < 20).any()


@pytest.fixture(scope="module")
def published():
    """The decoder with the published captioner's weights by the rule, and what it is given."""
    start_id, end_id, pad_id = arrays("captioner")["start_end_pad"].tolist()
    decoder = CaptionDecoder(4981, 1408, pad_id=pad_id).eval()
    weights = {name.removeprefix(DECODER): tensor for name, tensor in by_the_rule().items() if name.startswith(DECODER)}
    decoder.load_state_dict(weights)
    return decoder, sizes(decoder, start_id, end_id, pad_id)


@torch.no_grad()
def test_the_graphs_say_the_published_words(published):
    decoder, of_it = published
    reference = arrays("captioner")
    frames, n_frames = torch.from_numpy(reference["attn_emb"]).float(), torch.from_numpy(reference["attn_emb_len"])
    clip, *heard = MemoryGraph(decoder)(frames, n_frames)
    np.testing.assert_allclose(clip, reference["fc_emb"], rtol=1e-4, atol=1e-6)
    graphs = GraphDecoder(TorchStep(StepGraph(decoder), 2), of_it)
    for beam, name in BEAMS.items():
        found = graphs.search([part.numpy() for part in heard], beam=beam)
        assert found.ids[:, 0].tolist() == reference[name].tolist()


@torch.no_grad()
def test_a_step_of_the_graph_is_the_decoder_s_also_after_padding():
    torch.manual_seed(0)
    decoder = CaptionDecoder(30, 8, width=16, n_layers=3, n_heads=2, ffn_width=32, max_positions=6).eval()
    memory, n_frames = torch.randn(2, 5, 8), torch.tensor([5, 3])
    _, *heard = MemoryGraph(decoder)(memory, n_frames)
    step = TorchStep(StepGraph(decoder), 3)
    state = decoder.begin(memory, n_frames)
    last_ids, rows = torch.tensor([1, 1]), torch.arange(2)
    mask, said = torch.zeros(2, 1, 1, 1), [torch.zeros(2, 2, 0, 8)] * 6
    for words in ([[4, 0], [0, 7]], [[5, 6], [0, 8]], [[9, 9], [3, 4]]):
        n_beams = len(last_ids) // 2
        inputs = [last_ids.view(2, -1), rows, torch.zeros(2, n_beams), torch.zeros(30), mask, torch.arange(4)]
        feeds = [tensor.numpy() for tensor in (*inputs, *said, *heard)]
        scores, _, *said = step.run(dict(zip(step.input_names, feeds, strict=True)))
        logits, state = decoder.step(last_ids, state)
        wanted = logits.log_softmax(-1).view(2, -1).topk(4)[0]
        np.testing.assert_allclose(scores, wanted, atol=1e-5)
        rows = torch.arange(2 * n_beams).view(2, -1)[:, [0, n_beams - 1]]
        state = decoder.select(state, rows)
        rows, said = rows.view(-1), [torch.from_numpy(part) for part in said]
        last_ids = torch.tensor(words).view(-1)
        mask = torch.cat([mask[rows], torch.where(last_ids == 0, -torch.inf, 0.0)[:, None, None, None]], dim=3)


def test_longer_captions_than_there_are_positions_are_refused(published):
    decoder = GraphDecoder(TorchStep(None, 2), published[1])
    with pytest.raises(ConfigError, match="max_words=101: this decoder has 100 positions"):
        decoder.search([np.zeros((1, 256, 4))], max_words=101)
