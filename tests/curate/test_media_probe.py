"""What `probe` says of a file, and that a file which cannot be used is refused with a reason, never anything else."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from curate.media.container import MediaError
from curate.media.probe import probe
from curate.media.video import Decode, Timing
from tests.curate.films import Sound, beeps, film, steady


def quadrants(number: int, width: int, height: int) -> np.ndarray:
    """White in the upper left quarter only, so that a turn shows."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = 255
    return image


def test_constant_rate(tmp_path: Path) -> None:
    found = probe(str(film(tmp_path / "a.mp4", steady(50), base=Fraction(1, 25), b_frames=2)))
    assert (found["codec"], found["width"], found["height"], found["packets"]) == ("h264", 96, 64, 50)
    assert found["duration_s"] == pytest.approx(2.0)
    assert found["fps"] == pytest.approx(25)
    assert not found["variable_rate"]
    assert found["seekable"]
    assert found["audio_codec"] is None


def test_variable_rate(tmp_path: Path) -> None:
    found = probe(str(film(tmp_path / "a.mp4", [0, 1, 2, 6, 7, 8, 9, 14], base=Fraction(1, 10))))
    assert found["variable_rate"]
    assert 1.4 < found["duration_s"] <= 1.5


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "webm", "avi"])
def test_rate_of_ntsc_is_steady_in_every_container(tmp_path: Path, suffix: str) -> None:
    """A container whose ticks are coarser than a frame makes spacing differ by a tick: still no variable rate."""
    codec = {"webm": "libvpx-vp9", "avi": "mpeg4"}.get(suffix, "libx264")
    found = probe(str(film(tmp_path / f"a.{suffix}", steady(60), base=Fraction(1001, 30000), codec=codec)))
    assert found["fps"] == pytest.approx(30000 / 1001, rel=1e-3)
    assert not found["variable_rate"]


@pytest.mark.parametrize("suffix", ["mkv", "ts"])
def test_start_after_zero(tmp_path: Path, suffix: str) -> None:
    found = probe(str(film(tmp_path / f"a.{suffix}", steady(20, start=45))))
    base = Fraction(found["time_base_num"], found["time_base_den"])
    assert found["start_pts"] * base >= 4.5
    assert found["duration_s"] == pytest.approx(2.0)


def test_audio(tmp_path: Path) -> None:
    sound = Sound(beeps([0.5], 2, 44100, 2), 44100, layout="stereo")
    found = probe(str(film(tmp_path / "a.mp4", steady(20), sound=sound)))
    assert (found["audio_codec"], found["audio_rate"], found["audio_channels"]) == ("aac", 44100, 2)


@pytest.mark.parametrize(("turn", "corner"), [(0, (0, 0)), (90, (0, 1)), (180, (1, 1)), (270, (1, 0))])
def test_rotation_is_applied(tmp_path: Path, turn: int, corner: tuple[int, int]) -> None:
    """`corner` is the white quarter's (row, column) after turning the picture clockwise."""
    path = str(film(tmp_path / "a.mp4", steady(3), picture=quadrants, rotation=turn))
    found = probe(path)
    assert found["rotation"] == turn
    width, height = (64, 96) if turn in (90, 270) else (96, 64)
    assert (found["width"], found["height"]) == (width, height)
    frame = next(iter(Decode(path, Timing.of(found))))
    for image in (frame.bgr[..., 0], frame.luma(320), frame.upright().to_ndarray(format="gray")):
        assert image.shape == (height, width)
        quarters = cv2.resize(image, (2, 2), interpolation=cv2.INTER_AREA)
        assert np.unravel_index(quarters.argmax(), (2, 2)) == corner


def test_rotation_of_a_real_phone_video(footage: Path) -> None:
    found = probe(str(footage / "footage/broken/video_90.mov"))
    assert (found["rotation"], found["width"], found["height"]) == (90, 320, 568)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts"])
def test_one_picture(tmp_path: Path, suffix: str) -> None:
    codec = "mpeg4" if suffix == "avi" else "libx264"
    found = probe(str(film(tmp_path / f"a.{suffix}", [0], codec=codec)))
    assert found["packets"] == 1
    assert found["duration_s"] == pytest.approx(0.1, abs=0.07)
    assert found["split_pts"] == [found["start_pts"]]


@pytest.mark.parametrize("suffix", ["h264", "hevc"])
def test_raw_stream_without_times_has_the_declared_rate(tmp_path: Path, suffix: str) -> None:
    codec = {"h264": "libx264", "hevc": "libx265"}[suffix]
    path = str(film(tmp_path / f"a.{suffix}", steady(50), base=Fraction(1, 25), codec=codec))
    found = probe(path)
    assert not found["seekable"]
    assert found["fps"] == pytest.approx(25, rel=0.05)
    times = [frame.t_s for frame in Decode(path, Timing.of(found))]
    assert times == pytest.approx([n / 25 for n in range(50)], abs=0.01)


def test_damaged_tail_is_cut_off(tmp_path: Path) -> None:
    for suffix in ("mkv", "ts"):
        path = film(tmp_path / f"a.{suffix}", steady(200))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        found = probe(str(path))
        assert 50 < found["packets"] < 150
        assert found["duration_s"] == pytest.approx(found["packets"] / 10, abs=0.2)


def _with_cover(path: Path) -> Path:
    """Music with a cover picture, which containers hold as a video stream."""
    with av.open(str(path), "w") as box:
        sound = box.add_stream("libmp3lame", rate=44100, layout="mono")
        cover = box.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame(64, 64, "rgb24")
        picture.pts = 0
        box.mux(cover.encode(picture))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 44100, 0
        box.mux(sound.encode(frame))
        box.mux(sound.encode())
    return path


def _sound_only(path: Path) -> Path:
    with av.open(str(path), "w") as box:
        stream = box.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        box.mux(stream.encode(frame))
        box.mux(stream.encode())
    return path


def _no_packets(path: Path) -> Path:
    with av.open(str(path), "w") as box:
        stream = box.add_stream("mpeg4", rate=25)
        stream.width, stream.height = 64, 64
        box.start_encoding()
    return path


def _cut(path: Path, keep: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    return path


def _text(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


UNUSABLE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "text": (lambda d: _text(d / "notes.mp4", b"These are notes, not a film.\n" * 100), "container"),
    "html": (lambda d: _text(d / "404.mp4", b"<!doctype html><title>Not found</title>"), "container"),
    "empty": (lambda d: _text(d / "empty.mp4", b""), "container"),
    "zeros": (lambda d: _text(d / "zeros.mp4", bytes(100_000)), "container"),
    "noise": (lambda d: _text(d / "noise.mp4", np.random.default_rng(0).bytes(100_000)), "container"),
    "no moov": (lambda d: _cut(film(d / "a.mp4", steady(100)), 0.5), "container"),
    "header only": (lambda d: _text(d / "a.mkv", film(d / "b.mkv", steady(9)).read_bytes()[:500]), "no "),
    "sound only": (lambda d: _sound_only(d / "a.m4a"), "no video stream, only audio"),
    "cover": (lambda d: _with_cover(d / "a.mp3"), "cover"),
    "no packets": (lambda d: _no_packets(d / "a.avi"), "no packets"),
    "folder": (lambda d: d, "container"),
    "missing": (lambda d: d / "gone.mp4", "container"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_unusable_file_is_refused_with_a_reason(tmp_path: Path, kind: str) -> None:
    make, reason = UNUSABLE[kind]
    with pytest.raises(MediaError, match=reason) as caught:
        probe(str(make(tmp_path)))
    assert len(str(caught.value)) > 20


def test_cover_beside_a_film_is_passed_over(tmp_path: Path) -> None:
    """Shops put the poster into the film as one more video stream, sometimes the first."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as box:
        cover = box.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        stream = box.add_stream("libx264", rate=10)
        stream.width, stream.height = 96, 64
        poster = av.VideoFrame(32, 32, "rgb24")
        poster.pts = 0
        box.mux(cover.encode(poster))
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(quadrants(number, 96, 64), format="rgb24")
            frame.pts = number
            box.mux(stream.encode(frame))
        box.mux(stream.encode())
    found = probe(str(path))
    assert (found["codec"], found["packets"], found["width"]) == ("h264", 20, 96)
    assert sum(1 for _ in Decode(str(path), Timing.of(found))) == 20


def test_every_prefix_of_a_file_is_described_or_refused(tmp_path: Path) -> None:
    """As a download that is still going on would show it."""
    whole = film(tmp_path / "a.mp4", steady(12), container_options={"movflags": "faststart"}).read_bytes()
    part = tmp_path / "part.mp4"
    for size in [*range(0, 1200, 97), *range(1200, len(whole), 1511)]:
        part.write_bytes(whole[:size])
        try:
            found = probe(str(part))
        except MediaError:
            continue
        assert found["packets"] >= 1
        assert found["duration_s"] > 0


def test_a_stream_that_turns_up_in_mid_file_is_passed_over(tmp_path: Path) -> None:
    def noise(number: int, width: int, height: int) -> np.ndarray:
        return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)

    # More than the 5 MB in which libavformat looks for streams when it opens a file.
    sharp = {"b": "40M", "qmin": "1", "qmax": "2"}
    path = film(tmp_path / "late.flv", steady(40), codec="flv", size=(320, 240), options=sharp, picture=noise)
    assert path.stat().st_size > 5_000_000
    samples = bytes([0x3E]) + bytes(400)  # PCM, 16 bits, mono
    tag = bytes([8]) + len(samples).to_bytes(3, "big") + (3000).to_bytes(3, "big") + bytes(4) + samples
    with path.open("ab") as file:
        file.write(tag + len(tag).to_bytes(4, "big"))
    assert probe(str(path))["packets"] == 40
