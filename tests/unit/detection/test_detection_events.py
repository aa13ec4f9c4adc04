"""Events from scores, worked by hand; thresholds; and the detector against the same work on the whole recording."""

import functools
import itertools

import numpy as np
import pytest
import soundfile

pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")

from tinyclap.detection import DetectionOptions, Detector, Event, detect  # noqa: E402
from tinyclap.detection.curves import Curves, check_names  # noqa: E402
from tinyclap.detection.events import EventFinder, EventRule  # noqa: E402
from tinyclap.detection.thresholds import (  # noqa: E402
    Thresholds,
    background_embeddings,
    choose_thresholds,
    false_alarm_thresholds,
    fixed_thresholds,
)
from tinyclap.errors import AudioError, ConfigError  # noqa: E402
from tinyclap.files import sha256_of  # noqa: E402
from tinyclap.inference.pretrained import from_pretrained  # noqa: E402

LABELS = ["dog", "rain", "siren"]


def told(rows, duration_s=None, thresholds=None, labels="ab", **rule):
    """(after which window, label, onset, offset, peak, place) of windows whose middles are at 1, 2, 3, … s."""
    n_labels = np.ndim(rows) and len(np.atleast_1d(rows[0]))
    thresholds = thresholds or fixed_thresholds(n_labels, 0.5, 0.3)
    finder, found = EventFinder(labels[:n_labels], thresholds, EventRule(**rule)), []
    for index, row in enumerate(rows):
        found += [(index, event) for event in finder.push(index + 1.0, np.atleast_1d(row))]
    found += [("end", event) for event in finder.end(len(rows) + 1.0 if duration_s is None else duration_s)]
    return [(when, e.label, e.onset_s, e.offset_s, e.peak_score, e.peak_s) for when, e in found]


def test_an_event_begins_above_one_threshold_and_goes_on_above_the_other():
    # 0.4 does not begin one, but keeps one
    assert told([0.4, 0.6, 0.4, 0.8, 0.4, 0.3, 0.4]) == [(5, "a", 1.5, 5.5, 0.8, 4.0)]


def test_a_score_at_the_threshold_is_not_above_it():
    assert told([0.5, 0.5]) == []


def test_the_first_and_the_last_window_speak_for_the_ends():
    assert told([0.9, 0.1, 0.1, 0.7]) == [(1, "a", 0.0, 1.5, 0.9, 1.0), ("end", "a", 3.5, 5.0, 0.7, 4.0)]


def test_gaps_up_to_the_limit_are_closed_and_told_when_nothing_can_change_them():
    # gap from 1.5 to 2.5 s is one second: joined; from 3.5 to 5.5 s is two: not
    rows = [0.9, 0.1, 0.8, 0.1, 0.1, 0.7, 0.1, 0.1]
    assert told(rows, merge_gap_s=1.0) == [(4, "a", 0.0, 3.5, 0.9, 1.0), (7, "a", 5.5, 6.5, 0.7, 6.0)]
    assert [event[2:4] for event in told(rows, merge_gap_s=2.0)] == [(0.0, 6.5)]
    assert [event[2:4] for event in told(rows)] == [(0.0, 1.5), (2.5, 3.5), (5.5, 6.5)]


def test_short_events_are_left_out_after_gaps_are_closed():
    rows = [0.1, 0.9, 0.1, 0.9, 0.1, 0.1, 0.1, 0.9, 0.1]
    assert told(rows, min_duration_s=1.5) == []
    assert [event[2:4] for event in told(rows, min_duration_s=1.5, merge_gap_s=1.0)] == [(1.5, 4.5)]
    assert len(told(rows, min_duration_s=1.0)) == 3


def test_labels_overlap_unless_one_alone_may_be_heard():
    rows = [[0.9, 0.6], [0.6, 0.9], [0.0, 0.9]]
    assert [event[1:4] for event in told(rows)] == [("a", 0.0, 2.5), ("b", 0.0, 4.0)]
    assert [event[1:4] for event in told(rows, exclusive=True)] == [("a", 0.0, 1.5), ("b", 1.5, 4.0)]


def test_events_come_in_the_order_of_their_ends():
    rows = [[0.9, 0.1], [0.9, 0.9], [0.9, 0.1], [0.1, 0.9]]
    assert [(event[1], event[3]) for event in told(rows)] == [("b", 2.5), ("a", 3.5), ("b", 5.0)]


def test_online_events_are_those_of_a_slow_reading_of_the_whole_sequence():
    """Random scores with gaps to close, against runs found by grouping all windows at once."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        scores = rng.uniform(0, 1, 60)
        on, state = [], False
        for score in scores:
            state = score > (0.4 if state else 0.7)
            on.append(state)
        runs, place = [], 0
        for state, group in itertools.groupby(on):
            length = len(list(group))
            # a window at n + 1 s speaks for n + 0.5 … n + 1.5 s
            edges = (0.0 if place == 0 else place + 0.5, 61.0 if place + length == 60 else place + length + 0.5)
            if state and runs and edges[0] - runs[-1][1] <= 2.0:
                runs[-1] = (runs[-1][0], edges[1])
            elif state:
                runs.append(edges)
            place += length
        found = told(list(scores), 61.0, fixed_thresholds(1, 0.7, 0.4), merge_gap_s=2.0, min_duration_s=2.5)
        assert [event[2:4] for event in found] == [run for run in runs if run[1] - run[0] >= 2.5]


@pytest.mark.parametrize("rule", [{"min_duration_s": -1.0}, {"merge_gap_s": -0.1}, {"merge_gap_s": float("nan")}])
def test_durations_below_zero_are_refused(rule):
    with pytest.raises(ConfigError, match="below zero"):
        EventRule(**rule)


def exponential(n, scale):
    """n places of an exponential's quantiles, in no order."""
    return np.random.default_rng(0).permutation(-scale * np.log(1 - (np.arange(n) + 0.5) / n))


def test_false_alarms_are_those_of_each_label_by_itself():
    ordinary = np.stack([exponential(1000, 1.0), exponential(1000, 10.0) - 40], axis=1)
    limits = false_alarm_thresholds(ordinary, 0.05, 0.1)
    np.testing.assert_allclose(limits.on, [np.log(20), 10 * np.log(20) - 40], rtol=0.01)
    np.testing.assert_allclose((ordinary > limits.on).mean(axis=0), 0.05, atol=0.002)
    np.testing.assert_allclose((ordinary > limits.off).mean(axis=0), 0.1, atol=0.002)
    # three times the rate where no release is given, and lower rates than the windows could be counted for
    assert (false_alarm_thresholds(ordinary, 0.05).off < limits.off).all()
    np.testing.assert_allclose(false_alarm_thresholds(ordinary, 1e-4).on[0], np.log(1e4), rtol=0.01)


def test_scores_above_zero_have_their_tail_followed_in_logarithms():
    ordinary = np.exp(exponential(1000, 0.5))[:, None]
    limits = false_alarm_thresholds(ordinary, 0.01, positive=True)
    assert limits.on[0] == pytest.approx(100**0.5, rel=0.01)


def test_the_sound_itself_in_ordinary_sound_hardly_moves_its_threshold():
    clean = exponential(1000, 1.0)
    mixed = np.where(np.arange(1000) % 20 == 0, 50.0, clean)  # a twentieth is the label's own
    clean, mixed = (false_alarm_thresholds(scores[:, None], 0.01).on[0] for scores in (clean, mixed))
    assert clean < mixed < 1.4 * clean


def test_rates_and_backgrounds_that_mean_nothing_are_refused():
    with pytest.raises(ConfigError, match="has 49 windows"):
        false_alarm_thresholds(np.zeros((49, 1)), 0.01)
    for rates in ((0.1, 0.05), (0.0, None), (0.6, 0.7)):
        with pytest.raises(ConfigError, match="below a half"):
            false_alarm_thresholds(np.zeros((50, 1)), *rates)
    with pytest.raises(ConfigError, match="higher score than it begins"):
        fixed_thresholds(1, 0.5, 0.6)
    for values in ((np.nan,), (np.inf,), (-np.inf,), (0.5, np.nan)):
        with pytest.raises(ConfigError, match="finite"):
            fixed_thresholds(1, *values)
    for value in (-0.1, 1.5, np.nan):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            fixed_thresholds(1, value, of_probabilities=True)


@functools.cache
def model():
    """The shipped model."""
    return from_pretrained(n_threads=1)


def with_config(**more):
    """The same model, whose folder says this of its background and calibration."""
    opened = from_pretrained(n_threads=1)
    kept = {key: value for key, value in opened.config.items() if key not in ("background", "calibration")}
    opened.config = {**kept, **more}
    return opened


def test_a_model_offers_false_alarms_else_probabilities_else_asks_for_a_threshold(tmp_path):
    vectors = model().label_vectors(LABELS)[1]
    with pytest.raises(ConfigError, match="neither a background nor a temperature"):
        choose_thresholds(with_config(), vectors)
    calibrated = with_config(calibration={"temperature": 0.1})
    assert choose_thresholds(calibrated, vectors).of_probabilities
    with pytest.raises(ConfigError, match="no stored background"):
        choose_thresholds(calibrated, vectors, false_alarms=0.01)
    rows = np.random.default_rng(0).uniform(size=(300, model().embed_dim)).astype(np.float16)
    np.savez(tmp_path / "background.npz", rows=rows)
    files = {"background.npz": sha256_of(tmp_path / "background.npz")}
    full = with_config(background="background.npz", files=files, calibration={"temperature": 0.1})
    full.backend.folder = tmp_path
    np.testing.assert_array_equal(background_embeddings(full), rows.astype(np.float32))
    limits = choose_thresholds(full, vectors)
    assert not limits.of_probabilities
    expected = false_alarm_thresholds(full.score_rows(rows.astype(np.float32), vectors), 0.005, positive=True)
    np.testing.assert_array_equal(limits.on, expected.on)
    assert choose_thresholds(full, vectors, probability=0.7).on.tolist() == [0.7, 0.7, 0.7]
    with pytest.raises(ConfigError, match="give one of"):
        choose_thresholds(full, vectors, probability=0.7, threshold=1.0)


def clip(rate_hz, duration_s):
    rng = np.random.default_rng(3)
    parts = [rng.uniform(0.01, 0.5) * np.sin(np.cumsum(np.full(rate_hz, rng.uniform(0.02, 1.0)))) for _ in range(20)]
    return np.concatenate(parts)[: round(duration_s * rate_hz)].astype(np.float32)


def everything(detector, samples, size):
    windows = [w for start in range(0, len(samples), size) for w in detector.push(samples[start : start + size])]
    return [*windows, *detector.end()]


def test_scores_of_windows_are_those_of_clips_cut_out_of_the_whole():
    rate_hz = model().sample_rate_hz
    samples = clip(rate_hz, 9.3)
    detector = Detector(model(), LABELS, rate_hz, options=DetectionOptions(threshold=0.0))
    windows = everything(detector, samples, 777)
    assert (detector.window_s, detector.hop_s) == (2.0, 0.5)
    assert [w.start_s for w in windows] == [*np.arange(0, 7.5, 0.5), pytest.approx(7.3)]
    cuts = [samples[round(w.start_s * rate_hz) :][: 2 * rate_hz] for w in windows]
    expected = model().scores(cuts, LABELS, sample_rate_hz=rate_hz)
    np.testing.assert_allclose(np.array([w.scores for w in windows]), expected, atol=1e-5)
    assert windows[0].middle_s == 1.0
    assert windows[0].level_db == pytest.approx(10 * np.log10(np.mean(np.square(cuts[0], dtype=np.float64))), abs=1e-3)


def test_a_stream_shorter_than_a_window_is_one_clip():
    samples = clip(32000, 0.7)
    detector = Detector(model(), LABELS, 32000, options=DetectionOptions(threshold=0.0))
    (window,) = everything(detector, samples, 500)
    np.testing.assert_allclose(window.scores, model().scores([samples], LABELS, sample_rate_hz=32000)[0], atol=1e-5)
    assert window.middle_s == pytest.approx(0.35)


def test_a_model_that_hears_windows_of_one_length_is_given_those():
    pytest.importorskip("torch", reason="training is an extra: pip install 'tinyclap[train]'")
    from tests.unit.small_export import run

    small = from_pretrained(run())
    detector = Detector(small, LABELS, 16000, options=DetectionOptions(threshold=0.0))
    assert detector.window_s == small.backend.policy.window_s
    options = DetectionOptions(threshold=0.0, window_s=detector.window_s / 2, hop_s=detector.window_s / 2)
    shorter = Detector(small, LABELS, small.sample_rate_hz, options=options)
    samples = clip(small.sample_rate_hz, 1.5 * detector.window_s)
    found = np.array([window.scores for window in everything(shorter, samples, 300)])
    expected = small.scores(samples.reshape(3, -1), LABELS, sample_rate_hz=small.sample_rate_hz)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_the_pieces_of_a_stream_make_no_difference(rate_hz):
    samples = clip(rate_hz, 6.2)
    scores = []
    for size in (97, rate_hz, len(samples)):
        detector = Detector(model(), LABELS, rate_hz, options=DetectionOptions(threshold=0.0, hop_s=0.25))
        scores.append(np.array([window.scores for window in everything(detector, samples, size)]))
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])


def test_probabilities_are_compared_with_thresholds_of_probabilities():
    calibrated = with_config(calibration={"temperature": 0.1})
    detector = Detector(calibrated, LABELS, 16000, options=DetectionOptions(probability=0.5))
    for window in everything(detector, clip(16000, 3.0), 4000):
        assert window.scores.sum() == pytest.approx(1.0, abs=1e-5)


def test_detect_gives_the_events_of_a_recording(tmp_path):
    samples = clip(16000, 8.0)
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    middle = np.median([w.scores for w in everything(_open_detector(), samples, 16000)], axis=0)[0]
    events = list(detect(model(), tmp_path / "a.wav", ["dog"], threshold=float(middle), hop_s=0.25))
    assert events and all(isinstance(event, Event) and event.label == "dog" for event in events)
    assert all(event.peak_score > middle and event.onset_s < event.peak_s for event in events)
    assert sum(event.offset_s - event.onset_s for event in events) < 8.0
    assert events == sorted(events, key=lambda event: event.offset_s)


def _open_detector():
    return Detector(model(), ["dog"], 16000, options=DetectionOptions(threshold=0.0, hop_s=0.25))


@pytest.mark.parametrize("options", [{"window_s": 100.0}, {"hop_s": np.inf}, {"hop_s": np.nan}, {"hop_s": 0.0}])
def test_windows_that_the_model_cannot_take_are_refused(options):
    with pytest.raises(ConfigError, match="at most"):
        Detector(model(), LABELS, 16000, options=DetectionOptions(threshold=0.0, **options))


def test_rates_and_samples_of_no_sound_are_refused():
    for rate in (0, 1, 999, 10**9):
        with pytest.raises(AudioError, match="sample rate"):
            Detector(model(), LABELS, rate, options=DetectionOptions(threshold=0.0))
    for value in (np.nan, np.inf, 1e30):
        with pytest.raises(AudioError, match="the first at 0.000 s"):
            list(_open_detector().push(np.full(100, value, np.float32)))


def test_scores_are_kept_as_text_and_as_arrays(tmp_path):
    detector = _open_detector()
    curves = Curves(detector.labels, detector.thresholds)
    windows = everything(detector, clip(16000, 3.0), 16000)
    for window in windows:
        curves.add(window)
    curves.write(str(tmp_path / "s.csv"), None, 3.0)
    curves.write(str(tmp_path / "s.npz"), None, 3.0)
    lines = (tmp_path / "s.csv").read_text("utf-8").splitlines()
    with np.load(tmp_path / "s.npz") as content:
        np.testing.assert_array_equal(content["scores"][:, 0], [window.scores[0] for window in windows])
        assert content["labels"].tolist() == ["dog"]
        assert float(lines[1].split(",")[2]) == pytest.approx(float(content["scores"][0, 0]), abs=1e-6)
    assert lines[0] == "middle_s,level_db,dog" and len(lines) == 1 + len(windows)


def test_files_of_unknown_kinds_are_refused_before_anything_is_heard():
    with pytest.raises(ConfigError, match=".csv or .npz"):
        check_names("scores.xlsx", None)
    with pytest.raises(ConfigError, match=".png"):
        check_names(None, "plot.gif")


def test_thresholds_of_scores_differ_from_label_to_label():
    limits = Thresholds(np.array([0.5, 5.0]), np.array([0.5, 5.0]), False, "")
    assert [event[1] for event in told([[0.6, 4.0], [0.1, 6.0]], thresholds=limits)] == ["a", "b"]
