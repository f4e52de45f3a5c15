"""Writes one take as a file of its own, exact to the frame, with its sound in sync.

Pictures are decoded from the keyframe before the take and encoded anew, because a stream copy can only start at a
keyframe and would bring frames of the shot before back in. Timestamps are kept, so variable frame rates survive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags

from curate.media.audio import samples
from curate.media.container import MediaError, open_media
from curate.media.video import Decode, Frame, Timing

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


@dataclass(frozen=True)
class Encoding:
    """How clips are encoded."""

    crf: int
    preset: str
    keyframe_s: float
    """Longest distance between keyframes, seconds."""
    audio_bitrate: int
    """Bits per second."""


@dataclass(frozen=True)
class Span:
    """A take inside a source."""

    start_pts: int
    end_pts: int
    """Timestamp at which its last frame's display ends."""
    start_s: float
    end_s: float
    lead_pts: int
    """Keyframe from which decoding starts."""


@dataclass(frozen=True)
class Written:
    """What a written clip holds."""

    frames: int
    width: int
    height: int
    duration_s: float
    audio_s: float | None


class Reader:
    """Decodes one source for several clips: a clip that begins soon after the last goes on from there.

    Spans are asked for in the order of their starts. A new decode begins only where a clip's own lead lies ahead.
    """

    def __init__(self, path: str, timing: Timing) -> None:
        self.path, self.timing = path, timing
        self._frames: Iterator[Frame] = iter(())
        self._next: Frame | None = None

    def frames(self, span: Span) -> Iterator[Frame]:
        """The frames of a span, in order."""
        if self._next is None or not span.lead_pts <= self._next.pts <= span.start_pts:
            self._frames = iter(Decode(self.path, self.timing, start_pts=span.start_pts, lead_pts=span.lead_pts))
            self._next = next(self._frames, None)
        while self._next is not None and self._next.pts < span.end_pts:
            frame, self._next = self._next, next(self._frames, None)
            if frame.pts >= span.start_pts:
                yield frame


def write_clip(
    reader: Reader,
    span: Span,
    fps: float,
    audio: bool,
    how: Encoding,
    out: Path,
    progress: Callable[[float], None],
) -> Written:
    """Encode a span of the reader's source into the MP4 file `out`.

    Args:
        fps: mean frame rate, for the encoder's rate control and keyframe distance.
        audio: whether the source has an audio stream.
        progress: called with the source's time in seconds as it goes.

    Raises:
        MediaError: no picture of the span could be decoded.
    """
    timing = reader.timing
    frames = reader.frames(span)
    current = next(frames, None)
    if current is None:
        raise MediaError(f"no picture between {span.start_s:.3f} s and {span.end_s:.3f} s could be decoded again")
    first = current.upright()
    written, audio_s = 0, 0.0
    with av.open(
        str(out), "w", format="mp4", container_options={"movflags": "+faststart", "fflags": "+bitexact"}
    ) as box:
        video = _video_stream(box, first, timing.base, fps, how)
        sound = _Sound(box, reader, span, how) if audio else None
        while current is not None:
            following = next(frames, None)
            picture = current.upright() if written else first
            picture.pts = current.pts - span.start_pts
            picture.time_base = timing.base
            picture.duration = (following.pts if following else span.end_pts) - current.pts
            picture.pict_type = av.video.frame.PictureType.NONE
            for packet in video.encode(picture):
                box.mux(packet)
            written += 1
            progress(timing.seconds(current.pts))
            if sound:
                audio_s = sound.up_to(timing.seconds(current.pts) - span.start_s)
            current = following
        for packet in video.encode():
            box.mux(packet)
        if sound:
            audio_s = sound.finish()
    duration_s = float((span.end_pts - span.start_pts) * timing.base)
    return Written(written, first.width, first.height, duration_s, audio_s or None)


def _video_stream(
    box: av.container.OutputContainer, first: av.VideoFrame, base: Fraction, fps: float, how: Encoding
) -> av.VideoStream:
    options = {"crf": str(how.crf), "preset": how.preset, "threads": "1"}  # x264's bits depend on its thread count
    stream = box.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = first.width, first.height, "yuv420p"
    context.time_base = base
    context.flags |= Flags.frame_duration  # else every packet is said to last 1/fps, the last one, too
    context.gop_size = max(1, round(how.keyframe_s * fps))
    context.colorspace, context.color_range = first.colorspace, first.color_range
    return stream


class _Sound:
    """The audio track, encoded a little ahead of the pictures so that the two interleave in the file."""

    AHEAD_S = 0.5

    def __init__(self, box: av.container.OutputContainer, reader: Reader, span: Span, how: Encoding) -> None:
        with open_media(reader.path) as probe:
            context = probe.streams.audio[0].codec_context
            rate = context.sample_rate if context.sample_rate in AAC_RATES else 48000
            layout = "mono" if context.channels == 1 else "stereo"
        self._rate, self._layout, self._box = rate, layout, box
        self._stream = box.add_stream("aac", rate=rate, layout=layout, bit_rate=how.audio_bitrate)
        self._blocks: Iterator[np.ndarray] | None = samples(
            reader.path, reader.timing, span.start_s, span.end_s, rate, layout
        )
        self._done = 0

    def up_to(self, at_s: float) -> float:
        """Encode sound up to `at_s` and a little more; returns the seconds encoded."""
        while self._blocks is not None and self._done < (at_s + self.AHEAD_S) * self._rate:
            block = next(self._blocks, None)
            if block is None:
                self._blocks = None
                break
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=self._layout)
            frame.sample_rate, frame.pts, frame.time_base = self._rate, self._done, Fraction(1, self._rate)
            self._done += block.shape[1]
            for packet in self._stream.encode(frame):
                self._box.mux(packet)
        return self._done / self._rate

    def finish(self) -> float:
        self.up_to(float("inf"))
        if self._done:
            for packet in self._stream.encode():
                self._box.mux(packet)
        return self._done / self._rate
