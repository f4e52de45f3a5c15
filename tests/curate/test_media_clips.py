"""A clip is exact to the frame: the film's frames carry their numbers, and the clip must have just the right ones."""

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import accumulate
from pathlib import Path

import av
import cv2
import numpy as np
import psutil
import pytest

from curate.media.frame import converted
from curate.media.probe import probe
from curate.media.video import Decode, Timing
from tests.curate.films import (
    Sound,
    bars,
    beeps,
    cut,
    film,
    flash,
    lumas,
    number_of,
    read_by_opencv,
    stamps,
    steady,
    texture,
)

VARYING = list(accumulate([1, 1, 3, 1, 7, 2, 1, 1, 12, 1] * 14, initial=5))
SLOW = {"preset": "veryfast"}

FILMS: dict[str, Callable[[Path], Path]] = {
    "mp4": lambda d: film(d / "a.mp4", steady(140), picture=bars, b_frames=3, options=SLOW),
    "open_gop": lambda d: film(
        d / "a.mp4", steady(140), picture=bars, b_frames=3, options=SLOW | {"x264-params": "open-gop=1"}
    ),
    "variable_mp4": lambda d: film(d / "a.mp4", VARYING, base=Fraction(1, 30), picture=bars, b_frames=2, options=SLOW),
    "variable_mkv": lambda d: film(d / "a.mkv", VARYING, base=Fraction(1, 24), picture=bars),
    "ntsc_avi": lambda d: film(d / "a.avi", steady(140), base=Fraction(1001, 30000), codec="mpeg4", picture=bars),
    "transport_stream": lambda d: film(d / "a.ts", steady(140), picture=bars, b_frames=2, options=SLOW),
    "hevc": lambda d: film(d / "a.mkv", steady(140, start=30), codec="libx265", picture=bars),
    "vp9": lambda d: film(d / "a.webm", steady(140), codec="libvpx-vp9", picture=bars),
    "raw": lambda d: film(d / "a.h264", steady(140), base=Fraction(1, 25), picture=bars, b_frames=2, options=SLOW),
    "program_stream": lambda d: film(
        d / "a.mpg", steady(140), base=Fraction(1, 25), codec="mpeg2video", b_frames=2, picture=bars
    ),
}


Made = Callable[[str], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Each film once."""
    return cache(lambda kind: FILMS[kind](tmp_path_factory.mktemp(kind)))


@pytest.mark.parametrize(("first", "end"), [(0, 40), (37, 119), (100, 140), (64, 65)])
@pytest.mark.parametrize("kind", FILMS)
def test_clip_has_exactly_its_frames(made: Made, tmp_path: Path, kind: str, first: int, end: int) -> None:
    clip = cut(made(kind), tmp_path / "clip.mp4", first, end)
    numbers = [number_of(image) for image in lumas(clip.out)]
    assert numbers == list(range(first, end))
    assert read_by_opencv(clip.out) == numbers
    assert clip.written.frames == len(numbers)
    assert stamps(clip.out) == [at_s - clip.times[0] for at_s in clip.times]


def test_last_frame_lasts_until_the_next_one_of_the_source(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [*steady(30), *steady(10, start=35)], picture=bars)
    clip = cut(path, tmp_path / "clip.mp4", 10, 30)
    assert clip.written.duration_s == pytest.approx(2.5)
    with av.open(str(clip.out)) as box:
        stream = box.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(2.5)


def test_same_cut_gives_the_same_bytes(tmp_path: Path) -> None:
    sound = Sound(beeps([1, 2], 4, 44100, 2), 44100, layout="stereo")
    path = film(tmp_path / "a.mp4", steady(100), base=Fraction(1, 25), sound=sound)
    first, again = (cut(path, tmp_path / name, 20, 80).out.read_bytes() for name in ("1.mp4", "2.mp4"))
    assert first == again


def test_clip_of_a_real_source_starts_and_ends_on_its_frames(footage: Path, tmp_path: Path) -> None:
    """Real footage carries no numbers: each frame of the clip must look like its own source frame, not a neighbour."""
    path = footage / "footage/takes/pancake.mkv"
    clip = cut(path, tmp_path / "clip.mp4", 95, 125)
    source = lumas(path)
    for offset in (0, 15, 29):
        image = lumas(clip.out)[offset].astype(float)
        near = {n: np.abs(source[n].astype(float) - image).mean() for n in range(90 + offset, 100 + offset)}
        assert min(near, key=near.__getitem__) == 95 + offset


def corner(number: int, width: int, height: int) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = 255
    return image


@pytest.mark.parametrize(("turn", "white"), [(90, (0, 1)), (180, (1, 1)), (270, (1, 0))])
def test_clip_is_upright(tmp_path: Path, turn: int, white: tuple[int, int]) -> None:
    clip = cut(film(tmp_path / "a.mp4", steady(10), picture=corner, rotation=turn), tmp_path / "clip.mp4", 2, 8)
    found = probe(str(clip.out))
    upright = (64, 96) if turn in (90, 270) else (96, 64)
    assert (found["rotation"], found["width"], found["height"]) == (0, *upright)
    assert (clip.written.width, clip.written.height) == upright
    image = cv2.resize(lumas(clip.out)[0], (2, 2), interpolation=cv2.INTER_AREA)
    assert np.unravel_index(image.argmax(), (2, 2)) == white


FORMATS = [
    ("mp4", "libx264", "yuv420p10le", (96, 64)),
    ("mp4", "libx264", "yuv444p", (96, 64)),
    ("mp4", "libx264", "yuv444p", (97, 65)),
    ("mp4", "libx264", "yuvj420p", (96, 64)),
    ("mp4", "libx264", "gray", (96, 64)),
    ("mkv", "ffv1", "yuv420p", (97, 65)),
    ("mkv", "ffv1", "yuv422p12le", (96, 64)),
    ("mkv", "ffv1", "gray16le", (96, 64)),
    ("mkv", "ffv1", "yuva420p", (96, 64)),
    ("avi", "mjpeg", "yuvj422p", (96, 64)),
    ("mov", "prores_ks", "yuva444p10le", (96, 64)),
    ("mov", "qtrle", "argb", (96, 64)),
    ("mov", "qtrle", "rgb24", (97, 65)),
    ("mov", "png", "rgba", (96, 64)),
    ("gif", "gif", "rgb8", (96, 64)),
    ("mkv", "ffv1", "yuv420p", (96, 2)),
]


@pytest.mark.parametrize(("suffix", "codec", "pix_fmt", "size"), FORMATS)
def test_any_pixel_format_and_size(
    tmp_path: Path, suffix: str, codec: str, pix_fmt: str, size: tuple[int, int]
) -> None:
    path = film(tmp_path / f"a.{suffix}", steady(20), codec=codec, pix_fmt=pix_fmt, size=size, picture=bars)
    clip = cut(path, tmp_path / "clip.mp4", 5, 15)
    assert [number_of(image) for image in lumas(clip.out)] == list(range(5, 15))
    assert (clip.written.width, clip.written.height) == (size[0] // 2 * 2, size[1] // 2 * 2)
    found = probe(str(clip.out))
    assert found["pix_fmt"] in ("yuv420p", "yuvj420p")
    # Black and white stay as they were, whatever range the source was coded in.
    light = [frame.luma(320).astype(float).mean() for frame in Decode(str(path), Timing.of(probe(str(path))))][5:15]
    assert [f.luma(320).mean() for f in Decode(str(clip.out), Timing.of(found))] == pytest.approx(light, abs=4)


def test_no_picture_starts_threads_of_its_own(tmp_path: Path) -> None:
    """FFmpeg's scaler would start one for each core, and they stay for as long as the picture does."""
    path = film(tmp_path / "a.gif", steady(20), codec="gif", pix_fmt="rgb8", picture=bars)
    decode = iter(Decode(str(path), Timing.of(probe(str(path)))))
    held = [next(decode)]
    before = psutil.Process().num_threads()
    held += list(decode)
    assert [frame.bgr.shape for frame in held] == [held[0].bgr.shape] * 20
    assert psutil.Process().num_threads() <= before


def test_a_conversion_does_not_depend_on_those_before_it() -> None:
    """Though one scaler does them all: a broadcast changes its size and colours on the way."""
    rng = np.random.default_rng(5)
    pictures = []
    for pix_fmt in ("yuv420p10le", "yuv422p12le", "yuva420p", "bgra", "gray16le"):
        for size, colours in (((96, 64), (1, 1)), ((98, 66), (2, 5))):
            picture = av.VideoFrame(*size, pix_fmt)
            for plane in picture.planes:
                plane.update(rng.integers(0, 256, plane.buffer_size, np.uint8).tobytes())
            picture.color_range, picture.colorspace = colours
            pictures.append(picture)
    for number in rng.integers(0, len(pictures), 100):
        picture, width = pictures[number], int(rng.choice([96, 48]))
        alone = picture.reformat(width=width, height=64, format="yuv420p")
        assert (converted(picture, width=width, height=64, format="yuv420p").to_ndarray() == alone.to_ndarray()).all()


def test_alpha_of_a_real_file(footage: Path, tmp_path: Path) -> None:
    clip = cut(footage / "footage/broken/transparent.webm", tmp_path / "clip.mp4", 20, 60)
    assert len(lumas(clip.out)) == clip.written.frames == 40


def test_picture_size_that_changes_on_the_way(tmp_path: Path) -> None:
    """As in a broadcast: the clip has one size, the first."""
    copy = {"mpegts_copyts": "1"}
    parts = [
        film(tmp_path / "1.ts", steady(30), picture=bars, container_options=copy),
        film(
            tmp_path / "2.ts",
            steady(30, start=30),
            picture=lambda n, w, h: bars(n + 30, w, h),
            size=(192, 128),
            container_options=copy,
        ),
    ]
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    clip = cut(path, tmp_path / "clip.mp4", 20, 50)
    assert [number_of(image) for image in lumas(clip.out)] == list(range(20, 50))


def test_flash_is_one_frame(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", steady(60), picture=flash({30}), b_frames=3, options=SLOW)
    clip = cut(path, tmp_path / "clip.mp4", 20, 50)
    assert [n for n, image in enumerate(lumas(clip.out)) if image.mean() > 128] == [10]


def test_moving_texture_keeps_its_look(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", steady(60), picture=texture, options={"crf": "10"}, size=(192, 128))
    clip = cut(path, tmp_path / "clip.mp4", 20, 50)
    for before, after in zip(lumas(path)[20:50], lumas(clip.out), strict=True):
        assert np.abs(before.astype(float) - after).mean() < 4
