"""The browser page in a real headless Chromium, against Python: files, words, captions, microphone, no network."""

import base64
import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import tinyclap
from data_prep.soundscapes_synthesis import synthesize
from tests import fakes
from tinyclap.config.shipped import DEFAULT_CAPTIONER, shipped_folder
from tinyclap.errors import DownloadError
from tinyclap.text.bank import LabelBank, compile_bank

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'tinyclap[browser]'")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "demo"))

import build  # noqa: E402
import screenshot  # noqa: E402

NEAR = 1e-3  # the page and Python compute in float32 with other sums; what is promised is this
CLIPS = [(44100, "PCM_24", 2), (32000, "PCM_16", 1), (48000, "FLOAT", 1), (8000, "PCM_U8", 3)]
CONTROLS = "button, select, textarea, input, canvas, audio"
NAMELESS = """found => found.filter((one) => !one.textContent.trim() && !one.ariaLabel && !one.labels?.length)
    .map((one) => one.outerHTML)"""
OWN = ["a dog barks", "café noise", "rain_on a/roof", "glass breaking", "siren"]
DROP = """([name, content]) => {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name));
    const event = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
    delete document.documentElement.dataset.clip;
    document.getElementById("drop").dispatchEvent(event);
}"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built page's folder."""
    if screenshot.find_chromium() is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    folder = tmp_path_factory.mktemp("site") / "dist"
    try:
        build.build(out=folder)
    except DownloadError as error:
        pytest.skip(f"onnxruntime-web is neither kept nor to be fetched: {error}")
    return folder


@pytest.fixture(scope="module")
def chromium(site, tmp_path_factory):
    """A browser whose microphone hears a siren."""
    heard = tmp_path_factory.mktemp("microphone") / "siren.wav"
    write(heard, sound("siren", 44100), 44100)
    fake = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with screenshot.browser(*fake, f"--use-file-for-fake-audio-capture={heard}") as opened:
        yield opened


@pytest.fixture(scope="module")
def model():
    """The shipped model in Python."""
    return tinyclap.from_pretrained()


@contextlib.contextmanager
def watched(chromium, address):
    """A tab with the page, its context, and what was said on its console; nothing may have left the machine."""
    context, said, asked = chromium.new_context(permissions=["microphone"]), [], []
    context.on("request", lambda request: asked.append((request.method, request.url)))
    context.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    context.on("weberror", lambda error: said.append(f"error: {error.error}"))
    try:
        yield screenshot.open_page(context, address), context, said
    finally:
        context.close()
    assert asked, "no request was seen, so that none could be judged"
    foreign = [pair for pair in asked if pair[0] != "GET" or not pair[1].startswith((address, f"blob:{address}"))]
    assert foreign == []


@pytest.fixture(scope="module")
def tab(chromium, site):
    """One tab with the page for all tests that need no other; and what was said on its console."""
    with screenshot.served(site) as (address, _), watched(chromium, address) as (page, _, said):
        yield page, said


@pytest.fixture
def page(tab):
    """The tab without an earlier test's result; nothing may be said on its console."""
    page, said = tab
    page.evaluate("document.getElementById('bars').replaceChildren()")
    page.evaluate("delete document.documentElement.dataset.clip")
    yield page
    found = said.copy()
    said.clear()
    assert found == []


def sound(name, rate):
    """Three seconds of a synthesised sound."""
    wav = synthesize(name, np.random.default_rng(1), 3 * rate, rate)
    return 0.3 * wav / np.abs(wav).max()


def write(path, wav, rate, subtype="PCM_16", channels=1):
    """Write a recording whose channels differ."""
    soundfile.write(path, np.stack([wav * 0.7**channel for channel in range(channels)], axis=1), rate, subtype=subtype)
    return path


def shown(page):
    """The bars of the page: label to score, best first."""
    rows = page.locator("#bars li").all()
    return {row.get_attribute("data-label"): float(row.get_attribute("data-score")) for row in rows}


def assert_pythons(found, wanted, near=NEAR):
    """The same best label and scores as Python's `classify` of one clip."""
    wanted = dict(wanted)
    assert len(found) >= min(len(wanted), 8)
    assert next(iter(found)) == next(iter(wanted))
    for label, score in found.items():
        assert abs(score - wanted[label]) < near, (label, score, wanted[label])


def choose(page, value, names=None):
    """Choose a bank of the list, or "own" with names; wait for its vectors."""
    if names is not None:
        page.evaluate("(text) => { document.getElementById('own').value = text; }", "\n".join(names))
    page.evaluate("document.documentElement.dataset.words = 'asked'")
    page.select_option("#bank", value)
    page.evaluate("document.documentElement.dataset.words === 'asked' && document.getElementById('apply').click()")
    page.wait_for_selector("html[data-words=ready]")


@pytest.mark.parametrize(("rate", "subtype", "channels"), CLIPS)
def test_a_dropped_recording_gets_pythons_scores(page, model, tmp_path, rate, subtype, channels):
    path = write(tmp_path / "clip.wav", sound("glass_breaking", rate), rate, subtype, channels)
    choose(page, "compiled")
    page.evaluate(DROP, [path.name, base64.b64encode(path.read_bytes()).decode()])
    page.wait_for_selector("html[data-clip=ready]")
    assert_pythons(shown(page), model.classify(path, top=100, scores=True)[0])
    assert page.locator("#mel").evaluate("canvas => canvas.width * canvas.height") > 1000


def test_real_recordings_get_pythons_scores(page, model, shared_dir):
    recordings = sorted((shared_dir / "data" / "esc50" / "audio").glob("*.ogg"))[::40][:6]
    assert len(recordings) >= 3
    choose(page, "compiled")
    for path in recordings:
        screenshot.give(page, path)
        assert_pythons(shown(page), model.classify(path, top=100, scores=True)[0])


def test_a_recording_longer_than_a_window_is_heard_in_windows(page, model, tmp_path):
    long = np.concatenate([sound(name, 16000) for name in ("rain", "siren", "car_horn", "clock_tick", "rain", "siren")])
    path = write(tmp_path / "long.flac", long, 16000)
    choose(page, "compiled")
    for _ in range(2):  # the same file again is heard again
        screenshot.give(page, path)
    assert_pythons(shown(page), model.classify(path, top=100, scores=True)[0])


def test_free_words_get_pythons_scores(page, model, tmp_path):
    path = write(tmp_path / "clip.wav", sound("glass_breaking", 44100), 44100)
    screenshot.give(page, path)
    choose(page, "own", OWN)
    assert_pythons(shown(page), model.classify(path, OWN, top=100, scores=True)[0])
    shares = [float(row.get_attribute("data-share")) for row in page.locator("#bars li").all()]
    wanted = model.classify(path, OWN, top=100)[0]
    np.testing.assert_allclose(shares, [share for _, share in wanted], atol=NEAR)


def test_ready_banks_get_pythons_scores(page, model, site, tmp_path):
    banks = json.loads((site / "contents.json").read_text())["banks"]
    if not banks:
        pytest.skip("no bank comes with the shipped model")
    path = write(tmp_path / "clip.wav", sound("car_horn", 44100), 44100)
    screenshot.give(page, path)
    for bank in banks:
        choose(page, bank["file"])
        assert_pythons(shown(page), model.classify(path, LabelBank.load(site / bank["file"]), top=1000, scores=True)[0])


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_a_bank_file_is_taken_and_another_models_is_refused(page, model, tmp_path, suffix):
    ours = compile_bank(model, model.labels[:4])
    path = write(tmp_path / "clip.wav", sound("rain", 32000), 32000)
    screenshot.give(page, path)
    ours.save(tmp_path / f"ours{suffix}")
    page.evaluate("document.documentElement.dataset.words = 'asked'")
    page.set_input_files("#bank-file", str(tmp_path / f"ours{suffix}"))
    page.wait_for_selector("html[data-words=ready]")
    wanted = model.classify(path, ours, scores=True)[0]
    assert_pythons(shown(page), wanted)
    facts = {**ours.facts(), "model": "someone-elses", "model_sha256": "0" * 64, "weights_sha256": "1" * 64}
    facts.pop("format")
    LabelBank(ours.labels, ours.vectors, **facts).save(tmp_path / f"theirs{suffix}")
    page.set_input_files("#bank-file", str(tmp_path / f"theirs{suffix}"))
    page.wait_for_selector("html[data-words=fault]")
    assert "someone-elses" in page.inner_text("#words-note")
    assert_pythons(shown(page), wanted)


def test_captions_are_pythons(page, tmp_path):
    folder = shipped_folder(DEFAULT_CAPTIONER)
    if folder is None:
        pytest.skip("no captioner comes with the package")
    captioner = tinyclap.from_pretrained(folder)
    for name in ("rain", "siren", "clock_tick"):
        path = write(tmp_path / f"{name}.wav", sound(name, 44100), 44100)
        screenshot.give(page, path)
        page.click("#describe")
        page.wait_for_function("document.getElementById('caption').textContent.length > 1")
        assert page.inner_text("#caption") == captioner.caption(path)[0]


def test_it_works_with_the_network_off(chromium, site, model, tmp_path):
    path = write(tmp_path / "clip.wav", sound("car_horn", 44100), 44100)
    with screenshot.served(site) as (address, server), watched(chromium, address) as (page, context, said):
        page.wait_for_selector("html[data-offline=ready]")
        server.shutdown()
        server.server_close()
        context.set_offline(True)
        page.reload()
        page.wait_for_selector("html[data-model=ready]")
        choose(page, "compiled")
        screenshot.give(page, path)
        assert_pythons(shown(page), model.classify(path, top=100, scores=True)[0])
        choose(page, "own", OWN)
        assert_pythons(shown(page), model.classify(path, OWN, top=100, scores=True)[0])
        if not page.locator("#caption-row").is_hidden():
            page.click("#describe")
            page.wait_for_function("document.getElementById('caption').textContent.length > 1")
        assert said == []


def test_the_microphone_is_heard_live_and_kept(page):
    choose(page, "compiled")
    page.click("#microphone")
    page.wait_for_selector("#bars li[data-label=siren]:first-child")
    page.wait_for_timeout(1500)  # so that there is something to keep
    page.click("#microphone")
    page.wait_for_selector("html[data-clip=ready]")
    assert next(iter(shown(page))) == "siren"
    assert re.match(r"Microphone: [1-9]\d*\.\d\d s, \d+ Hz", page.inner_text("#about"))


def test_what_is_no_recording_is_refused_with_a_reason_and_the_page_goes_on(page, model, tmp_path):
    files = fakes.bad_files(tmp_path / "bad")
    reasons = {"truncated": "cut short", "empty": "empty", "page": "cannot decode", "no_samples": "no samples"}
    for name, reason in reasons.items():
        page.set_input_files("#file", str(files[name]))
        page.wait_for_function("(reason) => document.getElementById('status').textContent.includes(reason)", arg=reason)
        assert "fault" in page.get_attribute("#status", "class")
    choose(page, "compiled")
    screenshot.give(page, files["stereo_24_bit"])
    assert_pythons(shown(page), model.classify(files["stereo_24_bit"], top=100, scores=True)[0])
    assert "fault" not in page.get_attribute("#status", "class")


def test_it_is_operable_by_keyboard_and_named_for_screen_readers(page):
    page.focus("#file")
    with page.expect_file_chooser():
        page.keyboard.press("Enter")
    nameless = page.locator(CONTROLS).evaluate_all(NAMELESS)
    assert nameless == []
    page.set_viewport_size({"width": 360, "height": 700})
    width = page.evaluate("document.documentElement.scrollWidth")
    page.set_viewport_size({"width": 1280, "height": 720})
    assert width <= 360


def test_an_example_of_the_page_is_heard(page):
    page.get_by_role("button", name="breaking glass").click()
    page.wait_for_selector("html[data-clip=ready]")
    assert len(shown(page)) > 1


def test_the_picture_of_the_readme_is_taken(site, tmp_path):
    path = write(tmp_path / "clip.wav", sound("siren", 32000), 32000)
    target = tmp_path / "pictures" / "page.png"
    arguments = ["--page", str(site), "--audio", str(path), "--out", str(target), "--width", "400", "--dark"]
    subprocess.run([sys.executable, str(ROOT / "demo" / "screenshot.py"), *arguments], check=True, timeout=240)
    content = target.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert int.from_bytes(content[16:20], "big") == 400
