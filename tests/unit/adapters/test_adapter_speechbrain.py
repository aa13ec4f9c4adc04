"""The SpeechBrain manner: padded batches equal clips alone, and four things come back."""

import numpy as np
import pytest
import soundfile
import torch

pytest.importorskip("onnx", reason="exporting is an extra: pip install 'tinyclap[export]'")
pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")

import tinyclap  # noqa: E402
from tests.unit.small_export import LABELS, exported, exported_tagger, recordings, run  # noqa: E402
from tinyclap.adapters.speechbrain import ZeroShotEncoderClassifier  # noqa: E402
from tinyclap.errors import AudioError, ConfigError  # noqa: E402


@pytest.fixture(scope="module")
def classifier():
    return ZeroShotEncoderClassifier.from_hparams(exported()[0], overrides={"precision": "fp32"})


@pytest.fixture(scope="module")
def clips(classifier):
    """Three clips of other lengths, and the batch that they are in."""
    clips = [classifier.load_audio(path) for path in sorted(recordings().glob("*.wav"))[:3]]
    lengths = torch.tensor([len(clip) for clip in clips])
    wavs = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    return clips, wavs, lengths / lengths.max()


def test_a_padded_batch_equals_its_clips_alone(classifier, clips):
    alone, wavs, wav_lens = clips
    together = classifier.encode_batch(wavs, wav_lens)
    assert together.shape == (3, 1, classifier.model.embed_dim) and together.dtype == torch.float32
    for clip, row in zip(alone, together, strict=True):
        torch.testing.assert_close(classifier.encode_batch(clip)[0], row, atol=1e-6, rtol=0)
    noise = wavs.clone()
    for index, clip in enumerate(alone):
        noise[index, len(clip) :] = 0.5
    torch.testing.assert_close(classifier.encode_batch(noise, wav_lens), together, atol=0, rtol=0)


def test_classifying_gives_what_speechbrain_gives(classifier, clips):
    _, wavs, wav_lens = clips
    out_prob, score, index, text_lab = classifier.classify_batch(wavs, wav_lens)
    assert out_prob.shape == (3, 3) and score.shape == index.shape == (3,) and index.dtype == torch.int64
    torch.testing.assert_close(score, out_prob.max(dim=1).values)
    assert text_lab == [LABELS[place] for place in index.tolist()]
    assert classifier(wavs, wav_lens)[3] == text_lab


def test_a_file_is_classified_as_the_model_does_it(classifier):
    path = sorted(recordings().glob("*.wav"))[1]  # 44.1 kHz stereo
    out_prob, score, index, text_lab = classifier.classify_file(path)
    best = classifier.model.classify(path, top=1)[0][0]
    assert (text_lab[0], pytest.approx(score.item(), abs=1e-6)) == best and out_prob.shape == (1, 3)
    loaded = classifier.classify_batch(classifier.load_audio(path))
    torch.testing.assert_close(loaded[0], out_prob, atol=1e-6, rtol=0)


def test_log_probabilities_where_a_temperature_is_stored():
    model = tinyclap.from_pretrained(exported()[0], precision="fp32")
    model.config = {**model.config, "calibration": {"temperature": 0.1}}
    out_prob = ZeroShotEncoderClassifier(model).classify_file(next(recordings().glob("*.wav")))[0]
    assert out_prob.exp().sum().item() == pytest.approx(1.0, abs=1e-6) and (out_prob <= 0).all()


def test_labels_are_chosen_and_templates_used_with_a_text_side():
    one = ZeroShotEncoderClassifier.from_hparams(run(), labels=["rain", "dog"], template="the sound of {}")
    path = next(recordings().glob("*.wav"))
    expected = one.model.scores(path, ["rain", "dog"], "the sound of {}")
    np.testing.assert_allclose(one.classify_file(path)[0].numpy(), expected, atol=1e-6)
    assert one.labels == ["rain", "dog"]


def test_channels_and_whole_rows(classifier, clips):
    _, wavs, _ = clips
    stereo = torch.stack([wavs, wavs], dim=-1)
    torch.testing.assert_close(classifier.encode_batch(stereo), classifier.encode_batch(wavs))
    unit = classifier.encode_batch(wavs, normalize=True).norm(dim=-1)
    torch.testing.assert_close(unit, torch.ones_like(unit))


def test_what_cannot_be_is_said(classifier, clips, tmp_path):
    _, wavs, wav_lens = clips
    with pytest.raises(ConfigError, match="no YAML is executed"):
        ZeroShotEncoderClassifier.from_hparams(exported()[0], hparams_file="hyperparams.yaml")
    with pytest.raises(ConfigError, match="does not know freeze"):
        ZeroShotEncoderClassifier.from_hparams(exported()[0], overrides={"freeze": True})
    with pytest.raises(ConfigError, match="asks for cuda"):
        ZeroShotEncoderClassifier.from_hparams(exported()[0], run_opts={"device": "cuda"})
    with pytest.raises(ConfigError, match="no labels of its own"):
        ZeroShotEncoderClassifier.from_hparams(exported_tagger()[0]).classify_batch(wavs)
    for lens in (torch.tensor([1.0]), torch.tensor([0.0, 1.0, 1.0]), torch.tensor([1.0, 1.0, 1.5])):
        with pytest.raises(AudioError, match="wav_lens"):
            classifier.encode_batch(wavs, lens)
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 8000)
    with pytest.raises(AudioError):
        classifier.classify_file(tmp_path / "none.wav")
    with pytest.raises(AudioError, match="has shape"):
        classifier.encode_batch(torch.zeros(1, 2, 3, 4))
