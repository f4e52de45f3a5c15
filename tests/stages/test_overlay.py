"""Logos planted on real takes are found, at their place; untouched takes have none, or null where it cannot be told."""

import cv2
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curate.dataset import to_arrow
from schemas import text
from stages import faint
from stages.ocr import Ocr
from stages.overlay import LETTERS, Overlay
from stages.views import Stills
from tests.stages.looking import clip, inputs, logo, run, screening, take, written

MOVING = ["cockatoo.mp4", "mm_struct.mp4", "panda_s1.mp4"]
STILL = ["chaplin.mp4", "yoga.mp4"]


def found(pictures, ocr=False):
    tables = inputs(pictures)
    if ocr:
        tables["ocr"] = to_arrow(text.OCR, run(Ocr(), tables))
    (row,) = run(Overlay(), tables)
    return row


@pytest.mark.parametrize("name", MOVING)
def test_an_untouched_take_that_moves_has_none(footage, name):
    row = found(take(footage / "footage/takes" / name))
    assert row["watermark_share"] == 0
    assert row["unmeasured"] is None


@pytest.mark.parametrize("name", STILL)
def test_where_nothing_moves_it_is_null_and_says_so(footage, name):
    row = found(take(footage / "footage/takes" / name))
    assert row["watermark_share"] is None
    assert "cannot be told" in row["unmeasured"]


@pytest.mark.parametrize(
    ("name", "at", "opacity"),
    [
        ("cockatoo.mp4", (0.05, 0.06, 0.07), 0.4),
        ("dj4.mp4", (0.05, 0.06, 0.07), 1.0),
        ("dj4.mp4", (0.8, 0.75, 0.12), 0.4),
    ],
)
def test_a_half_transparent_logo_is_found_at_its_place(footage, name, at, opacity):
    pictures = logo(take(footage / "footage/takes" / name, 14), at, opacity)
    row = found(pictures)
    height, width = pictures[0].shape[:2]
    x0, y0, x1, y1 = row["boxes"][0]
    assert (x0 + x1) / 2 == pytest.approx(at[0] + at[2] / 2, abs=0.04)
    assert (y0 + y1) / 2 == pytest.approx(at[1] + at[2] * width / height / 2, abs=0.06)
    assert 0 < row["watermark_share"] < 3 * at[2] ** 2 * width / height
    assert row["kinds"][0] == "still"


@pytest.mark.parametrize(("name", "middle"), [("dj2.mp4", (0.5, 0.07)), ("vl2_demo1.mp4", (0.84, 0.9))])
def test_the_marks_that_real_takes_have_are_found(footage, name, middle):
    row = found(take(footage / "footage/takes" / name, 12))
    assert any(x0 - 0.1 < middle[0] < x1 + 0.1 and y0 < middle[1] < y1 for x0, y0, x1, y1 in row["boxes"])


def test_before_a_camera_on_legs_a_word_at_the_edge_is_read(footage):
    pictures = take(footage / "footage/takes/yoga.mp4")[:6]
    row = found(logo(pictures, (0.05, 0.04, 0.25), 0.8, "vidbay.tv"), ocr=True)
    assert row["kinds"] == ["text"]
    assert 0.003 < row["watermark_share"] < 0.05
    in_the_scene = found(logo(pictures, (0.4, 0.5, 0.25), 0.8, "vidbay.tv"), ocr=True)
    assert in_the_scene["watermark_share"] is None


@pytest.mark.parametrize(("name", "opacity"), [("panda_s1.mp4", 0.6), ("yoga.mp4", 0.45)])
def test_a_faint_word_is_read_in_what_the_stills_have_in_common(footage, name, opacity):
    row = found(logo(take(footage / "footage/takes" / name), (0.05, 0.04, 0.25), opacity, "vidbay.tv"))
    assert "text" in row["kinds"]
    x0, y0, x1, _ = row["boxes"][row["kinds"].index("text")]
    assert 0.05 < (x0 + x1) / 2 < 0.3  # a part of the word may be too faint
    assert y0 < 0.1


@pytest.mark.parametrize(
    ("name", "at", "opacity"), [("yoga.mp4", (0.03, 0.88, 0.2), 0.3), ("jesse_dance.mp4", (0.06, 0.04, 0.14), 0.5)]
)
def test_thin_strokes_are_read_over_tiles_and_drawings_where_the_whole_corner_is_not(footage, name, at, opacity):
    pictures = logo(take(footage / "footage/takes" / name), at, opacity, "Havblik")
    stills = Stills(inputs(pictures)["stills"].column("jpeg"))
    assert all(len(letters) <= LETTERS for _, letters, _ in faint.read(stills, range(len(pictures)), False, 0.8))
    row = found(pictures)
    assert row["kinds"] == ["text"]
    x0, y0, x1, y1 = row["boxes"][0]
    assert x0 < at[0] + at[2] / 2 < x1 < 0.3
    assert y0 < at[1] + 0.05 < y1


@pytest.mark.parametrize(("paper", "ink"), [(250, 255), (8, 0)])
def test_a_mark_that_is_seen_only_while_something_passes_behind_it_is_read(paper, ink):
    pictures = []
    for n in range(12):
        picture = np.full((360, 640, 3), paper, np.uint8)
        if n < 2:
            picture[:, : 320 * (n + 1)] = 255 - paper
        mask = logo([np.zeros_like(picture)], (0.05, 0.04, 0.25), 1.0, "NORDLYS")[0] / 255.0
        pictures.append(np.rint(picture * (1 - 0.3 * mask) + 0.3 * ink * mask).astype(np.uint8))
    stills = Stills(inputs(pictures)["stills"].column("jpeg"))
    assert "NORDLYS" in {letters.strip() for _, letters, _ in faint.read_strokes(stills, range(12), 0.8)}


@given(arrays(np.uint8, (5, 6, 7), elements=st.integers(0, 255)))
def test_the_extremes_of_stills_hold_every_still_between_them(greys):
    jpegs = pa.chunked_array([[cv2.imencode(".png", np.dstack([g, g, g]))[1].tobytes() for g in greys]])
    darkest, lightest = Stills(jpegs).extremes(range(5))
    assert np.array_equal(darkest, greys.min(0))
    assert np.array_equal(lightest, greys.max(0))


def test_one_misreading_of_a_mark_does_not_make_it_text_that_changes(footage):
    pictures = logo(take(footage / "footage/takes/cockatoo.mp4"), (0.05, 0.06, 0.2), 0.9, "vidbay.tv")
    tables = inputs(pictures)
    looks = [
        {"clip_id": "c", "source_id": "s", "t_s": float(n), "model": "m", "boxes": [[0.04, 0.05, 0.26, 0.16]]}
        | {"texts": ["Qrnlho" if n == 4 else "vidbay.tv"], "confidences": [0.9]}
        for n in range(len(pictures))
    ]
    tables["ocr"] = to_arrow(text.OCR, looks)
    (row,) = run(Overlay(), tables)
    assert row["watermark_share"] > 0


def test_a_part_of_a_longer_line_that_is_read_once_is_no_mark(footage):
    tables = inputs(logo(take(footage / "footage/takes/yoga.mp4"), (0.05, 0.04, 0.25), 0.6, "vidbay.tv"))
    line = {"boxes": [[0.02, 0.02, 0.9, 0.16]], "texts": ["vidbay.tv is where the river is"], "confidences": [0.9]}
    none = {"boxes": [], "texts": [], "confidences": []}
    common = {"clip_id": "c", "source_id": "s", "model": "m"}
    for first, kinds in ((none, ["text"]), (line, None)):
        tables["ocr"] = to_arrow(text.OCR, [common | {"t_s": float(n)} | (none if n else first) for n in range(4)])
        (row,) = run(Overlay(), tables)
        assert (row["kinds"] and set(row["kinds"])) == (kinds and set(kinds))


def test_the_rest_of_the_source_tells_what_a_short_clip_cannot(footage):
    pictures = take(footage / "footage/takes/cockatoo.mp4")
    tables = inputs(logo(pictures, (0.05, 0.06, 0.1), 0.7), [clip(0, 3, "a"), clip(3, 14, "b"), clip(90, 99, "c")])
    rows = {row["clip_id"]: row for row in run(Overlay(), tables)}
    assert rows["a"]["watermark_share"] == pytest.approx(rows["b"]["watermark_share"], rel=0.5)
    assert rows["a"]["watermark_share"] > 0
    assert "no still" in rows["c"]["unmeasured"]


def test_a_logo_of_a_part_of_the_source_is_not_charged_to_the_rest(footage):
    pictures = list(take(footage / "footage/takes/dj4.mp4", 14))
    marked = logo(pictures[:7], (0.05, 0.06, 0.1), 0.9) + pictures[7:]
    first, rest = run(Overlay(), inputs(marked, [clip(0, 7, "a"), clip(7, 14, "b")]))
    assert first["watermark_share"] > 0
    assert rest["watermark_share"] == 0


def test_subtitles_are_no_watermark(footage):
    pictures = take(footage / "footage/takes/cockatoo.mp4")[:8]
    said = ["where is the river", "nobody will answer me", "after the morning train", "slowly through the garden"]
    row = found([written(p, said[n // 2 % 4]) for n, p in enumerate(pictures)], ocr=True)
    assert row["watermark_share"] == 0


def test_one_colour_is_one_view():
    row = found([np.full((90, 160, 3), level, np.uint8) for level in (0, 80, 255)])
    assert (row["views"], row["watermark_share"]) == (1, None)


def test_only_what_cheap_scores_leave_is_looked_at(footage):
    pictures = logo(take(footage / "footage/takes/dj4.mp4", 14), (0.05, 0.06, 0.07), 1.0)
    tables = inputs(pictures, [clip(0, 11, "in"), clip(11, 1e6, "out")])
    tables["screening"] = screening(**{"in": True, "out": False})
    kept, left = run(Overlay(), tables)
    assert kept["watermark_share"] > 0
    assert (left["watermark_share"], left["views"]) == (None, 0)
    assert "cheap scores" in left["unmeasured"]
