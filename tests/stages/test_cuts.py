"""What each detector finds in films whose every frame is known: real takes joined on the spot."""

import itertools
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from curate.dataset import to_arrow
from curate.media.probe import probe
from curate.media.video import Decode, Timing
from curate.stage import Row
from schemas import signals, sources
from stages.cuts import classifier, codec, sound, transnet
from stages.cuts.cascade import Candidate, agree, candidates
from stages.cuts.classifier import KINDS, Classifier, WeightsError, bundled
from stages.cuts.evidence import channels
from stages.cuts.signals import Signals
from stages.cuts.stage import Cuts, arrays

ROW = {"source_id": "0" * 32}
SOURCE = {"path": "nowhere", "paths": [], "user": "{}", "rotation": 0, "time_base_num": 1, "time_base_den": 25, **ROW}
ALONE = {"unsure": (0.5, 0.5)}
"""The classifier without the network, which would open the file."""


def probabilities(seen):
    """The bundled classifier's, of columns of `signals` as arrays."""
    return bundled().probabilities(
        len(seen["luma"]), lambda first, end: {name: values[first:end] for name, values in seen.items()}
    )


def rows_of(frames):
    run = Signals().start({})
    return [
        {**ROW, "frame": n, "pts": n, "t_s": frame.t_s, **(run.update(frame) or {})} for n, frame in enumerate(frames)
    ]


def boundaries_of(rows: list[Row], **parameters):
    """Accepted boundaries, but for the end of the source."""
    inputs = {"signals": to_arrow(signals.TABLE, rows), "sources": to_arrow(sources.SOURCES, [SOURCE])}
    *found, end = Cuts(**parameters).run(inputs, None)
    assert (end["kind"], end["start_frame"]) == ("end", len(rows))
    return [row for row in found if row["accepted"]]


def kinds_of(pictures, fps=25, **parameters):
    """(start, end, kind) of what is found in a film of these pictures."""
    rows = rows_of(Shown(picture, n / fps) for n, picture in enumerate(pictures))
    return [(r["start_frame"], r["end_frame"], r["kind"]) for r in boundaries_of(rows, **{**ALONE, **parameters})]


class Shown:
    """Stands in for a decoded frame of a given BGR picture."""

    keyframe, errors_before = False, 0

    def __init__(self, bgr, t_s):
        self.bgr, self.t_s = bgr.clip(0, 255).astype(np.uint8), t_s

    def luma(self, long_side):
        return cv2.cvtColor(self.bgr, cv2.COLOR_BGR2GRAY)

    def combing(self):
        return 0.0


@pytest.fixture(scope="module", params=["edited/bikes.mp4", "edited/Megamind.avi", "takes/cockatoo.mp4"])
def film(request, footage):
    """(frames' BGR pictures, rows of signals) of the first 200 frames of a real file."""
    path = str(footage / "footage" / request.param)
    frames = list(itertools.islice(Decode(path, Timing.of(probe(path))), 200))
    return [frame.bgr for frame in frames], rows_of(frames)


@pytest.fixture(scope="module")
def scenes(footage):
    """200 consecutive pictures of each of two real takes, at one size."""
    found = []
    for name in ("yoga.mp4", "vl2_103.mp4"):
        path = str(footage / "footage/takes" / name)
        frames = itertools.islice(Decode(path, Timing.of(probe(path))), 200)
        found.append([cv2.resize(frame.bgr, (256, 144)).astype(np.float32) for frame in frames])
    return found


def joined(scenes, frames, blend=None):
    """The first scene blended into the second over `frames` frames from frame 80 on."""
    first, second = scenes
    middle = [blend(first[80 + n], second[n], (n + 1) / (frames + 1)) for n in range(frames)]
    return [*first[:80], *middle, *second[frames:100]]


def dissolve(a, b, t):
    return a * (1 - t) + b * t


def fade(a, b, t):
    return a * max(0, 1 - 2 * t) if t < 0.5 else b * (2 * t - 1)


def white(a, b, t):
    return 255 - fade(255 - a, 255 - b, t)


def wipe_right(a, b, t):
    edge = round(t * a.shape[1])
    return np.concatenate([b[:, :edge], a[:, edge:]], axis=1)


def wipe_up(a, b, t):
    edge = round((1 - t) * len(a))
    return np.concatenate([a[:edge], b[edge:]])


@pytest.mark.parametrize("frames", [12, 20, 30])
@pytest.mark.parametrize(
    ("blend", "name"),
    [(dissolve, "dissolve"), (fade, "fade"), (white, "fade"), (wipe_right, "wipe"), (wipe_up, "wipe")],
)
def test_a_gradual_transition_has_its_kind_and_interval(scenes, blend, name, frames):
    ((start, end, kind),) = kinds_of(joined(scenes, frames, blend))
    assert kind == name
    assert abs(start - 80) <= 3
    assert abs(end - (80 + frames)) <= 3


def test_a_hard_cut_is_one_frame(scenes):
    assert kinds_of(joined(scenes, 0)) == [(80, 80, "cut")]


def test_a_jump_within_one_scene_is_one_frame(scenes):
    dancer = scenes[0]
    assert kinds_of([*dancer[:60], *dancer[110:]]) == [(60, 60, "jump")]


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("left", [0.1, 0.2, 0.4])
def test_a_flash_is_no_cut(scenes, length, left):
    for scene in scenes:
        lit = [255 - (255 - picture) * left for picture in scene[60 : 60 + length]]
        assert kinds_of([*scene[:60], *lit, *scene[60 + length : 140]]) == []


def test_a_cut_at_a_flash_is_one(scenes):
    first, second = scenes
    lit = 255 - (255 - second[60]) * 0.2
    assert len(kinds_of([*second[:60], lit, *first[60:120]])) == 1


def test_a_shutter_and_a_strobe_are_no_cuts(scenes):
    scene = list(scenes[1])
    for at in (50, 53, 56, 59):
        scene[at] = 255 - (255 - scene[at]) * 0.25
    scene[100] = scene[100] * 0.1
    assert kinds_of(scene) == []


def test_a_whip_pan_is_no_cut(scenes):
    wide = [cv2.resize(picture, (640, 360)) for picture in scenes[1][:120]]
    shown = []
    for n, picture in enumerate(wide):
        t = min(1, max(0, (n - 60) / 8))
        x = round(384 * t * t * (3 - 2 * t))
        window = picture[100:244, x : x + 256]
        shown.append(cv2.blur(window, (41, 1)) if 60 < n < 68 else window)
    assert kinds_of(shown) == []


def test_takes_have_no_boundary(footage):
    """450 frames of real takes as they are; but vtest.avi, where a walker is gone from one frame to the next."""
    for name in ("chaplin.mp4", "dj2.mp4", "panda_s1.mp4", "vl2_103.mp4", "vtest.avi"):
        path = str(footage / "footage/takes" / name)
        found = boundaries_of(rows_of(itertools.islice(Decode(path, Timing.of(probe(path))), 450)), **ALONE)
        jump = [(404, "jump")] if name == "vtest.avi" else []
        assert [(r["start_frame"], r["kind"]) for r in found] == jump, name


def test_every_second_frame_doubled_changes_nothing(scenes):
    """Variable rates brought to a constant one repeat frames: the boundary is where it was, in time."""
    doubled = [picture for picture in joined(scenes, 0) for _ in (0, 1)]
    assert kinds_of(doubled, fps=50) == [(160, 160, "cut")]


def test_what_is_turned_down_is_a_row_with_its_reason(scenes):
    first, second = scenes
    rows = rows_of(Shown(picture, n / 25) for n, picture in enumerate([*first[:80], *second[:80]]))
    inputs = {"signals": to_arrow(signals.TABLE, rows), "sources": to_arrow(sources.SOURCES, [SOURCE])}
    found, *_ = Cuts(threshold=1.0, **ALONE).run(inputs, None)
    assert (found["start_frame"], found["kind"], found["accepted"]) == (80, "cut", False)
    assert found["why"] == "less likely than 1"


@given(st.integers(0, 2**32), st.integers(1, 700))
@settings(max_examples=10, deadline=None)
def test_chunks_do_not_show(seed, frames):
    noise = np.random.default_rng(seed)
    seen = {name: noise.gamma(1, 10, frames) for name in ("luma", "contrast", "delta_hue", "delta_sat", "delta_lum")}
    seen |= {"moved": noise.gamma(1, 0.01, frames), "t_s": np.arange(frames) / 25}
    seen |= {"diff": noise.gamma(1, 10, (frames, 6)), "split": noise.gamma(1, 10, (frames, 3))}
    seen |= {name: noise.gamma(1, 10, (frames, 4)) for name in ("blend", "step")}
    seen |= {name: noise.integers(0, 255, (frames, 48), np.uint8) for name in ("displaced", "unexplained")}
    whole = probabilities(seen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier, "CHUNK", 97)
        assert np.allclose(probabilities(seen), whole, atol=1e-4)
    assert whole.shape == (frames, len(KINDS))
    assert np.allclose(whole.sum(axis=1), 1, atol=1e-4)


def test_channels_are_finite_for_extremes():
    for frames in (1, 2, 3):
        flat = {n: np.zeros(frames, np.float32) for n in ("luma", "contrast", "delta_hue", "delta_sat", "delta_lum")}
        flat |= {"moved": np.zeros(frames), "t_s": np.zeros(frames)}
        flat |= {"diff": np.zeros((frames, 6)), "split": np.zeros((frames, 3))}
        flat |= {name: np.zeros((frames, 4)) for name in ("blend", "step")}
        flat |= {name: np.zeros((frames, 48), np.uint8) for name in ("displaced", "unexplained")}
        assert np.isfinite(channels(flat)).all()


def test_candidates_are_runs_with_their_kind():
    seen = np.tile(np.float32([0.999, 0.001, 0, 0, 0, 0]), (100, 1))
    seen[20] = [0.02, 0.9, 0.08, 0, 0, 0]
    seen[50:61] = [0.1, 0, 0, 0.8, 0.05, 0.05]
    seen[80] = [0.9, 0, 0.1, 0, 0, 0]
    found = [(c.start, c.end, c.kind, round(c.probability, 2)) for c in candidates(seen)]
    assert found == [(20, 20, "cut", 0.98), (50, 60, "dissolve", 0.9), (80, 80, "jump", 0.1)]


def test_the_same_picture_on_both_sides_is_no_boundary():
    alone = np.full((100, 6), 3.0, np.float32)
    alone[50, 0] = alone[51, 0] = 80  # a flash at 50: two frames differ from the one before, none from two before
    assert agree(Candidate(50, 50, "cut", 0.9), alone)
    assert agree(Candidate(51, 51, "jump", 0.9), alone)
    cut = np.full((100, 6), 3.0, np.float32)
    for column, distance in enumerate(signals.DISTANCES):
        cut[50 : 50 + distance, column] = 80
    assert not agree(Candidate(50, 50, "cut", 0.9), cut)
    assert not agree(Candidate(50, 50, "jump", 0.9), cut)


def test_weights_of_another_network_are_refused(tmp_path):
    for content in (b"", b"no zip", np.float32([1]).tobytes()):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(WeightsError, match="fit them again"):
            Classifier.load(tmp_path / "bad.npz")
    np.savez(tmp_path / "other.npz", mean=np.zeros(3))
    with pytest.raises(WeightsError, match="fit them again"):
        Classifier.load(tmp_path / "other.npz")
    np.savez(tmp_path / "pickled.npz", mean=np.array([print], dtype=object))
    with pytest.raises(WeightsError, match="fit them again"):
        Classifier.load(tmp_path / "pickled.npz")


def reference(detector, pictures: list[np.ndarray]) -> list[int]:
    found = []
    for number, picture in enumerate(pictures):
        found += [c.frame_num for c in detector.process_frame(FrameTimecode(number, 25.0), picture)]
    found += [c.frame_num for c in detector.post_process(FrameTimecode(len(pictures) - 1, 25.0))]
    return sorted(found)


def cut_frames(rows, **parameters):
    return [row["start_frame"] for row in boundaries_of(rows, **parameters) if row["kind"] == "cut"]


def test_content_equals_the_library(film):
    pictures, rows = film
    assert cut_frames(rows, detector="content") == reference(ContentDetector(27.0, min_scene_len=0), pictures)


def test_adaptive_equals_the_library(film):
    pictures, rows = film
    assert cut_frames(rows, detector="adaptive") == reference(AdaptiveDetector(3.0, min_scene_len=0), pictures)


def test_content_at_half_a_frame_per_second_equals_the_library_on_those_frames(film):
    """LVD-2M's rule: a boundary lies between the samples where ContentDetector cuts them."""
    pictures, rows = film
    samples = [n for n, row in enumerate(rows) if n == 0 or row["t_s"] // 2 != rows[n - 1]["t_s"] // 2]
    cuts = reference(ContentDetector(50.0, min_scene_len=0), [pictures[n] for n in samples])
    found = boundaries_of(rows, detector="content", sample_s=2, threshold=50)
    assert [row["end_frame"] for row in found] == [samples[n] for n in cuts]
    assert all(row["kind"] == "gradual" for row in found)


def test_lost_packets_are_boundaries(film):
    _, rows = film
    damaged = [{**row, "errors_before": 3 if row["frame"] == 40 else 0} for row in rows]
    assert [r["start_frame"] for r in boundaries_of(damaged, **ALONE) if r["kind"] == "gap"] == [40]


def test_arrays_have_frames_first(film):
    _, rows = film
    found = arrays(to_arrow(signals.TABLE, rows))
    assert found["diff"].shape == (len(rows), 6)
    assert found["displaced"].shape == (len(rows), 48)
    assert found["diff"][-1].tolist() == pytest.approx(rows[-1]["diff"])
    assert found["displaced"][-1].tobytes() == rows[-1]["displaced"]


def test_sound_that_breaks_raises_the_odds_and_sound_that_goes_on_lowers_them(footage):
    """A voice with a second cut out, against the same voice as it is."""
    path = next((footage / "voices").glob("*/*.flac"))
    with av.open(str(path)) as box:
        resampler = av.AudioResampler("fltp", "mono", sound.RATE)
        voice = np.concatenate([p.to_ndarray()[0] for f in box.decode(audio=0) for p in resampler.resample(f)])
    hiss = np.random.default_rng(0).normal(0, 0.02, sound.RATE).astype(np.float32)
    second = sound.RATE
    assert sound.log_odds(np.concatenate([voice[second : 2 * second], hiss])) > 1
    whole = [sound.log_odds(voice[at : at + 2 * second]) for at in range(0, len(voice) - 2 * second, second // 4)]
    assert np.mean(whole) < 0
    assert sound.log_odds(np.zeros(2 * second, np.float32)) == 0
    assert sound.log_odds(voice[:100]) == 0


@pytest.mark.parametrize("name", ["jesse_dance.mp4", "pancake.mkv"])
def test_an_encoder_that_lost_the_thread_raises_the_odds_of_a_jump(footage, tmp_path, name):
    """A real take with three seconds cut out and encoded again, against places where it goes on."""
    path = footage / "footage/takes" / name
    shown = [f.upright().to_ndarray(format="rgb24") for f in Decode(str(path), Timing.of(probe(str(path))))]
    jumps, at = [40, 90, 140], 0
    with av.open(str(tmp_path / "a.mp4"), "w") as box:
        stream = box.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number in range(180):
            at = (at + 75 if number in jumps else at + 1) % len(shown)
            box.mux(stream.encode(av.VideoFrame.from_ndarray(cv2.resize(shown[at], (640, 360)), "rgb24")))
        box.mux(stream.encode(None))
    made = str(tmp_path / "a.mp4")
    frames = [codec.Coded.of(f) for f in Decode(made, Timing.of(probe(made)), vectors=True)]
    odds = [codec.log_odds(frames, at) for at in range(20, 165)]
    there = [odds[at - 20] for at in jumps]
    elsewhere = [o for at, o in enumerate(odds, 20) if o is not None and min(abs(at - j) for j in jumps) > 3]
    assert min(there) > 0 > np.mean(elsewhere)
    assert np.mean(np.array(elsewhere) < min(there)) > 0.95
    # Without vectors, and so with every codec whose decoder exports none, nothing is said.
    silent = [codec.Coded.of(f) for f in Decode(made, Timing.of(probe(made)))]
    assert codec.log_odds(silent, 40) is None


@pytest.mark.parametrize("film", ["edited/bikes.mp4"], indirect=True)
def test_spans_are_judged_together_as_alone(film):
    frames, _ = film
    seen = transnet.pictures(SimpleNamespace(bgr=picture) for picture in frames[:60])
    spans = [seen[:41], seen[5:35], seen[:0]]
    together = transnet.judged(spans)
    assert [len(t) for t in together] == [41, 30, 0]
    for span, answer in zip(spans, together, strict=True):
        (alone,) = transnet.judged([span])
        assert np.allclose(answer, alone, atol=1e-5)
