"""The Gradio app, without a server: what it hears, and that it can be built."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import tinyclap
from data_prep.soundscapes_synthesis import synthesize

gradio = pytest.importorskip("gradio", reason="needs gradio: pip install 'tinyclap[demo]'")
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "demo"))

import gradio_app  # noqa: E402


def test_it_hears_what_the_model_hears(tmp_path):
    path = tmp_path / "glass.wav"
    wav = synthesize("glass_breaking", np.random.default_rng(0), 3 * 32000, 32000)
    soundfile.write(path, 0.3 * wav / np.abs(wav).max(), 32000)
    words = ["rain", "glass breaking", "a dog"]
    shares, _ = gradio_app.hear(str(path), "rain, glass breaking,\n a dog ,")
    wanted = tinyclap.from_pretrained().classify(path, words)[0]
    assert list(shares) == [name for name, _ in wanted]
    assert shares == pytest.approx(dict(wanted))
    assert next(iter(shares)) == "glass breaking"


def test_a_bad_recording_is_refused_with_its_reason(tmp_path):
    (tmp_path / "page.wav").write_text("<html>404</html>")
    with pytest.raises(gradio.Error, match="is text, not audio"):
        gradio_app.hear(str(tmp_path / "page.wav"), "rain")
    with pytest.raises(gradio.Error, match="recording"):
        gradio_app.hear(None, "rain")


def test_the_app_takes_a_recording_and_words():
    described = gradio_app.make_app().get_config_file()
    kinds = {component["type"] for component in described["components"]}
    assert {"audio", "textbox", "label"} <= kinds
