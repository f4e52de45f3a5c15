"""Quality of real takes with planted defects, each encoded to a file and decoded by the real analysis."""

import dataclasses
import importlib.util
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.analyze import Interval, analyze
from curate.dataset import to_arrow
from curate.media.probe import probe
from schemas import clips, sources
from stages.quality import Quality
from stages.quality.light import borders_of
from stages.quality.time import flicker, longest_frozen, repeats

_spec = importlib.util.spec_from_file_location("defects", Path(__file__).parents[1] / "benchmarks/defects.py")
assert _spec is not None
assert _spec.loader is not None
defects = sys.modules["defects"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(defects)

ID = "0" * 32


def measured(path: Path):
    """The row of `quality` of a whole file."""
    source = {"source_id": ID, "path": str(path), "paths": [str(path)], "user": "{}", **probe(str(path))}
    header, tables = analyze(str(path), source, {"signals": {}, "picture": {}}, Interval().dump(), lambda at_s: None)
    assert not header["failures"]
    nothing = {f.name: 0 for f in clips.TABLE.schema if not f.nullable}
    clip = nothing | {
        "detectors": "",
        "still": [],
        "clip_id": "c",
        "source_id": ID,
        "start_s": 0.0,
        "end_s": 1e6,
        "long_enough": True,
    }
    tables |= {"clips": to_arrow(clips.TABLE, [clip]), "sources": to_arrow(sources.SOURCES, [source])}
    (row,) = Quality().run({n: tables[n].select(list(c)) if c else tables[n] for n, c in Quality.reads.items()}, None)
    return to_arrow(Quality.writes, [row]).to_pylist()[0]


@pytest.fixture(scope="module")
def take(footage):
    """Three seconds of a real take with a moving subject and a camera that hardly moves."""
    return defects.load(footage / "footage/takes/vl2_demo1.mp4", 384, 3.0, start_s=2.0)


@pytest.fixture
def score(tmp_path):
    def scored(film, **how):
        defects.write(film, tmp_path / "film.mkv", **how)
        return measured(tmp_path / "film.mkv")

    return scored


@pytest.fixture(scope="module")
def untouched(take, tmp_path_factory):
    path = tmp_path_factory.mktemp("untouched") / "film.mkv"
    defects.write(take, path)
    return measured(path)


def changed(film, picture):
    return dataclasses.replace(film, pictures=[picture(p) for p in film.pictures])


def test_an_untouched_take_has_no_defect(untouched):
    for column in ("border_share", "fill_share", "frozen_share", "frozen_s", "interlaced_share", "screen"):
        assert untouched[column] == 0, column
    assert untouched["crop"] == [0, 0, 1, 1]
    assert untouched["blur_px"] < 1
    assert untouched["smear_px"] < 1
    assert untouched["over_share"] < 0.05
    assert untouched["clipped_share"] < 0.1
    assert untouched["flicker"] < 0.006
    assert untouched["noise"] < 1
    assert untouched["native_share"] > 0.6
    assert untouched["native_px"] == round(untouched["native_share"] * 384)
    assert (untouched["repeated_share"], untouched["repeat_pattern"]) == (pytest.approx(0, abs=0.03), None)
    assert untouched["effective_fps"] == pytest.approx(25, rel=0.03)
    assert untouched["window"] is None


@pytest.mark.parametrize(
    ("defect", "column", "strengths", "least"),
    [
        ("letterbox", "border_share", (0.06, 0.12), 0.08),
        ("pillarbox", "border_share", (0.06, 0.25), 0.08),
        ("blurred sides", "fill_share", (0.2, 0.3), 0.3),
        ("blur", "blur_px", (2.5, 5), 1.3),
        ("motion blur", "smear_px", (5, 10), 1.0),
        ("over-exposure", "over_share", (0.25, 0.5), 0.15),
        ("under-exposure", "under_share", (0.25, 0.5), 0.12),
        ("noise", "noise", (7, 14), 3),
        ("flicker", "flicker", (0.03, 0.1), 0.01),
        ("frozen", "frozen_s", (0.6, 1.2), 0.4),
        ("interlaced", "interlaced_share", (0.6, 1.0), 0.1),
        ("screen recording", "screen", (0.6, 0.4), 0.4),
    ],
)
def test_what_is_measured_grows_with_the_defect(take, untouched, score, defect, column, strengths, least):
    found = [score(defects.planted(take, defect, strength, (1,)))[column] for strength in strengths]
    assert untouched[column] < least <= found[0] < found[1]


def test_blur_lowers_sharpness_too_and_smear_leaves_one_direction_sharp(take, untouched, score):
    blurred, smeared = (
        score(defects.planted(take, name, 8 / r, (1,))) for name, r in (("blur", 2), ("motion blur", 0.8))
    )
    assert blurred["sharpness"] < smeared["sharpness"] < untouched["sharpness"]
    assert smeared["blur_px"] < 1.1 < blurred["blur_px"]


def test_an_enlarged_picture_tells_its_native_size(take, untouched, score):
    half, third = (score(defects.planted(take, "upscaled", share, (1,)))["native_share"] for share in (0.5, 0.34))
    assert third < half < 0.6 < untouched["native_share"]


@pytest.mark.parametrize(
    ("pattern", "says", "fps"), [(0, "1 in 2", 25), (1, "1 in 5", 25), (2, "3 in 5", 25), (4, "2 in 3", 25)]
)
def test_repeated_frames_give_the_true_rate(take, score, pattern, says, fps):
    found = score(defects.planted(take, "doubled frames", pattern, (1,)))
    assert (found["repeat_pattern"], found["effective_fps"]) == (says, pytest.approx(fps, rel=0.06))
    assert found["frozen_s"] < 0.3


@pytest.mark.parametrize(("pattern", "says"), [(1, "1 in 5"), (3, "1 in 3"), (None, None)])
def test_repeats_show_in_a_take_that_moves_less_than_the_codec_refines(footage, score, pattern, says):
    film = defects.load(footage / "footage/takes/vl2_103.mp4", 480, 5.0, start_s=1.0)
    found = score(film if pattern is None else defects.planted(film, "doubled frames", pattern, (1,)))
    assert found["repeat_pattern"] == says
    assert found["effective_fps"] == (None if says is None else pytest.approx(30, rel=0.02))


def test_the_grid_of_a_coarse_codec_shows(take, untouched, score):
    coarse = {"qmin": "28", "qmax": "31", "b": "50000"}
    found = score(take, codec="mpeg4", options=coarse)["blockiness"]
    assert found > 2 * max(0.3, untouched["blockiness"])


def panned(take, smeared_px):
    """A second at rest, then two seconds of a pan of 8 px a picture, smeared by so many px."""
    wide = cv2.resize(take.pictures[0], None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    kernel = np.full((1, max(1, smeared_px)), 1 / max(1, smeared_px), np.float32)
    places = [0] * 25 + [8 * n if n < 24 else 8 * (48 - n) for n in range(1, 48)]
    return defects.Film(
        [cv2.filter2D(wide, -1, kernel if x else np.ones((1, 1)))[100:316, x : x + 384] for x in places], take.fps
    )


def test_a_take_that_is_sharp_at_rest_and_blurs_in_motion(take, score):
    sharp, smeared = (score(panned(take, length)) for length in (1, 10))
    assert smeared["motion_blur_px"] > 1 > sharp["motion_blur_px"]


def test_a_screen_shows_where_its_window_is(take, score):
    planted = defects.planted(take, "screen recording", 0.6, (3,))
    assert score(planted)["window"] == pytest.approx(planted.box, abs=0.13)


@pytest.mark.parametrize(("pad", "share"), [((20, 20, 0, 0), 40), ((0, 0, 30, 10), 40), ((10, 0, 0, 0), 10)])
def test_the_crop_leaves_the_borders_out(take, score, pad, share):
    found = score(changed(take, lambda p: cv2.copyMakeBorder(p, *pad, cv2.BORDER_CONSTANT, value=(4, 4, 4))))
    height, width = take.pictures[0].shape[:2]
    total = (height + pad[0] + pad[1]) * (width + pad[2] + pad[3])
    assert found["border_share"] == pytest.approx(1 - height * width / total, abs=0.02)
    x0, y0, x1, y1 = found["crop"]
    assert (x1 - x0) * (y1 - y0) == pytest.approx(1 - found["border_share"])


def test_darkness_is_no_border(take, score):
    fade = np.clip(np.linspace(-0.6, 1.2, 384), 0, 1)[None, :, None]
    found = score(changed(take, lambda p: (p * fade * 0.6).astype(np.uint8)))
    assert found["border_share"] == 0
    assert found["under_share"] > 0.2


def test_a_black_picture_is_all_dark_and_has_no_border(score):
    found = score(defects.Film([np.zeros((144, 256, 3), np.uint8)] * 30, Fraction(25)))
    assert (found["border_share"], found["clipped_share"], found["colourfulness"], found["hue"]) == (0, 1, 0, None)
    assert found["frozen_share"] == 1
    assert [found[n] for n in ("blur_px", "noise", "native_share", "flicker", "effective_fps")] == [None] * 5
    for word in ("edges", "noise", "native size", "flicker", "repeated"):
        assert word in found["unmeasured"]
    assert borders_of(np.zeros((10, 10), np.uint8))[0] == (0, 0, 0, 0)


def test_grey_has_no_colour(take, untouched, score):
    grey = score(changed(take, lambda p: cv2.cvtColor(cv2.cvtColor(p, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)))
    assert grey["colourfulness"] < 1 < untouched["colourfulness"]
    assert (grey["hue"], score(changed(take, lambda p: p // np.array((6, 6, 1), np.uint8)))["hue"]) == (None, "red")


def test_one_picture_says_why_it_tells_no_motion(take, score):
    found = score(defects.Film(take.pictures[:1], take.fps))
    assert found["blur_px"] < 1
    assert [found[n] for n in ("frozen_share", "frozen_s", "flicker", "repeated_share", "motion_blur_px")] == [None] * 5
    assert "single picture" in found["unmeasured"]


@pytest.mark.parametrize("size", [(16, 16), (2, 2), (64, 16)])
def test_tiny_pictures_are_null_with_a_reason(take, score, size):
    found = score(changed(take, lambda p: cv2.resize(p, size, interpolation=cv2.INTER_AREA)))
    assert (found["noise"], found["native_px"], found["interlaced_share"]) == (None, None, None)
    assert "too small" in found["unmeasured"]
    assert found["luma"] > 0


def test_a_portrait_picture_of_ten_bits_measures_as_one_of_eight(take, score, tmp_path):
    upright = changed(take, lambda p: np.ascontiguousarray(p[:, 120:240]))
    eight = score(upright)
    defects.write(upright, tmp_path / "ten.mkv", pixels="yuv420p10le")
    ten = measured(tmp_path / "ten.mkv")
    for column in ("luma", "contrast", "colourfulness", "native_share", "blur_px"):
        assert ten[column] == pytest.approx(eight[column], rel=0.12), column
    assert ten["border_share"] == eight["border_share"] == 0


rates = st.sampled_from([10.0, 24.0, 25.0, 30.0, 60.0])


@given(fps=rates, base=st.floats(20, 200), slope=st.floats(-4, 4), flashes=st.lists(st.integers(5, 90), max_size=2))
def test_a_changing_scene_and_flashes_are_no_flicker(fps, base, slope, flashes):
    luma = np.clip(base + slope * np.arange(100) / fps, 1, 255)
    luma[flashes] = 255
    assert flicker(luma, fps).get("flicker", 0) < 0.006


@given(fps=rates, size=st.floats(0.02, 0.3), hertz=st.floats(3, 4.4), phase=st.floats(0, 6))
def test_a_swinging_light_is_flicker_as_strong_as_it_swings(fps, size, hertz, phase):
    luma = 100 * (1 + size * np.sin(2 * np.pi * hertz * np.arange(150) / fps + phase))
    found = flicker(luma, fps)
    assert 0.3 * size < found["flicker"] < 1.2 * size
    assert found["flicker_hz"] == pytest.approx(hertz, abs=0.5)


@given(st.lists(st.floats(0, 255, width=32), min_size=1, max_size=200), rates)
def test_any_row_of_changes_gives_shares_and_times_in_range(change, fps):
    values = np.array(change)
    found = repeats(values, fps)
    assert 0 <= found.get("repeated_share", 0) <= 1
    assert 0 <= longest_frozen(values, fps) <= len(values) / fps + 1e-9
