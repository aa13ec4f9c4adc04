"""An exported captioner says what the network says, of clips of any kind, and no folder is written that does not."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from published_reference import arrays, relative_error, waveform
from test_captioner import RATE, captioner, clip
from test_parity_captioner import BEAMS, by_the_rule, loaded
from test_runtime_caption_search import sizes

from tinyclap.errors import AudioError, CheckpointError, ConfigError
from tinyclap.export.parity import refuse
from tinyclap.export.sources import Source
from tinyclap.export.write import ExportOptions, export_model, summary
from tinyclap.runtime.caption_search import GraphDecoder
from tinyclap.runtime.session import open_session

pytest.importorskip("onnxruntime", reason="runs the exported graphs")
pytest.importorskip("onnxscript", reason="writes them")

from tinyclap.export.captioner import GRAPHS, export_caption_graphs  # noqa: E402  (after the skips)
from tinyclap.runtime import load  # noqa: E402
from tinyclap.runtime.captioner import CaptionModel  # noqa: E402


def exported(network, folder, **options):
    source = Source("captioner", network, {"source": "made here"})
    return export_model(source, folder, ExportOptions(**options))


@pytest.fixture(scope="module")
def network():
    network = captioner(max_s=2.0)
    with torch.no_grad():  # so that captions differ
        network.decoder.attn_proj[-1].weight.mul_(6)
        network.decoder.pos_encoder.pe.mul_(3)
    return network


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "captioner"
    clips = tmp_path_factory.mktemp("clips")
    for seed in range(6):
        soundfile.write(clips / f"{seed}.wav", clip(seed, 1.5).numpy(), RATE, subtype="FLOAT")
    exported(
        network, folder, precisions=["fp32", "int8"], calibration_audio=str(clips), n_calibration=4, force=True
    )  # forced: how much int8 changes of a network of random weights says nothing
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return load(folder, precision="fp32", n_threads=1)


def test_the_folder_says_what_it_is_and_that_it_is_the_network(folder, model):
    config, parity = (json.loads((folder / name).read_text()) for name in ("config.json", "parity.json"))
    assert config["kind"] == "captioner" and config["decoding"] == {"beam": 3, "max_words": 20}
    assert config["provenance"]["source"] == "made here" and config["window"]["window_s"] == 2.0
    assert set(config["files"]) == {
        *("frames.onnx", "frames.int8.onnx", "memory.onnx", "step.onnx", "vocabulary.json", "golden.npz")
    }
    golden = parity["fp32"]["golden"]
    assert golden["decisions"]["agreement"] == 1.0 and golden["embedding"]["relative"] < 1e-4
    assert len(golden["embedding"]["cosine"]["by_clip"]) == 4
    check = model.check()
    assert check["clip"] < 1e-3 and check["captions"] == 0.0
    assert "frames.onnx" in summary(
        folder, {"parity": parity, "latency": json.loads((folder / "latency.json").read_text())}
    )


@pytest.mark.parametrize("options", [{}, {"beam": 1, "max_words": 7}, {"beam": 5, "n_best": 4, "min_words": 3}])
def test_clips_of_any_length_get_the_network_s_captions(network, model, options):
    # the third is cut into three pieces, whose frames stand one after the other
    clips = [clip(0, 1.5), clip(1, 0.3), clip(2, 5.7), clip(3, 1.5), clip(4, 2.0)]
    rows, wanted = network.describe(clips, RATE, **options)
    found_rows, found = model.describe([wav.numpy() for wav in clips], RATE, **options)
    np.testing.assert_allclose(found_rows, rows, atol=1e-4, rtol=1e-4)
    assert found.ids.tolist() == wanted.ids.tolist() and found.n_words.tolist() == wanted.n_words.tolist()
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    assert len({tuple(ids) for ids in found.ids[:, 0].tolist()}) > 1
    np.testing.assert_allclose(model.embed([wav.numpy() for wav in clips], RATE), rows, atol=1e-4, rtol=1e-4)


def test_files_of_other_rates_and_two_channels_are_captioned(network, model, tmp_path):
    stereo = np.stack([clip(2, 2.2).numpy(), clip(5, 2.2).numpy()], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, 16000, subtype="FLOAT")
    wanted = network.caption([torch.from_numpy(stereo.T)], 16000)
    assert model.caption(tmp_path / "stereo.wav") == wanted and wanted[0]


def test_the_words_do_not_depend_on_how_many_clips_go_together(model):
    clips = [clip(seed, 1.5).numpy() for seed in range(5)]
    together = model.describe(clips, RATE)[1].ids.tolist()
    assert model.describe(clips, RATE, batch_size=2)[1].ids.tolist() == together
    assert [model.describe([wav], RATE)[1].ids.tolist()[0] for wav in clips] == together


def test_it_captions_without_torch(folder, model, tmp_path):
    wav = clip(2, 3.0).numpy()
    soundfile.write(tmp_path / "clip.wav", wav, RATE, subtype="FLOAT")
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'transformers', 'speechbrain', 'torchaudio')))\n"
        "from tinyclap.runtime import load; print(load(sys.argv[1], precision='fp32').caption(sys.argv[2])[0])"
    )
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "clip.wav")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == model.caption([wav], RATE)[0]


def test_what_cannot_be_is_refused(folder, model, tmp_path):
    with pytest.raises(ConfigError, match="max_words=101: this decoder has 100 positions"):
        model.caption([clip(0, 1.0).numpy()], RATE, max_words=101)
    with pytest.raises(AudioError, match="clip 0 of the batch"):
        model.caption([np.zeros(0, np.float32)], RATE)
    with pytest.raises(ConfigError, match="exported without a vocabulary"):
        CaptionModel(folder, {**model.config, "has_words": False}).caption([clip(0, 1.0).numpy()], RATE)
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "step.onnx").write_bytes((folder / "step.onnx").read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="step.onnx: not the file that was exported"):
        load(tmp_path)


def test_no_folder_is_written_for_what_is_no_captioner_or_cannot_be_int8(network, tmp_path):
    with pytest.raises(ConfigError, match="made here is a Linear: it does not caption sounds"):
        exported(torch.nn.Linear(1, 1), tmp_path / "none")
    with pytest.raises(ConfigError, match="int8 needs real clips"):
        exported(network, tmp_path / "none", precisions=["int8"])
    with pytest.raises(ConfigError, match="make min_s longer"):
        exported(captioner(min_s=0.02), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_int8_of_the_encoder_is_compared_on_clips_it_was_not_calibrated_on(folder):
    parity = json.loads((folder / "parity.json").read_text())
    (report,) = parity["int8"]["recordings"].values()
    assert report["n_clips"] == 2 and 0.5 < report["embedding"]["cosine"]["mean"] < 1
    (exact,) = parity["fp32"]["recordings"].values()
    assert exact["decisions"]["agreement"] == 1.0 and exact["paths"] == report["paths"]
    with pytest.raises(ConfigError, match="int8 is refused, nothing was written: .* at least 1.1 is wanted"):
        refuse("int8", parity["int8"]["recordings"], max_accuracy_drop=100, min_cosine=1.1)
    model = load(folder, precision="int8")
    assert model.precision == "int8" and len(model.caption([clip(2, 1.5).numpy()], RATE)[0].split()) > 1


@pytest.mark.slow
def test_the_published_captioner_s_graphs_say_the_published_words(tmp_path):
    reference = arrays("captioner")
    start_id, end_id, pad_id = reference["start_end_pad"].tolist()
    captioner = loaded(by_the_rule(), start_id=start_id, end_id=end_id, pad_id=pad_id).captioner
    export_caption_graphs(captioner, tmp_path)
    frames, memory, step = (open_session(tmp_path / GRAPHS[name], n_threads=1) for name in ("fp32", "memory", "step"))
    wav = waveform(reference["waveform_seed"], 10, 16000).numpy()
    (found,) = frames.run({"wavs": wav})
    assert relative_error(found, reference["attn_emb"][:1]) < 1e-3
    n_frames = reference["attn_emb_len"]
    # the second clip ends early: its frames are those of the published batch
    both = np.concatenate([found, reference["attn_emb"][1:].astype(np.float32)])
    _, *heard = memory.run({"frames": both, "n_frames": n_frames.astype(np.int64)})
    decoder = GraphDecoder(step, sizes(captioner.decoder, start_id, end_id, pad_id))
    for beam, name in BEAMS.items():
        assert decoder.search(heard, beam=beam).ids[:, 0].tolist() == reference[name].tolist()
