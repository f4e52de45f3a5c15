"""Cuts one window of frames out of a take: picked by time, decoded from the keyframe before it, scaled and cropped.

Times are exact fractions of the stream's own clock, so a take of varying frame rate gives frames at the right moments:
each is the one on screen at its time.
"""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import av.container
import numpy as np

from pipelines.longtune.config import DataConfig
from pipelines.longtune.data.shards import BadTakeError

# An mp4 may name other files or protocols; a shard's may not make us open any of them.
_SAFE = {"protocol_whitelist": "none", "enable_drefs": "0", "use_absolute_path": "0"}
_MAX_PIXELS = 8192 * 8192
# Seconds to step back when a seek lands after its target (B-frames: seeks go by decoding time); None: to the start.
_STEPS_BACK = (0, 2, None)


class ShortTakeError(Exception):
    """The take is shorter than a window."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.2f} s long")
        self.seconds = seconds


@dataclass(frozen=True)
class Window:
    """Frames of a take: uint8 RGB of shape (frames, height, width, 3), from `start_s` after the take's start."""

    video: np.ndarray
    start_s: Fraction


def read_window(mp4: bytes, data: DataConfig, rng: random.Random) -> Window:
    """Decode a random window of `data.frames` frames at `data.fps`.

    Raises:
        ShortTakeError: the take is shorter than the window.
        BadTakeError: it cannot be decoded, or ends before its header says.
    """
    try:
        with av.open(io.BytesIO(mp4), "r", format="mp4", options=_SAFE) as container:
            return _read(container, data, rng)
    except av.FFmpegError as error:
        raise BadTakeError(f"cannot be decoded: {error.strerror}") from error


def _read(container: av.container.InputContainer, data: DataConfig, rng: random.Random) -> Window:
    if not container.streams.video:
        raise BadTakeError("has no video stream")
    stream = container.streams.video[0]
    if stream.width * stream.height > _MAX_PIXELS:
        raise BadTakeError(f"has frames of {stream.width}x{stream.height}")
    if stream.time_base is None or stream.duration is None:
        raise BadTakeError("does not say how long it is")
    step = 1 / Fraction(data.fps).limit_denominator(100_000)
    duration = stream.duration * stream.time_base
    # The last frame's time must lie before the take's end, by a tick at least.
    latest = duration - step * (data.frames - 1) - stream.time_base
    if latest < 0:
        raise ShortTakeError(float(duration))
    start = rng.randrange(int(latest / stream.time_base) + 1) * stream.time_base
    origin = (stream.start_time or 0) * stream.time_base
    times = [origin + start + step * index for index in range(data.frames)]
    for back in _STEPS_BACK:
        frames = _frames_at(container, times, back, data)
        if frames is not None:
            return Window(np.stack(frames), start)
    raise AssertionError("a read from the start never asks to step back")


def _frames_at(
    container: av.container.InputContainer, times: Sequence[Fraction], back_s: int | None, data: DataConfig
) -> list[np.ndarray] | None:
    """The frames on screen at `times`; None if the seek landed where they cannot all be known."""
    stream = container.streams.video[0]
    time_base = Fraction(stream.time_base or 1)
    target = 0 if back_s is None else max(0, int((times[0] - back_s) / time_base))
    container.seek(target, stream=stream)
    picked: list[np.ndarray] = []
    shown: av.VideoFrame | None = None
    ends = Fraction(0)
    for frame in container.decode(stream):
        broken = frame.pts is None or frame.is_corrupt
        begins = (frame.pts or 0) * time_base
        if back_s is not None and (broken or (shown is None and begins > times[0])):
            return None  # also for open GOPs, whose frames lean on what was before the keyframe
        if broken:
            raise BadTakeError(f"has a corrupt frame near {float(ends):.2f} s")
        due = sum(time < begins for time in times[len(picked) :])
        if due:
            picked += [_fit(shown or frame, data)] * due
        shown, ends = frame, begins + (frame.duration or 1) * time_base
        if len(picked) == len(times):
            return picked
    due = sum(time < ends for time in times[len(picked) :])
    if shown is None or len(picked) + due < len(times):
        raise BadTakeError(f"ends at {float(ends):.2f} s, before its header says")
    return picked + [_fit(shown, data)] * due


def _fit(frame: av.VideoFrame, data: DataConfig) -> np.ndarray:
    """Scale a frame to cover the wanted size, and cut its middle out."""
    scale = max(data.width / frame.width, data.height / frame.height)
    width, height = max(data.width, round(frame.width * scale)), max(data.height, round(frame.height * scale))
    image = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA").to_ndarray()
    left, top = (width - data.width) // 2, (height - data.height) // 2
    return image[top : top + data.height, left : left + data.width]
