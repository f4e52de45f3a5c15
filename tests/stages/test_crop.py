"""The crop box leaves out what lies on the picture, never leaves too little, and the clips are cut by it."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.media.clip import write_clip
from curate.media.encoder import Encoding
from curate.media.probe import probe
from curate.media.spans import Reader, Span
from curate.media.video import Decode, Timing
from stages.clips import Clips
from stages.crop import Crop
from tests.curate.films import lumas
from tests.stages.looking import inputs, run


def tables(borders=(0, 0, 1, 1), subtitles=None, marks=(), size=(1280, 720)):
    return inputs([]) | {
        "sources": pa.table({"width": [size[0]], "height": [size[1]]}),
        "quality": pa.Table.from_pylist([{"clip_id": "c", "crop": borders and list(borders)}]),
        "text": pa.Table.from_pylist([{"clip_id": "c", "subtitle_box": subtitles}]),
        "overlay": pa.Table.from_pylist([{"clip_id": "c", "boxes": [list(mark) for mark in marks]}]),
    }


def kept(**given):
    (row,) = run(Crop(), tables(**given))
    return row


def test_nothing_to_cut_off_keeps_all():
    row = kept()
    assert (row["box"], row["area_share"], row["reasons"], row["left_in"]) == ([0, 0, 1, 1], 1, [], [])


def test_borders_a_subtitle_band_and_a_corner_are_cut_off():
    row = kept(borders=(0, 0.1, 1, 0.9), subtitles=(0.2, 0.8, 0.8, 0.87), marks=[(0.9, 0.12, 0.98, 0.2)])
    x0, y0, x1, y1 = row["box"]
    assert row["reasons"] == ["borders", "subtitles", "watermark"]
    assert y0 >= 0.1
    assert y1 < 0.8
    assert x1 < 0.9 or y0 > 0.2
    assert row["area_share"] > 0.5
    assert row["area_share"] == pytest.approx((x1 - x0) * (y1 - y0))
    assert row["width"] % 2 == row["height"] % 2 == 0


def test_what_lies_in_the_middle_stays_and_is_named():
    row = kept(marks=[(0.3, 0.4, 0.7, 0.6), (0.02, 0.02, 0.1, 0.08)])
    assert row["left_in"] == ["watermark"]
    assert row["reasons"] == ["watermark"]
    assert row["area_share"] > 0.9


def test_no_borders_measured_or_nothing_left_is_null():
    assert "not measured" in kept(borders=None)["unmeasured"]
    assert kept(borders=(0.49, 0, 0.5, 1))["box"] is None


share = st.floats(0, 1)
boxes = st.tuples(share, share, share, share).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)


@given(boxes, st.one_of(st.none(), boxes), st.lists(boxes, max_size=4), st.integers(16, 2000), st.integers(16, 2000))
def test_whatever_is_found_the_box_is_inside_even_and_large_enough(borders, subtitles, marks, width, height):
    row = kept(borders=borders, subtitles=subtitles, marks=marks, size=(width, height))
    if row["box"] is None:
        assert row["unmeasured"]
        return
    x0, y0, x1, y1 = row["box"]
    assert borders[0] - 1e-3 <= x0 < x1 <= borders[2] + 1e-3
    assert borders[1] - 1e-3 <= y0 < y1 <= borders[3] + 1e-3
    assert row["width"] % 2 == row["height"] % 2 == 0
    assert row["width"] / row["height"] == pytest.approx((x1 - x0) * width / ((y1 - y0) * height), rel=1e-3)


def test_a_clip_is_cut_by_the_box_and_says_so(footage, tmp_path):
    path = str(footage / "footage/takes/panda_s1.mp4")
    source = probe(path)
    timing = Timing.of(source)
    pts = [frame.pts for frame in Decode(path, timing)][:31]
    span = Span(pts[0], pts[30], timing.seconds(pts[0]), timing.seconds(pts[30]), pts[0], 30)
    how = Encoding("smart", 20, "ultrafast", 2.0, 128000)
    out = tmp_path / "clip.mp4"
    written = write_clip(Reader(path, timing, source["fps"], False), span, how, out, (0.25, 0.0, 1.0, 0.75))
    assert (written.width, written.height, written.frames) == (960, 540, 30)
    assert (written.mode, written.why) == ("encode", "a part of the picture was cut off")
    whole, part = lumas(path)[12], lumas(out)[12]
    assert abs(whole[:540, 320:].astype(int) - part).mean() < 4


def test_clips_read_the_crop_only_where_it_is_asked_for():
    assert "crop" not in Clips().inputs({"crop"})
    assert "crop" in Clips(crop=True).inputs({"crop"})
    with pytest.raises(ValueError, match="no stage `crop`"):
        Clips(crop=True)._boxes({})
