"""The one decode that every frame probe shares: pictures of a source in presentation order, upright, with true times.

A long source is split at keyframes into intervals that decode in parallel; each interval yields exactly the pictures,
timestamps and pixels that a decode from the start would yield there.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av

from curate.media.container import MediaError, demuxed, film_stream, open_media
from curate.media.frame import Frame

MOST_WAITING = 256
"""Packets whose sizes are remembered until their pictures come: many times what any decoder holds back."""


@dataclass(frozen=True)
class Timing:
    """A source's clock, as its probe found it."""

    base: Fraction
    """Seconds per tick."""
    start_pts: int
    rotation: int = 0
    """Clockwise degrees that make the picture upright."""

    @classmethod
    def of(cls, source: dict[str, Any]) -> Timing:
        """From a row of the `sources` table."""
        base = Fraction(source["time_base_num"], source["time_base_den"])
        return cls(base, source["start_pts"], source["rotation"] or 0)

    def seconds(self, pts: int) -> float:
        """Seconds since the source's first timestamp."""
        return float((pts - self.start_pts) * self.base)


def lead_of(split_pts: Sequence[int], pts: int) -> int:
    """Where to decode from so that the picture at `pts` is right: a whole split before the nearest, for open GOPs."""
    return split_pts[max(0, bisect.bisect_right(split_pts, pts) - 2)]


@dataclass
class Decode:
    """An iterator over the frames of one source or one interval of it, and what went wrong on the way.

    Args:
        path: a local file.
        timing: its clock.
        start_pts, end_pts: yield the frames with start_pts <= pts < end_pts; None is open.
        lead_pts: decode from the last keyframe at or before this timestamp (`start_pts` by default).
        threads: decoder threads; 0 lets libavcodec choose.
        wanted_pts: of H.264, leave out pictures before this timestamp that no other picture refers to. A picture says
            so itself (nal_ref_idc, 7.4.1 of the standard), and the others come out the same to the bit.
        vectors: have the decoder export motion vectors, for `Frame.vectors`.
    """

    path: str
    timing: Timing
    start_pts: int | None = None
    end_pts: int | None = None
    lead_pts: int | None = None
    threads: int = 1
    wanted_pts: int | None = None
    vectors: bool = False
    frames: int = field(default=0, init=False)
    corrupt_frames: int = field(default=0, init=False)
    decode_errors: int = field(default=0, init=False)
    stopped_early: str | None = field(default=None, init=False)

    def __iter__(self) -> Iterator[Frame]:
        with open_media(self.path) as container:
            stream = film_stream(container)
            stream.codec_context.thread_count = self.threads
            stream.thread_type = "AUTO"
            if self.vectors:
                stream.codec_context.options = {"flags2": "+export_mvs"}
            lead = self.lead_pts if self.lead_pts is not None else self.start_pts
            if lead is not None and lead > self.timing.start_pts:
                seek(container, stream, lead)
            yield from self._decode(container, stream)

    def _decode(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[Frame]:
        lead = self.lead_pts if self.lead_pts is not None else self.start_pts
        last: int | None = None
        lost = 0
        sizes: dict[int, int] = {}
        for picture in self._pictures(container, stream, sizes):
            if picture is None:
                lost += 1
                continue
            coded_bytes = sizes.pop(picture.pts, None) if picture.pts is not None else None
            pts = picture.pts
            if pts is None:
                pts = self.timing.start_pts if last is None else last + max(1, picture.duration or 0)
            elif last is not None and pts <= last:
                pts = last + 1  # unordered: keep the picture, at the next tick, so that frames count as decoded
            if self.end_pts is not None and pts >= self.end_pts:
                return
            last = pts
            if lead is not None and pts < lead:
                continue
            if self.start_pts is None or pts >= self.start_pts:
                self.frames += 1
                self.corrupt_frames += bool(picture.is_corrupt)
                self.decode_errors += lost
            yield Frame(picture, pts, self.timing.seconds(pts), self.timing.rotation, lost, coded_bytes)
            lost = 0
        self.decode_errors += lost

    def _pictures(
        self, container: av.container.InputContainer, stream: av.VideoStream, sizes: dict[int, int]
    ) -> Iterator[av.VideoFrame | None]:
        """Pictures in presentation order, None for each packet that could not be decoded; packets' sizes by time."""
        packets = demuxed(container, stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                self.stopped_early = error.strerror or str(error)
                packet = None
            if packet is not None and packet.pts is not None:
                sizes[packet.pts] = sizes.get(packet.pts, 0) + packet.size
                if len(sizes) > MOST_WAITING:  # of pictures that never came
                    del sizes[next(iter(sizes))]
            if packet is not None and self.wanted_pts is not None and stream.codec_context.name == "h264":
                unseen = packet.pts is not None and packet.pts < self.wanted_pts
                stream.codec_context.skip_frame = "NONREF" if unseen else "DEFAULT"
            try:
                pictures = packet.decode() if packet is not None else stream.codec_context.decode(None)
            except MemoryError:
                raise  # the child's limit, not the file's fault
            except av.error.FFmpegError:
                yield None
                pictures = []
            yield from pictures
            if packet is None:
                return


def seek(container: av.container.InputContainer, stream: av.VideoStream, pts: int) -> None:
    """Position the demuxer at a keyframe whose timestamp is at or before `pts`.

    Some demuxers look the target up among decoding times and overshoot; where the first packet is late, the target
    moves back until it is not.
    """
    step = max(1, round(1 / stream.time_base)) if stream.time_base else 1
    target = pts
    for _ in range(8):
        container.seek(target, stream=stream, backward=True)
        first = next((p for p in demuxed(container, stream) if p.size), None)
        if first is not None and first.pts is not None and first.pts <= pts:
            container.seek(target, stream=stream, backward=True)
            return
        target -= step
        step *= 4
    raise MediaError(f"cannot seek to timestamp {pts}; re-wrap the file (for example into .mkv) and run again")
