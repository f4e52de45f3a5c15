"""The detectors over stored scores cut exactly where PySceneDetect's own cut on the same frames."""

import itertools

import cv2
import numpy as np
import pytest
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from curate.dataset import to_arrow
from curate.media.probe import probe
from curate.media.video import Decode, Timing
from curate.stage import Row
from schemas import signals
from stages.cuts import Cuts, Signals

ROW = {"source_id": "0" * 32}


@pytest.fixture(scope="module", params=["edited/bikes.mp4", "edited/Megamind.avi", "takes/cockatoo.mp4"])
def film(request, footage):
    """(frames' BGR pictures, rows of signals) of a real file."""
    path = str(footage / "footage" / request.param)
    source = probe(path)
    run = Signals().start(source)
    pictures, rows = [], []
    for number, frame in enumerate(Decode(path, Timing.of(source))):
        pictures.append(frame.bgr)
        rows.append({**ROW, "frame": number, "pts": frame.pts, "t_s": frame.t_s, **(run.update(frame) or {})})
    return pictures, rows


def cut_frames(rows: list[Row], **parameters) -> list[int]:
    found = Cuts(gap_threshold=None, **parameters).run({"signals": to_arrow(signals.TABLE, rows)}, None)
    return [row["start_frame"] for row in found if row["kind"] == "cut"]


class Shown:
    """Stands in for a decoded frame of a given BGR picture."""

    keyframe, errors_before = False, 0

    def __init__(self, bgr, t_s):
        self.bgr, self.t_s = bgr, t_s

    def luma(self, long_side):
        return cv2.cvtColor(self.bgr, cv2.COLOR_BGR2GRAY)


def boundaries_of(pictures, fps=25, **parameters):
    """(start, end, kind) of what is found in a film of these pictures."""
    run = Signals().start({})
    rows = [
        {**ROW, "frame": n, "pts": n, "t_s": n / fps, **run.update(Shown(p, n / fps))} for n, p in enumerate(pictures)
    ]
    found = Cuts(**parameters).run({"signals": to_arrow(signals.TABLE, rows)}, None)
    return [(row["start_frame"], row["end_frame"], row["kind"]) for row in found]


@pytest.fixture(scope="module")
def scenes(footage):
    """100 consecutive pictures of each of two real takes, at one size."""
    found = []
    for name in ("yoga.mp4", "vl2_103.mp4"):
        path = str(footage / "footage/takes" / name)
        frames = itertools.islice(Decode(path, Timing.of(probe(path))), 100)
        found.append([cv2.resize(frame.bgr, (256, 144)).astype(np.float32) for frame in frames])
    return found


def joined(scenes, frames, blend):
    """The first scene blended into the second over `frames` frames from frame 80 on."""
    first, second = scenes
    middle = [blend(first[80 + n], second[n], (n + 1) / (frames + 1)) for n in range(frames)]
    return [p.clip(0, 255).astype(np.uint8) for p in [*first[:80], *middle, *second[frames:]]]


@pytest.mark.parametrize("frames", [10, 20])
def test_a_dissolve_is_a_gradual_transition_around_its_frames(scenes, frames):
    ((start, end, kind),) = boundaries_of(joined(scenes, frames, lambda a, b, t: a * (1 - t) + b * t))
    assert kind == "gradual"
    assert start <= 80
    assert end >= 80 + frames
    assert end - start < 100


def test_a_fade_through_black_has_its_whole_length(scenes):
    fade = joined(scenes, 20, lambda a, b, t: a * max(0, 1 - 2 * t) if t < 0.5 else b * (2 * t - 1))
    found = boundaries_of(fade)
    assert {kind for _, _, kind in found} == {"fade"}
    assert min(start for start, _, _ in found) <= 81
    assert max(end for _, end, _ in found) >= 99


def test_a_hard_cut_is_one_frame(scenes):
    assert boundaries_of(joined(scenes, 0, None)) == [(80, 80, "cut")]


def test_a_flash_is_no_cut_but_a_cut_at_a_flash_is_one(scenes):
    first, second = scenes
    lit = 255 - (255 - first[60]) / 5
    film = [*first[:60], lit, *first[61:]]
    assert boundaries_of([p.astype(np.uint8) for p in film]) == []
    film = [*first[:60], lit, *second[:60]]
    assert [kind for _, _, kind in boundaries_of([p.astype(np.uint8) for p in film])] != []


def test_a_still_take_has_no_boundary(scenes):
    assert boundaries_of([p.astype(np.uint8) for p in scenes[0]]) == []


def reference(detector, pictures: list[np.ndarray]) -> list[int]:
    found = []
    for number, picture in enumerate(pictures):
        found += [c.frame_num for c in detector.process_frame(FrameTimecode(number, 25.0), picture)]
    found += [c.frame_num for c in detector.post_process(FrameTimecode(len(pictures) - 1, 25.0))]
    return sorted(found)


def test_content_equals_the_library(film):
    pictures, rows = film
    assert cut_frames(rows, detector="content") == reference(ContentDetector(27.0, min_scene_len=0), pictures)


def test_adaptive_equals_the_library(film):
    pictures, rows = film
    assert cut_frames(rows, detector="adaptive") == reference(AdaptiveDetector(3.0, min_scene_len=0), pictures)


def test_union_has_the_cuts_of_both(film):
    _, rows = film
    both = {*cut_frames(rows, detector="content"), *cut_frames(rows, detector="adaptive")}
    assert set(cut_frames(rows, detector="union")) == both


def test_lost_packets_are_boundaries(film):
    _, rows = film
    damaged = [{**row, "errors_before": 3 if row["frame"] == 40 else 0} for row in rows]
    found = Cuts().run({"signals": to_arrow(signals.TABLE, damaged)}, None)
    assert [r["start_frame"] for r in found if r["kind"] == "gap"] == [40]
