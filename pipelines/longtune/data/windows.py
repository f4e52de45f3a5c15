"""Cuts one window of frames out of a take: picked by time, decoded from the keyframe before it, scaled and cropped.

Times are exact fractions of the stream's own clock, so a take of varying frame rate gives frames at the right moments:
each is the one on screen at its time.
"""

from __future__ import annotations

import io
import math
import random
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
import av.container
import numpy as np

from pipelines.longtune.config import BucketConfig
from pipelines.longtune.data.takes import BadTakeError, ShortTakeError
from stages.latents.pictures import MOST_PIXELS, fit

# An mp4 may name other files or protocols; a shard's may not make us open any of them.
_SAFE = {"protocol_whitelist": "none", "enable_drefs": "0", "use_absolute_path": "0"}
# Seconds to step back when a seek lands after its target (B-frames: seeks go by decoding time); None: to the start.
_STEPS_BACK = (0, 2, None)


@dataclass(frozen=True)
class Window:
    """Frames of a take: uint8 RGB of shape (frames, height, width, 3), from `start_s` after the take's start."""

    video: np.ndarray
    start_s: Fraction


def read_window(file: BinaryIO | io.RawIOBase, shape: BucketConfig, fps: float, rng: random.Random) -> Window:
    """Decode a random window of `shape.frames` frames at `fps`.

    Args:
        file: an mp4; only its index and the window's part of it are read.
        shape: frames, height and width of the window.
        fps: frames a second.
        rng: draws the window's start.

    Raises:
        ShortTakeError: the take is shorter than the window.
        BadTakeError: it cannot be decoded, or ends before its header says.
    """
    start: Fraction | None = None
    for back in _STEPS_BACK:
        # Opened anew each time: a decoder that has met a sound picture takes what follows a seek for sound, too.
        with _opened(file) as container:
            if start is None:
                start = _drawn(container, shape, fps, rng)
            frames = _frames_at(container, start, back, shape, fps)
        if frames is not None:
            return Window(np.stack(frames), start)
    raise AssertionError("a read from the start never asks to step back")


def probe(file: BinaryIO | io.RawIOBase) -> tuple[float, int, int]:
    """Seconds, width and height of an mp4 by its own index. Raises `BadTakeError`."""
    with _opened(file) as container:
        stream, duration = _stream(container)
        return float(duration), stream.width, stream.height


@contextmanager
def _opened(file: BinaryIO | io.RawIOBase) -> Iterator[av.container.InputContainer]:
    file.seek(0)
    try:
        with av.open(file, "r", format="mp4", options=_SAFE) as container:
            yield container
    except av.FFmpegError as error:
        raise BadTakeError(f"cannot be decoded: {error.strerror}") from error


def _stream(container: av.container.InputContainer) -> tuple[av.VideoStream, Fraction]:
    """The video stream and its length in seconds."""
    if not container.streams.video:
        raise BadTakeError("has no video stream")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise BadTakeError("is of a codec that cannot be decoded here")
    if not 0 < stream.width * stream.height <= MOST_PIXELS:
        raise BadTakeError(f"has frames of {stream.width}x{stream.height}")
    if stream.time_base is None or stream.duration is None:
        raise BadTakeError("does not say how long it is")
    return stream, stream.duration * stream.time_base


def _drawn(container: av.container.InputContainer, shape: BucketConfig, fps: float, rng: random.Random) -> Fraction:
    """Where the window begins, seconds from the take's start."""
    stream, duration = _stream(container)
    time_base = Fraction(stream.time_base or 1)
    # The last frame's time must lie before the take's end, by a tick at least.
    latest = duration - _step(fps) * (shape.frames - 1) - time_base
    if latest < 0:
        raise ShortTakeError(float(duration))
    return rng.randrange(int(latest / time_base) + 1) * time_base


def _step(fps: float) -> Fraction:
    return 1 / Fraction(fps).limit_denominator(100_000)


def _frames_at(
    container: av.container.InputContainer, start: Fraction, back_s: int | None, shape: BucketConfig, fps: float
) -> list[np.ndarray] | None:
    """The frames on screen from `start` on; None if the seek landed where they cannot all be known."""
    stream = container.streams.video[0]
    time_base = Fraction(stream.time_base or 1)
    start += (stream.start_time or 0) * time_base
    times = [start + _step(fps) * index for index in range(shape.frames)]
    target = 0 if back_s is None else max(0, int((start - back_s) / time_base))
    container.seek(target, stream=stream)
    # In ticks, for every decoded frame is compared: a time is over where a frame begins after it.
    over = [math.floor(time / time_base) + 1 for time in times]
    picked: list[np.ndarray] = []
    shown: av.VideoFrame | None = None
    ends = 0
    for frame in container.decode(stream):
        begins = frame.pts
        if begins is None or frame.is_corrupt:
            if back_s is not None and shown is None:
                continue  # an open GOP's first frames lean on what was before the keyframe, and are shown before it
            if back_s is not None:
                return None
            raise BadTakeError(f"has a corrupt frame near {float(ends * time_base):.2f} s")
        # Nor is a first frame that is no keyframe to be trusted, sound as it may look: the stream has no real ones.
        if back_s is not None and shown is None and (begins >= over[0] or not frame.key_frame):
            return None
        due = bisect_right(over, begins) - len(picked)
        if due > 0:
            picked += [_fitted(shown or frame, shape)] * due
        shown, ends = frame, begins + (frame.duration or 1)
        if len(picked) == len(times):
            return picked
    due = bisect_right(over, ends) - len(picked)
    if shown is None or len(picked) + due < len(times):
        raise BadTakeError(f"ends at {float(ends * time_base):.2f} s, before its header says")
    return picked + [_fitted(shown, shape)] * due


def _fitted(frame: av.VideoFrame, shape: BucketConfig) -> np.ndarray:
    try:
        return fit(frame, shape.width, shape.height)
    except ValueError as error:
        raise BadTakeError(str(error)) from error
