"""Picture quality: sharpness, light, colour, borders and stillness of sampled frames, and of clips.

`Picture` is the probe on the shared decode, `Quality` the score of a clip.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import ClassVar

import cv2
import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.media.frame import Frame
from curate.media.sampling import Sampler
from curate.stage import FrameProbe, ProbeRun, Row, RowStage, Workspace
from schemas import Table, quality

SHARP_PX = 640
"""Long side on which sharpness is measured: sizes above it compare, and sensor noise is averaged away."""

BLACK = 24
"""Luma (0 to 255) up to which a border row or column counts as black: coded black with ringing stays below it."""

HUES = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
_HUE_EDGES = np.array([8, 22, 34, 78, 98, 128, 150, 170])
"""Upper edges of the hues on OpenCV's scale of 0 to 179; beyond the last is red again."""


class Picture(FrameProbe):
    """Measures sampled frames. About 6 ms a sample."""

    name: ClassVar[str] = "picture"
    writes: ClassVar[Table] = quality.SERIES

    fps: float = Field(2.0, ge=1.0, le=60)
    """Samples per second, as for motion."""
    hue_share: float = Field(0.25, gt=0, le=1)
    """Share of the picture that must be saturated in one hue for that hue to be named."""

    @property
    def lookback_s(self) -> float:
        return 2 / self.fps

    def start(self, source: Row) -> ProbeRun:
        return _PictureRun(self)


class _PictureRun:
    def __init__(self, parameters: Picture) -> None:
        self._hue_share = parameters.hue_share
        self._sampler = Sampler(parameters.fps)
        self._last: np.ndarray | None = None

    def update(self, frame: Frame) -> Row | None:
        if not self._sampler.takes(frame.t_s):
            return None
        luma, bgr = frame.luma(SHARP_PX), frame.bgr
        borders = borders_of(luma)
        inner, colour = _inside(luma, borders), _inside(bgr, borders)
        last, self._last = self._last, luma
        hsv = cv2.cvtColor(colour, cv2.COLOR_BGR2HSV)
        difference = None
        if last is not None and last.shape == luma.shape:
            difference = cv2.norm(luma, last, cv2.NORM_L1) / luma.size
        return {
            "sharpness": float(cv2.Laplacian(inner, cv2.CV_32F).var()),
            "luma": float(inner.mean()),
            "contrast": float(inner.std()),
            "dark_share": float((inner < 5).mean()),
            "bright_share": float((inner > 250).mean()),
            "saturation": float(hsv[..., 1].mean()),
            "colourfulness": colourfulness(colour),
            "hue": _hue(hsv, self._hue_share),
            "difference": difference,
            **dict(zip(("border_left", "border_right", "border_top", "border_bottom"), borders, strict=True)),
        }


def borders_of(luma: np.ndarray) -> tuple[float, float, float, float]:
    """Black borders left, right, top, bottom as shares of the picture's sides; none in a picture that is all black."""
    lit = cv2.threshold(luma, BLACK, 1, cv2.THRESH_BINARY)[1]
    columns = cv2.reduce(lit, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0] > 0.02 * luma.shape[0]
    rows = cv2.reduce(lit, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0] > 0.02 * luma.shape[1]
    if not columns.any() or not rows.any():
        return 0.0, 0.0, 0.0, 0.0
    width, height = len(columns), len(rows)
    return (
        float(columns.argmax() / width),
        float(columns[::-1].argmax() / width),
        float(rows.argmax() / height),
        float(rows[::-1].argmax() / height),
    )


def _inside(image: np.ndarray, borders: tuple[float, float, float, float]) -> np.ndarray:
    height, width = image.shape[:2]
    left, right, top, bottom = borders
    return image[
        int(np.ceil(top * height)) : max(1, int(height - np.ceil(bottom * height))),
        int(np.ceil(left * width)) : max(1, int(width - np.ceil(right * width))),
    ]


def colourfulness(bgr: np.ndarray) -> float:
    """Hasler and Suesstrunk's M3 (2003): 15 is slightly, 33 averagely, 59 quite, 109 extremely colourful."""
    blue, green, red = (bgr[..., i].astype(np.float32) for i in range(3))
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return float(spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))


def _hue(hsv: np.ndarray, share: float) -> str | None:
    strong = hsv[(hsv[..., 1] > 60) & (hsv[..., 2] > 40)]
    if len(strong) < share * hsv[..., 0].size:
        return None
    names = np.searchsorted(_HUE_EDGES, strong[:, 0], "right") % len(HUES)
    counts = np.bincount(names, minlength=len(HUES))
    return HUES[int(counts.argmax())] if counts.max() >= share * hsv[..., 0].size else None


class Quality(RowStage):
    """Sums up a clip's picture quality from the samples inside it."""

    name: ClassVar[str] = "quality"
    writes: ClassVar[Table] = quality.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clips": ("clip_id", "source_id", "start_s", "end_s"),
        "picture_series": (),
    }

    frozen_below: float = Field(0.25, ge=0)
    """Mean luma difference (0 to 255) of two samples below which the picture is frozen: a real tripod shot's noise
    gives 0.5 and more, an encoder's still frame under 0.1."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        series = inputs["picture_series"]
        times = series.column("t_s").to_numpy()
        for clip in inputs["clips"].to_pylist():
            first, end = np.searchsorted(times, [clip["start_s"] - 1e-9, clip["end_s"] - 1e-9])
            row: Row = {"clip_id": clip["clip_id"], "source_id": clip["source_id"], "samples": int(end - first)}
            if first == end:
                yield row | {"unmeasured": "no sample lies inside the clip"}
            else:
                yield row | self._score(series.slice(first, end - first))

    def _score(self, samples: pa.Table) -> Row:
        columns = {n: samples.column(n).to_numpy(zero_copy_only=False) for n in samples.column_names}
        left, right, top, bottom = (float(columns[f"border_{s}"].min()) for s in ("left", "right", "top", "bottom"))
        hue, votes = Counter(columns["hue"].tolist()).most_common(1)[0]
        row: Row = {
            "sharpness": float(np.median(columns["sharpness"])),
            "luma": float(columns["luma"].mean()),
            "contrast": float(columns["contrast"].mean()),
            "clipped_share": float((columns["dark_share"] + columns["bright_share"]).mean()),
            "saturation": float(columns["saturation"].mean()),
            "colourfulness": float(columns["colourfulness"].mean()),
            "hue": hue if votes > samples.num_rows / 2 else None,
            "border_share": 1 - (1 - left - right) * (1 - top - bottom),
            "crop": [left, top, 1 - right, 1 - bottom],
        }
        # The first sample's difference is to a sample before the clip.
        differences = columns["difference"][1:].astype(float)
        if not len(differences):
            return row | {"unmeasured": "a single sample cannot tell a frozen picture"}
        return row | {"frozen_share": float((differences < self.frozen_below).mean())}
