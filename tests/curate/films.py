"""Makes the small films that the media tests are about: pictures that carry their number, sound that beeps on time."""

from __future__ import annotations

import bisect
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import imageio_ffmpeg
import numpy as np

from curate.media.clip import Written, write_clip
from curate.media.encoder import Encoding
from curate.media.probe import probe
from curate.media.spans import Reader, Span
from curate.media.video import Decode, Timing

BITS = 12
WIDTH, HEIGHT = 96, 64

Painter = Callable[[int, int, int], np.ndarray]
"""(frame number, width, height) to a picture: (rows, columns, 3) uint8 RGB."""


def texture(number: int, width: int, height: int) -> np.ndarray:
    """A coloured pattern that pans 2 px a frame, and changes for another every 40 frames."""
    random = np.random.default_rng(number // 40)
    coarse = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return np.roll(np.kron(coarse, np.ones((8, 8, 1), np.uint8))[:height, :width], 2 * number, axis=1)


def bars(number: int, width: int, height: int) -> np.ndarray:
    """The frame number as black and white bars, first bit on the left: readable after any lossy coding."""
    bits = [number >> bit & 1 for bit in range(BITS)]
    columns = np.arange(width) * BITS // width
    row = np.where(np.array(bits)[columns], 230, 25).astype(np.uint8)
    return np.repeat(np.repeat(row[None, :, None], height, 0), 3, 2)


def number_of(luma: np.ndarray) -> int:
    """The frame number that `bars` drew."""
    width = luma.shape[1]
    row = luma[luma.shape[0] // 4 : -luma.shape[0] // 4].mean(axis=0)
    return sum(1 << bit for bit in range(BITS) if row[int((bit + 0.5) * width / BITS)] > 128)


def flash(numbers: set[int]) -> Painter:
    """A dark film that is white in the frames of those numbers."""
    return lambda number, width, height: np.full((height, width, 3), 235 if number in numbers else 20, np.uint8)


def steady(frames: int, every: int = 1, start: int = 0) -> list[int]:
    """Timestamps `every` tick."""
    return list(range(start, start + frames * every, every))


@dataclass(frozen=True)
class Sound:
    """An audio track: samples (channels, n) in -1..1, and where it starts on the film's clock."""

    samples: np.ndarray
    rate: int
    codec: str = "aac"
    start_s: float = 0.0
    layout: str = "mono"


def beeps(times_s: Sequence[float], length_s: float, rate: int, channels: int = 1) -> np.ndarray:
    """Silence with a 50 ms burst of a 1 kHz sine at each time, alike in all channels: (channels, n) float32."""
    at_s = np.arange(round(length_s * rate)) / rate
    on = np.zeros(len(at_s), bool)
    for time_s in times_s:
        on |= (at_s >= time_s) & (at_s < time_s + 0.05)
    return np.repeat((0.5 * np.sin(2 * np.pi * 1000 * at_s) * on).astype(np.float32)[None], channels, 0)


def film(
    path: Path,
    pts: Sequence[int],
    *,
    base: Fraction = Fraction(1, 10),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    options: Mapping[str, str] | None = None,
    gop: int = 25,
    b_frames: int = 0,
    picture: Painter = texture,
    rotation: int | None = None,
    sound: Sound | None = None,
    container: str | None = None,
    container_options: Mapping[str, str] | None = None,
) -> Path:
    """Write a film whose frames have the given timestamps (ticks of `base`).

    Args:
        rotation: clockwise degrees that a player must turn the picture by.
        container: libavformat's name; by default what the suffix says.
    """
    width, height = size
    with av.open(str(path), "w", format=container, container_options=dict(container_options or {})) as box:
        rate = 1 / (base * int(np.median(np.diff(pts)))) if len(pts) > 1 else Fraction(10)
        video = box.add_stream(codec, rate=rate, options=_coder_options(codec) | dict(options or {}))
        context = video.codec_context
        context.width, context.height, context.pix_fmt = width, height, pix_fmt
        context.time_base = base
        context.gop_size = gop
        if codec not in ("libx265", "libsvtav1", "libvpx-vp9"):
            context.max_b_frames = b_frames
        context.thread_count = 1
        if rotation is not None:
            video.set_display_rotation(-rotation)
        audio = box.add_stream(sound.codec, rate=sound.rate, layout=sound.layout) if sound else None
        packets = []
        for number, stamp in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(picture(number, width, height), format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = stamp, base
            packets += video.encode(frame)
        packets += video.encode()
        if sound and audio:
            packets += _encoded(audio, sound)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            box.mux(packet)
    return path


def _coder_options(codec: str) -> dict[str, str]:
    return {
        "libx264": {"preset": "ultrafast", "sc_threshold": "0"},
        "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1"},
        "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"},
        "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
    }.get(codec, {})


def _encoded(stream: av.AudioStream, sound: Sound) -> list[av.Packet]:
    kind = next(f.name for f in stream.codec_context.codec.audio_formats or ())
    resampler = av.AudioResampler(format=kind, layout=sound.layout, rate=sound.rate)
    packets = []
    for first in range(0, sound.samples.shape[1], 1000):
        block = np.ascontiguousarray(sound.samples[:, first : first + 1000])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=sound.layout)
        frame.sample_rate, frame.time_base = sound.rate, Fraction(1, sound.rate)
        frame.pts = first + round(sound.start_s * sound.rate)
        for piece in resampler.resample(frame):
            packets += stream.encode(piece)
    return packets + stream.encode()


def lumas(path: Path) -> list[np.ndarray]:
    """The luma of every picture of a file, as PyAV gives it with no help from the code under test."""
    with av.open(str(path)) as box:
        return [frame.to_ndarray(format="gray") for frame in box.decode(video=0)]


def stamps(path: Path) -> list[Fraction]:
    """The time of every picture, exact, on the file's own clock."""
    with av.open(str(path)) as box:
        return [frame.pts * frame.time_base for frame in box.decode(video=0)]


@dataclass(frozen=True)
class Cut:
    """A clip that was cut out of a film, and what it was cut from."""

    out: Path
    written: Written
    times: list[Fraction]
    """Of the source's frames in the clip, seconds on the source's own clock."""


ENCODE = Encoding(mode="encode", crf=20, preset="ultrafast", keyframe_s=2.0, audio_bitrate=128_000)
SMART = replace(ENCODE, mode="smart")


def cut(path: Path, out: Path, first: int, end: int, how: Encoding = SMART, damaged: int = 0) -> Cut:
    """Cut frames first..end-1 of a film into a clip, as the stage does: times from an analysis, a split to spare."""
    source = probe(str(path))
    timing = Timing.of(source)
    return cut_all(path, [out], [(first, end)], [frame.pts for frame in Decode(str(path), timing)], how, damaged)[0]


def cut_all(
    path: Path,
    outs: Sequence[Path],
    takes: Sequence[tuple[int, int]],
    stamps: Sequence[int],
    how: Encoding = SMART,
    damaged: int = 0,
) -> list[Cut]:
    """Cut takes (first, end) of a film whose frames have the times `stamps`, one after the other with one reader."""
    source = probe(str(path))
    timing = Timing.of(source)
    reader = Reader(str(path), timing, source["fps"], source["audio_codec"] is not None, damaged)
    step = int(np.median(np.diff(stamps))) if len(stamps) > 1 else 1
    ends = [*stamps, stamps[-1] + step]
    splits = source["split_pts"]
    cuts = []
    for out, (first, end) in zip(outs, takes, strict=True):
        lead = splits[max(0, bisect.bisect_right(splits, stamps[first]) - 2)]
        start_s, end_s = timing.seconds(stamps[first]), timing.seconds(ends[end])
        span = Span(stamps[first], ends[end], start_s, end_s, lead, end - first)
        written = write_clip(reader, span, how, out)
        cuts.append(Cut(out, written, [stamp * timing.base for stamp in stamps[first:end]]))
    return cuts


def read_by_opencv(path: Path) -> list[int]:
    """The numbers of a film's frames as OpenCV's own FFmpeg decodes them."""
    capture = cv2.VideoCapture(str(path))
    numbers = []
    while True:
        there, image = capture.read()
        if not there:
            return numbers
        numbers.append(number_of(image[..., 1]))


def read_by_ffmpeg(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> list[int]:
    """The command line's frame-threaded decode, which must have nothing to complain about."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "warning", "-threads", "4", "-i", str(path)]
    command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    run = subprocess.run(command, capture_output=True, check=True)
    complaints = [line for line in run.stderr.decode().splitlines() if "deprecated pixel format" not in line]
    assert complaints == []
    pictures = np.frombuffer(run.stdout, np.uint8).reshape(-1, size[1], size[0])
    return [number_of(picture) for picture in pictures]


def assert_right(clip: Cut, first: int, end: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    numbers = [number_of(image) for image in lumas(clip.out)]
    assert numbers == list(range(first, end))
    assert read_by_opencv(clip.out) == numbers
    assert read_by_ffmpeg(clip.out, size) == numbers
    assert stamps(clip.out) == [at_s - clip.times[0] for at_s in clip.times]
    assert clip.written.frames == len(numbers)
