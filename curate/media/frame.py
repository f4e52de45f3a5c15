"""A decoded picture and its views: upright, full range, at the sizes that probes ask for, each made once."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

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


_scaler = threading.local()


def converted(picture: av.VideoFrame, **wanted: Any) -> av.VideoFrame:
    """A picture in another size or pixel format, as `VideoFrame.reformat` makes it, in the calling thread alone.

    That one starts a thread for each of the machine's cores, for each picture. A worker has a core; of as many workers
    as cores the system would be asked for more threads than it has to give, and a decode would fail for that.
    """
    if not hasattr(_scaler, "kept"):
        _scaler.kept = VideoReformatter()
    made: av.VideoFrame = _scaler.kept.reformat(picture, threads=1, **wanted)
    return made


class Frame:
    """A decoded picture. Its views are made when first asked for and shared by all probes."""

    def __init__(
        self,
        picture: av.VideoFrame,
        pts: int,
        t_s: float,
        rotation: int,
        errors_before: int,
        coded_bytes: int | None = None,
    ) -> None:
        self.pts = pts
        self.t_s = t_s
        self.errors_before = errors_before
        """Packets that could not be decoded since the picture before."""
        self.coded_bytes = coded_bytes
        """Size of its packet; None where packets cannot be told apart by their times."""
        self.keyframe: bool = picture.key_frame
        self._picture = picture
        self._rotation = rotation

    def upright(self) -> av.VideoFrame:
        """The whole picture, rotation applied, as 8-bit 4:2:0 with even sides, for an encoder."""
        picture = self._picture
        width, height = picture.width // 2 * 2, picture.height // 2 * 2
        picture = converted(picture, width=max(2, width), height=max(2, height), format="yuv420p")
        if not self._rotation:
            return picture
        return like(picture, [cv2.rotate(pixels, _QUARTER_TURNS[self._rotation]) for pixels in planes(picture)])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture as coded, before it is turned upright."""
        return self._picture.width, self._picture.height

    @property
    def rotation(self) -> int:
        """Clockwise degrees that make the coded picture upright: 0, 90, 180 or 270."""
        return self._rotation

    @property
    def kind(self) -> str:
        """I, P or B as coded (or one of FFmpeg's rarer names): what a picture may refer to."""
        return av.video.frame.PictureType(self._picture.pict_type).name

    @cached_property
    def vectors(self) -> np.ndarray | None:
        """The codec's motion vectors, in the coded picture's own pixels: a structured array with the fields of FFmpeg's
        AVMotionVector (source, w, h, src_x, src_y, dst_x, dst_y, motion_x, motion_y, motion_scale, ...).

        None where the decode was not asked for them, where the codec's decoder exports none (H.264, MPEG-1, -2 and -4
        do), and in a picture that refers to no other.
        """
        found = self._picture.side_data.get("MOTION_VECTORS")
        return None if found is None else found.to_ndarray()

    @cached_property
    def _planes(self) -> list[np.ndarray]:
        """The 8-bit Y (, U, V) planes as coded, (rows, columns) each; a view where the format allows it."""
        picture = self._picture
        if picture.format.name not in _PLANAR_8BIT:
            picture = converted(picture, format="yuv420p")
        return planes(picture)

    @property
    def coded_luma(self) -> np.ndarray:
        """Luma at full size as coded, neither turned upright nor stretched to full range: (rows, columns) uint8."""
        return self._planes[0]

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
        return self.picture(ANALYSIS_PX)

    def picture(self, long_side: int) -> np.ndarray:
        """The picture area-averaged to about `long_side` px, upright: (rows, columns, 3) uint8 in BGR order."""
        size = self._shrunk(long_side)
        planes = self._planes
        if len(planes) == 1:
            return cv2.cvtColor(self.luma(long_side), cv2.COLOR_GRAY2BGR)
        y = self._flat_luma(size)
        u, v = (_shrink(plane, size) for plane in planes[1:3])
        if self._limited:
            u, v = cv2.LUT(u, _STRETCH_CHROMA), cv2.LUT(v, _STRETCH_CHROMA)
        return self._upright(cv2.cvtColor(cv2.merge([y, v, u]), cv2.COLOR_YCrCb2BGR))


def cropped(picture: av.VideoFrame, box: tuple[float, float, float, float]) -> av.VideoFrame:
    """A part of an upright 8-bit 4:2:0 picture: x0, y0, x1, y1 as shares of its sides, brought to even pixels."""
    across, down = picture.width // 2, picture.height // 2
    x0, x1 = (round(box[n] * across) for n in (0, 2))
    y0, y1 = (round(box[n] * down) for n in (1, 3))
    luma, *chroma = planes(picture)
    return like(picture, [luma[2 * y0 : 2 * y1, 2 * x0 : 2 * x1], *(plane[y0:y1, x0:x1] for plane in chroma)])


def like(picture: av.VideoFrame, pixels: list[np.ndarray]) -> av.VideoFrame:
    """A 4:2:0 picture of other planes, in the same colours."""
    made = av.VideoFrame(pixels[0].shape[1], pixels[0].shape[0], "yuv420p")
    for plane, values in zip(made.planes, pixels, strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    made.colorspace, made.color_range = picture.colorspace, picture.color_range
    return made


def planes(picture: av.VideoFrame) -> list[np.ndarray]:
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
