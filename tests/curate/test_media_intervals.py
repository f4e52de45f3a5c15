"""A source decoded in intervals is the source decoded whole: same pictures, same times, same rows, bit for bit."""

import hashlib
from collections.abc import Callable
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.analyze import Interval, analyze, intervals, join
from curate.media.probe import probe
from curate.media.video import Decode, Timing
from curate.stage import Row
from schemas import motion, quality, signals
from tests.curate.excerpts import excerpt
from tests.curate.films import film, steady

PROBES: dict[str, Row] = {"signals": {}, "flow": {}, "vectors": {}, "picture": {}}
TICK_90K = Fraction(1, 90000)
COPY_TS = {"mpegts_copyts": "1"}
KEEP_NEGATIVE = {"avoid_negative_ts": "disabled"}
TABLES = (signals.TABLE, motion.SERIES, motion.VECTORS, quality.SERIES)


def source_of(path: Path) -> Row:
    return {"source_id": "s" * 32, "path": str(path), **probe(str(path))}


def pictures(path: Path, source: Row, span: Interval) -> list[tuple[int, float, bytes]]:
    """(pts, t_s, hash of the pixels) of the frames that belong to the span."""
    decode = Decode(str(path), Timing.of(source), span.start_pts, span.end_pts, span.lead_pts)
    return [
        (f.pts, f.t_s, hashlib.sha256(f.bgr.tobytes() + f.luma(320).tobytes()).digest())
        for f in decode
        if span.start_pts is None or f.pts >= span.start_pts
    ]


def rows(path: Path, source: Row, span: Interval) -> tuple[Row, dict[str, pa.Table]]:
    header, tables = analyze(str(path), source, PROBES, span.dump(), lambda _: None)
    assert not header["failures"]
    return header["decode"], tables


def assert_intervals_add_up(path: Path, length_s: float, at_least: int = 2, pixels: bool = True) -> None:
    source = source_of(path)
    spans = intervals(source, length_s)
    assert len(spans) >= at_least, f"{path.name} is in one piece: split_pts {source['split_pts']}"
    if pixels:
        assert [p for span in spans for p in pictures(path, source, span)] == pictures(path, source, Interval())
    whole_decode, whole = rows(path, source, Interval())
    parts = [rows(path, source, span) for span in spans]
    counts = [decode["frames"] for decode, _ in parts]
    assert sum(counts) == whole_decode["frames"]
    for count in ("corrupt_frames", "decode_errors"):
        assert sum(decode[count] for decode, _ in parts) == whole_decode[count]
    assert parts[-1][0]["end_s"] == whole_decode["end_s"]
    for table in TABLES:
        joined = join([tables[table.name] for _, tables in parts], counts, table)
        assert joined.equals(whole[table.name]), table.name


@pytest.mark.parametrize("name", ["takes/pancake.mkv", "takes/yoga.mp4", "edited/Megamind.avi", "edited/hamilton.mp4"])
def test_real_files(footage: Path, name: str) -> None:
    assert_intervals_add_up(footage / "footage" / name, 2, pixels=name.endswith("mkv"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["takes/cockatoo.mp4", "edited/bbb30.webm"])
def test_large_real_files(footage: Path, tmp_path: Path, name: str) -> None:
    path = footage / "footage" / name
    assert_intervals_add_up(excerpt(path, tmp_path / path.name, 8), 2, pixels=False)


MADE: dict[str, Callable[[Path], Path]] = {
    "b_frames": lambda d: film(d / "a.mp4", steady(140), b_frames=3, options={"preset": "veryfast"}),
    "open_gop": lambda d: film(
        d / "a.mp4", steady(140), b_frames=3, options={"preset": "veryfast", "x264-params": "open-gop=1"}
    ),
    "open_gop_ts": lambda d: film(
        d / "a.ts", steady(140), b_frames=3, options={"preset": "veryfast", "x264-params": "open-gop=1"}
    ),
    "intra_refresh": lambda d: film(d / "a.mp4", steady(140), options={"x264-params": "intra-refresh=1"}),
    "intra_refresh_ts": lambda d: film(d / "a.ts", steady(140), options={"x264-params": "intra-refresh=1"}),
    "interlaced": lambda d: film(d / "a.ts", steady(140), b_frames=2, options={"x264-params": "tff=1"}),
    "hevc_open_gop": lambda d: film(
        d / "a.mp4",
        steady(140),
        codec="libx265",
        options={"x265-params": "log-level=none:pools=1:open-gop=1:bframes=3:keyint=25:min-keyint=25"},
    ),
    "hevc_ts": lambda d: film(d / "a.ts", steady(140), codec="libx265"),
    "vp9": lambda d: film(d / "a.webm", steady(140), codec="libvpx-vp9"),
    "av1": lambda d: film(d / "a.webm", steady(140), codec="libsvtav1"),
    "mpeg2_ps": lambda d: film(d / "a.mpg", steady(350), base=Fraction(1, 25), codec="mpeg2video", b_frames=2),
    "mpeg4_avi": lambda d: film(d / "a.avi", steady(140), codec="mpeg4"),
    "matroska": lambda d: film(d / "a.mkv", steady(140), b_frames=3, options={"preset": "veryfast"}),
    "ogg": lambda d: film(d / "a.ogv", steady(140), codec="libvpx", container="ogg"),
    "ivf": lambda d: film(d / "a.ivf", steady(140), codec="libvpx-vp9"),
    "asf": lambda d: film(d / "a.asf", steady(140), codec="mpeg4"),
    "mxf": lambda d: film(d / "a.mxf", steady(350), base=Fraction(1, 25), codec="mpeg2video"),
    "flv": lambda d: film(d / "a.flv", steady(140)),
    "mjpeg": lambda d: film(d / "a.avi", steady(140), codec="mjpeg", pix_fmt="yuvj420p"),
    "huffyuv": lambda d: film(d / "a.avi", steady(140), codec="huffyuv", pix_fmt="yuv422p"),
    "prores": lambda d: film(d / "a.mov", steady(140), codec="prores_ks", pix_fmt="yuv422p10le"),
    "start_after_zero": lambda d: film(d / "a.mkv", steady(140, start=37)),
    "start_late_ts": lambda d: film(
        d / "a.ts", steady(140, 9000, 45_000_000), base=TICK_90K, container_options=COPY_TS
    ),
    "clock_wraps_ts": lambda d: film(
        d / "a.ts", steady(140, 9000, 2**33 - 9000 * 70), base=TICK_90K, container_options=COPY_TS
    ),
    "gap_ts": lambda d: film(d / "a.ts", [*range(75), *range(325, 400)], container_options=COPY_TS),
    "edit_list": lambda d: film(
        d / "a.mp4", steady(140, start=-37), b_frames=3, options={"preset": "veryfast"}, container_options=KEEP_NEGATIVE
    ),
    "fragmented": lambda d: film(
        d / "a.mp4", steady(140), container_options={"movflags": "frag_keyframe+empty_moov"}, b_frames=2
    ),
    "rotated": lambda d: film(d / "a.mp4", steady(140), rotation=90),
    "fast_then_slow": lambda d: film(d / "a.mp4", [*range(80), *range(80, 320, 4)], base=Fraction(1, 20)),
}


@pytest.mark.parametrize("kind", MADE)
def test_made_files(tmp_path: Path, kind: str) -> None:
    assert_intervals_add_up(MADE[kind](tmp_path), 1)


def test_clock_that_wraps_counts_through_zero(tmp_path: Path) -> None:
    found = probe(str(MADE["clock_wraps_ts"](tmp_path)))
    assert (found["start_pts"], found["duration_s"]) == (-630_000, 14.0)


def test_pictures_cut_off_by_an_edit_list_are_no_frames(tmp_path: Path) -> None:
    path = MADE["edit_list"](tmp_path)
    source = source_of(path)
    assert source["packets"] == len(pictures(path, source, Interval())) == 103


def test_a_picture_that_stays_hides_no_split(tmp_path: Path) -> None:
    """The samples that a probe looks back on lie before it."""
    path = film(tmp_path / "a.mp4", [*steady(60), *steady(180, start=90)], gop=10, base=Fraction(1, 10))
    source = source_of(path)
    base = Fraction(source["time_base_num"], source["time_base_den"])
    splits = [float(stamp * base) for stamp in source["split_pts"]]
    assert 5 in splits
    assert [at_s for at_s in splits if 6 < at_s <= 16]
    assert_intervals_add_up(path, 1, at_least=1)


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    gaps=st.lists(st.integers(1, 18), min_size=40, max_size=90),
    length_s=st.floats(0.5, 9),
    gop=st.integers(1, 40),
    b_frames=st.integers(0, 2),
    start=st.integers(0, 400),
    suffix=st.sampled_from(["mp4", "mkv"]),
)
def test_any_frame_spacing(
    tmp_path_factory: pytest.TempPathFactory,
    gaps: list[int],
    length_s: float,
    gop: int,
    b_frames: int,
    start: int,
    suffix: str,
) -> None:
    path = tmp_path_factory.mktemp("vfr") / f"a.{suffix}"
    pts = list(accumulate(gaps * 2, initial=start))
    film(path, pts, base=Fraction(1, 40), gop=gop, b_frames=b_frames, size=(48, 32))
    assert_intervals_add_up(path, length_s, at_least=1)
