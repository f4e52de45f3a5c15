"""Quality on real pictures with planted defects."""

import cv2
import numpy as np
import pytest

from curate.dataset import to_arrow
from curate.media.probe import probe
from curate.media.video import Decode, Timing
from schemas import clips, quality
from stages.quality import Picture, Quality, borders_of


class Shown:
    """Stands in for a decoded frame of a given BGR picture."""

    def __init__(self, bgr, t_s):
        self.bgr, self.t_s = bgr, t_s

    def luma(self, long_side):
        return cv2.cvtColor(self.bgr, cv2.COLOR_BGR2GRAY)


@pytest.fixture(scope="module")
def pictures(footage):
    """Half-second samples of a real take, BGR at about 256 px."""
    path = str(footage / "footage/takes/pancake.mkv")
    frames = [frame.bgr for frame in Decode(path, Timing.of(probe(path)))]
    return frames[30::15]


def score(pictures):
    run = Picture().start({})
    rows = [
        {"source_id": "s", "frame": n, "pts": n, "t_s": n / 2, **run.update(Shown(p, n / 2))}
        for n, p in enumerate(pictures)
    ]
    clip = {f.name: 0 for f in clips.TABLE.schema if not f.nullable} | {"detectors": "", "still": []} | {
        "clip_id": "c", "source_id": "s", "start_s": 0.0, "end_s": len(rows) / 2, "long_enough": True,
    }  # fmt: skip
    inputs = {"clips": to_arrow(clips.TABLE, [clip]), "picture_series": to_arrow(quality.SERIES, rows)}
    (found,) = Quality().run(inputs, None)
    to_arrow(quality.TABLE, [found])
    return found


def test_an_untouched_take_has_no_defect(pictures):
    found = score(pictures)
    assert found["frozen_share"] == 0
    assert found["border_share"] == pytest.approx(0, abs=0.01)
    assert found["clipped_share"] < 0.1
    assert found["hue"] == "orange"


def test_blur_lowers_sharpness_and_brightness_does_not(pictures):
    before = score(pictures)["sharpness"]
    blurred = [score([cv2.GaussianBlur(p, (0, 0), sigma) for p in pictures])["sharpness"] for sigma in (1, 2, 4)]
    assert before > blurred[0] > blurred[1] > blurred[2]


def test_a_frozen_stretch_is_counted(pictures):
    half = len(pictures) // 2
    found = score([*pictures[:half], *[pictures[half]] * (len(pictures) - half)])
    assert found["frozen_share"] == pytest.approx((len(pictures) - half - 1) / (len(pictures) - 1))


@pytest.mark.parametrize(("pad", "share"), [((20, 20, 0, 0), 40), ((0, 0, 30, 10), 40), ((10, 0, 0, 0), 10)])
def test_borders_are_measured_and_the_crop_leaves_them_out(pictures, pad, share):
    found = score([cv2.copyMakeBorder(p, *pad, cv2.BORDER_CONSTANT, value=(4, 4, 4)) for p in pictures])
    height, width = pictures[0].shape[:2]
    total = (height + pad[0] + pad[1]) * (width + pad[2] + pad[3])
    assert found["border_share"] == pytest.approx(1 - height * width / total, abs=0.02)
    x0, y0, x1, y1 = found["crop"]
    assert (x1 - x0) * (y1 - y0) == pytest.approx(1 - found["border_share"])


def test_a_black_picture_is_all_dark_and_has_no_border():
    found = score([np.zeros((144, 256, 3), np.uint8)] * 4)
    assert (found["border_share"], found["clipped_share"], found["colourfulness"], found["hue"]) == (0, 1, 0, None)
    assert borders_of(np.zeros((10, 10), np.uint8)) == (0, 0, 0, 0)


def test_grey_has_no_colour(pictures):
    grey = [cv2.cvtColor(cv2.cvtColor(p, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR) for p in pictures]
    assert score(grey)["colourfulness"] < 1 < score(pictures)["colourfulness"]
