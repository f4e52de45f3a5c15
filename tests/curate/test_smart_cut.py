"""Clips that are copies but for their ends: every reader finds just the right frames, and copies are so to the bit."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.media.clip import write_clip
from curate.media.h264 import split
from curate.media.probe import probe
from curate.media.spans import Reader, Span
from curate.media.video import Decode, Timing
from stages.clips import Clips
from tests.curate.copyable import COPYABLE, FRAMES, MEDIUM, PYRAMID, VARYING, numbered
from tests.curate.films import (
    ENCODE,
    SMART,
    Sound,
    assert_right,
    bars,
    beeps,
    cut,
    cut_all,
    film,
    lumas,
    number_of,
    stamps,
    steady,
)

SPANS = [(0, 140), (23, 77), (50, 51), (25, 75), (37, 119), (60, 140), (49, 76)]
"""From an IDR picture or not, to one or not, from the start, to the end, of one picture."""
ORDERS = ("two_b", "high_pyramid", "all_intra", "varying", "matroska", "transport_stream")
"""Those of `COPYABLE` that differ in how pictures are ordered and timed, so that it matters where a span begins; of
those that differ in what their headers say the first three spans are cut."""


def torchcodec() -> Any:
    """Its decoder; the package needs FFmpeg's shared libraries, which a machine may lack."""
    try:
        from torchcodec.decoders import VideoDecoder
    except Exception as error:
        message = f"torchcodec cannot be used here: {str(error).splitlines()[0]}; install FFmpeg"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return VideoDecoder


def idr_pictures(path: Path) -> list[int]:
    """Numbers of the pictures from which nothing refers back, found apart from the code under test."""
    with av.open(str(path)) as box:
        packets = [p for p in box.demux(video=0) if p.size]
        record = box.streams.video[0].codec_context.extradata or b""
        size = (record[4] & 3) + 1 if record[:1] == b"\1" else None
        order = sorted(p.pts for p in packets)
        return sorted(order.index(p.pts) for p in packets if any(n[0] & 31 == 5 for n in split(bytes(p), size)))


@pytest.mark.parametrize("kind", COPYABLE)
def test_copy_has_exactly_its_frames(tmp_path: Path, kind: str) -> None:
    path = COPYABLE[kind](tmp_path)
    keys, source = idr_pictures(path), lumas(path)
    assert len(keys) >= FRAMES // 25
    size = source[0].shape[::-1]
    times = [frame.pts for frame in Decode(str(path), Timing.of(probe(str(path))))]
    for first, end in SPANS[: None if kind in ORDERS else 3]:
        (clip,) = cut_all(path, [tmp_path / f"{first}-{end}.mp4"], [(first, end)], times)
        assert_right(clip, first, end, size)
        inside = [key for key in keys if first <= key < end]
        assert (clip.written.mode, clip.written.why) == ("smart", None), (first, end)
        assert inside[0] - first <= clip.written.encoded <= inside[0] - first + 8
        pairs = zip(source[first:end], lumas(clip.out), strict=True)
        assert sum(not np.array_equal(*pair) for pair in pairs) <= clip.written.encoded


def test_whole_film_is_a_pure_copy(tmp_path: Path) -> None:
    path = COPYABLE["pyramid"](tmp_path)
    clip = cut(path, tmp_path / "clip.mp4", 0, FRAMES)
    assert clip.written.encoded == 0
    assert all(np.array_equal(a, b) for a, b in zip(lumas(path), lumas(clip.out), strict=True))


@pytest.mark.parametrize("kind", ["two_b", "high_pyramid", "transport_stream"])
def test_seeking_into_a_copy(tmp_path: Path, kind: str) -> None:
    """As trainers read: any frame, in any order."""
    clip = cut(COPYABLE[kind](tmp_path), tmp_path / "clip.mp4", 37, 119)
    assert clip.written.mode == "smart"
    capture = cv2.VideoCapture(str(clip.out))
    places = [81, 0, 12, 13, 14, 37, 38, 39, 62, 63, 64, 76, 77, 78, 79, 80, 5]
    for place in places:
        capture.set(cv2.CAP_PROP_POS_FRAMES, place)
        assert number_of(capture.read()[1][..., 1]) == 37 + place


@pytest.mark.parametrize("mode", ["exact", "approximate"])
@pytest.mark.parametrize("kind", ["two_b", "high_pyramid", "varying", "matroska"])
def test_torchcodec_reads_and_seeks(tmp_path: Path, kind: str, mode: str) -> None:
    decoder = torchcodec()
    clip = cut(COPYABLE[kind](tmp_path), tmp_path / "clip.mp4", 37, 119)
    assert clip.written.mode == "smart"
    if kind == "varying" and mode == "approximate":
        return  # it takes the rate for constant
    video = decoder(str(clip.out), seek_mode=mode)
    assert len(video) == 82
    places = [0, 11, 12, 13, 14, 37, 38, 39, 62, 63, 64, 76, 77, 78, 79, 80, 81]
    batch = video.get_frames_at(places).data.numpy()
    assert [number_of(image[1]) for image in batch] == [37 + place for place in places]
    if mode == "exact":
        assert [number_of(video[place].numpy()[1]) for place in (80, 3, 50)] == [117, 40, 87]


def test_long_gop_with_its_start_cut_off(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", steady(290), picture=bars, gop=120, b_frames=3, options=PYRAMID)
    takes = [(3, 118), (110, 190), (123, 240), (230, 290)]
    outs = [tmp_path / f"{n}.mp4" for n in range(len(takes))]
    clips = cut_all(path, outs, takes, steady(290, 1024), SMART)
    for clip, (first, end) in zip(clips, takes, strict=True):
        assert_right(clip, first, end)
    assert [clip.written.mode for clip in clips] == ["encode", "smart", "encode", "smart"]
    assert clips[1].written.encoded <= 10 + 4
    assert clips[0].written.why == "no IDR picture inside the take to copy from"


def test_pictures_that_an_edit_list_hides_stay_hidden(tmp_path: Path) -> None:
    path = numbered("a.mp4", steady(FRAMES, start=-30), b_frames=2)(tmp_path)
    assert [number_of(image) for image in lumas(path)] == list(range(30, FRAMES))
    for first, end in ((0, 110), (10, 90)):
        clip = cut(path, tmp_path / "clip.mp4", first, end)
        assert clip.written.mode == "smart"
        assert_right(clip, first + 30, end + 30)


def test_open_gops_are_copied_from_an_idr_picture_only(tmp_path: Path) -> None:
    """A recovery point is a keyframe, too, but pictures behind it refer to ones before it."""
    options = PYRAMID | {"x264-params": "open-gop=1:b-adapt=0"}
    path = film(tmp_path / "a.mp4", steady(FRAMES), picture=bars, b_frames=3, options=options)
    assert idr_pictures(path) == [0]
    from_start = cut(path, tmp_path / "1.mp4", 0, 110)
    assert from_start.written.mode == "smart"
    assert from_start.written.encoded <= 4
    assert_right(from_start, 0, 110)
    with av.open(str(from_start.out)) as box:
        assert sum(entry.is_keyframe for entry in box.streams.video[0].index_entries) <= 2
    later = cut(path, tmp_path / "2.mp4", 10, 110)
    assert (later.written.mode, later.written.why) == ("encode", "no IDR picture inside the take to copy from")
    assert_right(later, 10, 110)


@pytest.mark.parametrize(("codec", "name"), [("h264", "h264"), ("hevc", "hevc"), ("av1", "libdav1d")])
def test_codec_that_is_asked_for(tmp_path: Path, codec: Any, name: str) -> None:
    path = numbered("a.mp4", VARYING, base=Fraction(1, 30), b_frames=2)(tmp_path)
    clips = [cut(path, tmp_path / f"{n}.mp4", 37, 119, replace(ENCODE, codec=codec)) for n in range(2)]
    assert [number_of(image) for image in lumas(clips[0].out)] == list(range(37, 119))
    assert stamps(clips[0].out) == [at_s - clips[0].times[0] for at_s in clips[0].times]
    assert clips[0].out.read_bytes() == clips[1].out.read_bytes()
    with av.open(str(clips[0].out)) as box:
        stream = box.streams.video[0]
        assert stream.codec_context.name == name
        assert stream.duration * stream.time_base == Fraction(VARYING[119] - VARYING[37], 30)


def test_copy_lasts_as_long_as_the_take(tmp_path: Path) -> None:
    for kind in ("varying", "matroska", "high_pyramid", "no_b"):
        clip = cut(COPYABLE[kind](tmp_path), tmp_path / "clip.mp4", 37, 119)
        with av.open(str(clip.out)) as box:
            stream = box.streams.video[0]
            assert float(stream.duration * stream.time_base) == pytest.approx(clip.written.duration_s, abs=1e-4)


def test_same_copy_gives_the_same_bytes(tmp_path: Path) -> None:
    sound = Sound(beeps([1, 2], 6, 44100, 2), 44100, layout="stereo")
    path = film(tmp_path / "a.mp4", steady(FRAMES), base=Fraction(1, 25), sound=sound, b_frames=2, options=MEDIUM)
    clips = [cut(path, tmp_path / name, 20, 120) for name in ("1.mp4", "2.mp4")]
    assert clips[0].written.mode == "smart"
    assert clips[0].out.read_bytes() == clips[1].out.read_bytes()


def test_sound_of_a_copy_is_in_sync(tmp_path: Path) -> None:
    sound = Sound(beeps([2, 3, 4], 6, 48000), 48000)
    path = film(tmp_path / "a.mp4", steady(FRAMES), base=Fraction(1, 25), sound=sound, b_frames=2, options=MEDIUM)
    clip = cut(path, tmp_path / "clip.mp4", 35, 120)
    assert clip.written.mode == "smart"
    assert clip.written.audio_s == pytest.approx(3.4, abs=1e-3)
    with av.open(str(clip.out)) as box:
        blocks = [(f.time, f.to_ndarray()[0]) for f in box.decode(audio=0)]
    loud = [t + i / 48000 for t, block in blocks for i in np.flatnonzero(np.abs(block) > 0.2)]
    starts = [t for t, before in zip(loud, [-1.0, *loud], strict=False) if t - before > 0.5]
    assert starts == pytest.approx([2 - 1.4, 3 - 1.4, 4 - 1.4], abs=0.005)


def test_shape_and_colour_survive_either_way(tmp_path: Path) -> None:
    params = "sar=4/3:colorprim=bt470bg:transfer=smpte170m:colormatrix=bt470bg"
    path = numbered("a.mp4", b_frames=2, options=MEDIUM | {"x264-params": params})(tmp_path)
    found = []
    for name, how in (("s", SMART), ("e", ENCODE)):
        with av.open(str(cut(path, tmp_path / f"{name}.mp4", 37, 119, how).out)) as box:
            context = box.streams.video[0].codec_context
            frames = [(f.color_primaries, f.color_trc, f.colorspace) for f in box.decode(video=0)]
            found.append((context.sample_aspect_ratio, *set(frames)))
    assert found[0] == found[1] == (Fraction(4, 3), (5, 6, 5))


@pytest.mark.parametrize("name", ["dialogue.mp4", "bikes.mp4", "hamilton.mp4"])
def test_real_footage(footage: Path, tmp_path: Path, name: str) -> None:
    path = footage / "footage/edited" / name
    keys = [key for key in idr_pictures(path) if key > 20]
    first, end = keys[0] - 7, keys[2] + 8
    clip = cut(path, tmp_path / "clip.mp4", first, end)
    assert (clip.written.mode, clip.written.why) == ("smart", None)
    assert 7 <= clip.written.encoded <= 7 + 6
    with av.open(str(path)) as box:
        source = [f.to_ndarray(format="gray") for f, n in zip(box.decode(video=0), range(end), strict=False)][first:]
    same = [np.array_equal(*pair) for pair in zip(source, lumas(clip.out), strict=True)]
    assert same.count(False) <= clip.written.encoded
    assert all(same[7:-6])


@pytest.fixture(scope="module")
def random_films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("films")
    kinds = ("high_pyramid", "varying", "transport_stream", "matroska")
    return {kind: COPYABLE[kind](folder / kind) for kind in kinds if not (folder / kind).mkdir()}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["high_pyramid", "varying", "transport_stream", "matroska"]),
    first=st.integers(0, FRAMES - 1),
    length=st.integers(1, FRAMES),
)
def test_any_span(random_films: dict[str, Path], tmp_path: Path, kind: str, first: int, length: int) -> None:
    end = min(FRAMES, first + length)
    clip = cut(random_films[kind], tmp_path / "clip.mp4", first, end)
    assert [number_of(image) for image in lumas(clip.out)] == list(range(first, end))
    assert stamps(clip.out) == [at_s - clip.times[0] for at_s in clip.times]
    assert "not right" not in (clip.written.why or "")


def test_parameters_of_the_stage() -> None:
    assert (Clips().mode, Clips().codec) == ("smart", "h264")
    assert Clips(codec="av1", crf=60).crf == 60
    with pytest.raises(ValueError, match="beyond 51"):
        Clips(crf=52)


def test_long_work_gives_signs_of_life(tmp_path: Path) -> None:
    """Both the decode that leads to the end of a long GOP and the verification."""
    path = film(tmp_path / "a.mp4", steady(400), picture=bars, gop=400, b_frames=2)
    timing, seen = Timing.of(probe(str(path))), []
    span = Span(0, 398 * 1024, 0.0, 39.8, 0, 398)
    reader = Reader(str(path), timing, 10.0, audio=False, progress=seen.append)
    assert write_clip(reader, span, SMART, tmp_path / "clip.mp4").encoded > 0
    # Packets are copied, the end is decoded in the source, and again in the clip, there without what nothing refers to.
    assert len(seen) > 2 * 398 + 398 / 3
