"""Motion on real pictures moved by a known amount."""

import cv2
import numpy as np
import pyarrow as pa
import pytest

from curate.dataset import to_arrow
from curate.media.probe import probe
from curate.media.video import Decode, Timing
from schemas import clips, motion
from stages.motion import Flow, Motion

SECONDS = 6
SIZE = (480, 270)


class Still:
    """Stands in for a decoded frame of given luma."""

    def __init__(self, luma, t_s):
        self.t_s, self._luma = t_s, luma

    def luma(self, long_side):
        return self._luma


@pytest.fixture(scope="module")
def picture(footage):
    """A real frame, larger than the window that is moved over it."""
    path = str(footage / "footage/takes/vl2_103.mp4")
    frame = next(iter(Decode(path, Timing.of(probe(path)))))
    return cv2.resize(frame.luma(10_000), (960, 540), interpolation=cv2.INTER_CUBIC)


def moved(picture, shift_w_s=(0.0, 0.0), zoom_s=0.0):
    """Samples of a window that drifts and zooms over the picture; the camera goes where the window goes."""
    width, height = SIZE
    for n in range(SECONDS * 2):
        t_s = n / 2
        scale = np.exp(zoom_s * t_s)
        centre = np.array([480, 270]) + np.array(shift_w_s) * width * (t_s - SECONDS / 2)
        matrix = np.array([[scale, 0, width / 2 - scale * centre[0]], [0, scale, height / 2 - scale * centre[1]]])
        yield Still(cv2.warpAffine(picture, matrix, SIZE, flags=cv2.INTER_CUBIC), t_s)


def score(frames):
    run = Flow().start({})
    rows = [{"source_id": "s", "frame": n, "pts": n, "t_s": f.t_s, **run.update(f)} for n, f in enumerate(frames)]
    clip = {f.name: 0 for f in clips.TABLE.schema if not f.nullable} | {"detectors": "", "still": []} | {
        "clip_id": "c", "source_id": "s", "start_s": 0.0, "end_s": float(SECONDS), "long_enough": True,
    }  # fmt: skip
    inputs = {"clips": to_arrow(clips.TABLE, [clip]), "motion_series": to_arrow(motion.SERIES, rows)}
    (found,) = Motion().run(inputs, None)
    to_arrow(motion.TABLE, [found])
    return found


@pytest.mark.parametrize("speed", [0.03, 0.06, 0.1])
@pytest.mark.parametrize(
    ("direction", "name"), [((1, 0), "pan right"), ((-1, 0), "pan left"), ((0, 1), "tilt down"), ((0, -1), "tilt up")]
)
def test_a_pan_has_its_direction_and_speed(picture, direction, name, speed):
    found = score(moved(picture, np.array(direction) * speed))
    assert found["camera"] == name
    assert found["camera_w_s"] == pytest.approx(speed, rel=0.1)
    assert found["mean_w_s"] == pytest.approx(speed, rel=0.15)
    assert found["subject_w_s"] < 0.2 * speed


@pytest.mark.parametrize(("zoom", "name"), [(0.08, "zoom in"), (-0.08, "zoom out")])
def test_a_zoom_is_named(picture, zoom, name):
    assert score(moved(picture, zoom_s=zoom))["camera"] == name


def test_a_tripod_is_static(picture):
    found = score(moved(picture))
    assert found["camera"] == "static"
    assert found["static_share"] == 1
    assert found["mean_w_s"] < 0.001


def test_the_same_pictures_at_another_size_move_alike(picture):
    small = [
        Still(cv2.resize(f.luma(0), (240, 135), interpolation=cv2.INTER_AREA), f.t_s) for f in moved(picture, (0.06, 0))
    ]
    assert score(small)["camera_w_s"] == pytest.approx(0.06, rel=0.1)


def test_pairs_across_a_clips_edges_do_not_count():
    series = [
        {
            "source_id": "s",
            "frame": n,
            "pts": n,
            "t_s": n / 2,
            "previous_s": n / 2 - 0.5 if n else None,
            "flow_mean_w_s": 9.0,
        }
        | ({"flow_mean_w_s": 0.5} if n / 2 - 0.5 >= 1.0 and n / 2 < 2.0 else {})
        for n in range(8)
    ]
    clip = {f.name: 0 for f in clips.TABLE.schema if not f.nullable} | {"detectors": "", "still": []} | {
        "clip_id": "c", "source_id": "s", "start_s": 1.0, "end_s": 2.0, "long_enough": True,
    }  # fmt: skip
    inputs = {"clips": to_arrow(clips.TABLE, [clip]), "motion_series": to_arrow(motion.SERIES, series)}
    (found,) = Motion().run(inputs, None)
    assert (found["pairs"], found["mean_w_s"]) == (1, 0.5)
    assert isinstance(inputs["clips"], pa.Table)
