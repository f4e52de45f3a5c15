"""The one decode that every frame probe shares: pictures of a source in presentation order, upright, with true times.

A long source is split at keyframes into intervals that decode in parallel; each interval yields exactly the pictures,
timestamps and pixels that a decode from the start would yield there.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

import av
import cv2
import numpy as np

from curate.media.container import MediaError, film_stream, open_media

ANALYSIS_PX = 256
"""Aimed long side of the analysis picture: PySceneDetect's own default width, at which its thresholds were tuned."""

_STRIP, _COMB = 128, 12
"""Width of the strip searched for combing, px, and by how many levels a combed pixel sticks out: above noise."""
_PLANAR_8BIT = {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "yuv440p", "yuv411p", "gray"}
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_QUARTER_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}

# Limited-range ("studio swing") luma 16..235 and chroma 16..240 stretched to 0..255.
_STRETCH_LUMA = np.clip(np.rint((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)
_STRETCH_CHROMA = np.clip(np.rint((np.arange(256) - 128) * (255 / 224) + 128), 0, 255).astype(np.uint8)


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


class Frame:
    """A decoded picture. Its views are made when first asked for and shared by all probes."""

    def __init__(self, picture: av.VideoFrame, pts: int, t_s: float, rotation: int, errors_before: int) -> None:
        self.pts = pts
        self.t_s = t_s
        self.errors_before = errors_before
        """Packets that could not be decoded since the picture before."""
        self.keyframe: bool = picture.key_frame
        self._picture = picture
        self._rotation = rotation

    def upright(self) -> av.VideoFrame:
        """The whole picture, rotation applied, as 8-bit 4:2:0 with even sides, for an encoder."""
        picture = self._picture
        width, height = picture.width // 2 * 2, picture.height // 2 * 2
        picture = picture.reformat(max(2, width), max(2, height), "yuv420p")
        if not self._rotation:
            return picture
        planes = [cv2.rotate(pixels, _QUARTER_TURNS[self._rotation]) for pixels in _pixels(picture)]
        turned = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], "yuv420p")
        for plane, pixels in zip(turned.planes, planes, strict=True):
            rows = np.zeros((plane.height, plane.line_size), np.uint8)
            rows[:, : plane.width] = pixels
            plane.update(rows.tobytes())
        turned.colorspace, turned.color_range = picture.colorspace, picture.color_range
        return turned

    @cached_property
    def _planes(self) -> list[np.ndarray]:
        """The 8-bit Y (, U, V) planes as coded, (rows, columns) each; a view where the format allows it."""
        picture = self._picture
        if picture.format.name not in _PLANAR_8BIT:
            picture = picture.reformat(format="yuv420p")
        return _pixels(picture)

    @property
    def _limited(self) -> bool:
        return self._picture.color_range != _FULL_RANGE and not self._picture.format.name.startswith("yuvj")

    def _upright(self, image: np.ndarray) -> np.ndarray:
        turn = _QUARTER_TURNS.get(self._rotation)
        return image if turn is None else cv2.rotate(image, turn)

    def _shrunk(self, long_side: int) -> tuple[int, int]:
        """(width, height) of the luma plane divided by a whole number, its long side nearest to `long_side` px.

        Whole divisors make the area average exact and several times quicker than odd ones.
        """
        height, width = self._planes[0].shape
        divisor = max(1, round(max(width, height) / long_side))
        return max(1, width // divisor), max(1, height // divisor)

    def combing(self) -> float:
        """Share of a middle strip's pixels that stick out from the lines above and below them to the same side.

        Two fields of different times in one picture do so wherever something moves; a progressive picture hardly ever.
        Measured at full height, for a smaller picture has lost it. 0 to 1.
        """
        plane = self._planes[0]
        left = max(0, plane.shape[1] // 2 - _STRIP // 2)
        strip = np.ascontiguousarray(plane[: plane.shape[0] // 2 * 2, left : left + _STRIP])
        if len(strip) < 4:
            return 0.0
        above, here, below = strip[:-2], strip[1:-1], strip[2:]
        over = cv2.min(cv2.subtract(here, above), cv2.subtract(here, below))
        under = cv2.min(cv2.subtract(above, here), cv2.subtract(below, here))
        sticking = np.count_nonzero(cv2.max(over, under) > _COMB)
        return float(sticking / here.size)

    def luma(self, long_side: int) -> np.ndarray:
        """Luma 0..255 full range, area-averaged to about `long_side` px, upright: (rows, columns) uint8."""
        size = self._shrunk(long_side)
        cached = self._luma.get(size)
        if cached is None:
            cached = self._luma[size] = self._upright(self._flat_luma(size))
        return cached

    def _flat_luma(self, size: tuple[int, int]) -> np.ndarray:
        """Full-range luma at a size, not yet turned upright; shared by `luma` and `bgr`."""
        cached = self._flat.get(size)
        if cached is None:
            plane = _shrink(self._planes[0], size)
            cached = self._flat[size] = cv2.LUT(plane, _STRETCH_LUMA) if self._limited else plane
        return cached

    @cached_property
    def _flat(self) -> dict[tuple[int, int], np.ndarray]:
        return {}

    @cached_property
    def _luma(self) -> dict[tuple[int, int], np.ndarray]:
        return {}

    @cached_property
    def bgr(self) -> np.ndarray:
        """The analysis picture: about 256 px on its long side, upright, (rows, columns, 3) uint8 in BGR order."""
        size = self._shrunk(ANALYSIS_PX)
        planes = self._planes
        if len(planes) == 1:
            return cv2.cvtColor(self.luma(ANALYSIS_PX), cv2.COLOR_GRAY2BGR)
        y = self._flat_luma(size)
        u, v = (_shrink(plane, size) for plane in planes[1:3])
        if self._limited:
            u, v = cv2.LUT(u, _STRETCH_CHROMA), cv2.LUT(v, _STRETCH_CHROMA)
        return self._upright(cv2.cvtColor(cv2.merge([y, v, u]), cv2.COLOR_YCrCb2BGR))


def lead_of(split_pts: Sequence[int], pts: int) -> int:
    """Where to decode from so that the picture at `pts` is right: a whole split before the nearest, for open GOPs."""
    return split_pts[max(0, bisect.bisect_right(split_pts, pts) - 2)]


def _pixels(picture: av.VideoFrame) -> list[np.ndarray]:
    """The planes of an 8-bit planar picture, (rows, columns) each, without a copy."""
    return [
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in picture.planes
    ]


def _shrink(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    rows, columns = plane.shape
    if (columns, rows) == size:
        return np.ascontiguousarray(plane)  # rows of a decoded picture may be padded, which OpenCV's flow refuses
    if columns >= width and rows >= height:
        divisor_x, divisor_y = columns // width, rows // height
        plane = plane[: height * divisor_y, : width * divisor_x]
        # Halving is the one area average that OpenCV has in SIMD: two to three times quicker as often as it goes.
        while divisor_x % 2 == 0 and divisor_y % 2 == 0:
            divisor_x, divisor_y = divisor_x // 2, divisor_y // 2
            plane = cv2.resize(plane, (width * divisor_x, height * divisor_y), interpolation=cv2.INTER_AREA)
        return plane if divisor_x == divisor_y == 1 else cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)


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
    """

    path: str
    timing: Timing
    start_pts: int | None = None
    end_pts: int | None = None
    lead_pts: int | None = None
    threads: int = 1
    wanted_pts: int | None = None
    frames: int = field(default=0, init=False)
    corrupt_frames: int = field(default=0, init=False)
    decode_errors: int = field(default=0, init=False)
    stopped_early: str | None = field(default=None, init=False)

    def __iter__(self) -> Iterator[Frame]:
        with open_media(self.path) as container:
            stream = film_stream(container)
            stream.codec_context.thread_count = self.threads
            stream.thread_type = "AUTO"
            lead = self.lead_pts if self.lead_pts is not None else self.start_pts
            if lead is not None and lead > self.timing.start_pts:
                seek(container, stream, lead)
            yield from self._decode(container, stream)

    def _decode(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[Frame]:
        lead = self.lead_pts if self.lead_pts is not None else self.start_pts
        last: int | None = None
        lost = 0
        for picture in self._pictures(container, stream):
            if picture is None:
                lost += 1
                continue
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
            yield Frame(picture, pts, self.timing.seconds(pts), self.timing.rotation, lost)
            lost = 0
        self.decode_errors += lost

    def _pictures(
        self, container: av.container.InputContainer, stream: av.VideoStream
    ) -> Iterator[av.VideoFrame | None]:
        """Pictures in presentation order; None for each packet that could not be decoded."""
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                self.stopped_early = error.strerror or str(error)
                packet = None
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
        first = next((p for p in container.demux(stream) if p.size), None)
        if first is not None and first.pts is not None and first.pts <= pts:
            container.seek(target, stream=stream, backward=True)
            return
        target -= step
        step *= 4
    raise MediaError(f"cannot seek to timestamp {pts}; re-wrap the file (for example into .mkv) and run again")
