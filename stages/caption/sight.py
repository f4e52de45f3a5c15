"""A source's stills as a captioner sees them: scored, chosen, brought to their share of the pixels, tiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pyarrow as pa

from curate.stage import Row
from stages.caption.frames import GRID, PATCH, Frames, Span, chosen, quota, sized
from stages.caption.protocol import Picture
from stages.embed import network
from stages.looks import inside, spread
from stages.stills import opened

MOST_SCORED = 1024
"""Stills of a span that are scored: those of a whole film would take minutes, and no more are ever chosen from."""
QUALITY = 85
"""Of JPEGs that are made smaller, as `stills` has it."""


@dataclass(frozen=True)
class Look:
    """What is shown of a span."""

    pictures: tuple[Picture, ...]
    times: tuple[tuple[float, ...], ...]
    """For each picture the times of what is in it, seconds in the source: one, or six of a grid."""
    by: str
    """How they were chosen: the strategy, and what scored them."""


class Sight:
    """A source's stills.

    Args:
        stills: rows of `stills` in order of time; columns t_s, jpeg.
        embeddings: rows of the table `embeddings`, where there are any.
    """

    def __init__(self, stills: pa.Table, how: Frames, embeddings: Sequence[Row] = ()) -> None:
        self._how = how
        self._times = stills["t_s"].to_numpy()
        self._jpegs = stills["jpeg"]
        self._embedded = [row for row in embeddings if row["vectors"] and len(row["vectors"]) == len(row["stills_s"])]

    def look(self, span: Span, about: str = "", glance: bool = False) -> Look:
        """What is shown of a span; no picture where no still lies in it.

        Args:
            about: what the span is told to be part of; its nearness makes a picture's score where there are weights.
            glance: the cheap look.
        """
        how = self._how
        found = inside(self._times, {"start_s": span[0], "end_s": span[1]})
        numbers = spread(found, MOST_SCORED)
        scores, scorer = self._scores(numbers, about)
        picked = chosen(how, self._times[numbers].tolist() if numbers else [], scores)
        shown = [(numbers[n], scores[n]) for n in picked]
        budget = min(how.pixels, how.glance_pixels * len(shown)) if glance else how.pixels
        by = f"{how.strategy} by {scorer}"
        if how.strategy == "grid":
            return self._grid([number for number, _ in shown], budget, f"grid of {GRID[0]}x{GRID[1]}")
        if how.strategy in ("uniform", "differential"):  # all of them matter alike
            shown, by = [(number, 1.0) for number, _ in shown], how.strategy
        pictures = []
        for (number, _), share in zip(shown, quota([score for _, score in shown], budget), strict=True):
            picture = self._sized(number, share)
            if picture is not None:
                pictures.append(picture)
        return Look(tuple(pictures), tuple((p.t_s,) for p in pictures), by)

    def _scores(self, numbers: Sequence[int], about: str) -> tuple[list[float], str]:
        if self._how.weights and self._embedded and about and numbers:
            found = network(self._how.weights, self._how.weights_sha256)
            rows = [row for row in self._embedded if row["model"] == found.name]
            if rows:
                times = np.concatenate([row["stills_s"] for row in rows])
                vectors = np.concatenate([np.asarray(row["vectors"], np.float32) for row in rows])
                nearest = np.abs(self._times[numbers][:, None] - times).argmin(1)
                cosines = vectors[nearest] @ found.read([about])[0]
                return np.nan_to_num(np.maximum(cosines, 0)).tolist(), found.name
        if self._how.strategy != "date":
            return [1.0] * len(numbers), "time"
        return telling([self._jpegs[number].as_py() for number in numbers]), "change and detail"

    def _sized(self, number: int, pixels: int) -> Picture | None:
        picture = Picture(self._jpegs[number].as_py(), float(self._times[number]))
        image = opened(picture.jpeg)
        height, width = image.shape[:2]
        size = sized(width, height, pixels)
        if size is None or size == (width, height):
            return picture if size else None
        return replace(picture, jpeg=_jpeg(cv2.resize(image, size, interpolation=cv2.INTER_AREA)))

    def _grid(self, numbers: Sequence[int], pixels: int, by: str) -> Look:
        """The pictures tiled row by row; a place without one stays black."""
        if not numbers:
            return Look((), (), by)
        images = [opened(self._jpegs[number].as_py()) for number in numbers]
        height, width = images[0].shape[:2]
        rows, columns = GRID
        size = sized(width, height, pixels // (rows * columns)) or (min(width, PATCH), min(height, PATCH))
        tiled = np.zeros((rows * size[1], columns * size[0], 3), np.uint8)
        for place, image in enumerate(images):
            top, left = place // columns * size[1], place % columns * size[0]
            tiled[top : top + size[1], left : left + size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        times = tuple(float(self._times[number]) for number in numbers)
        return Look((Picture(_jpeg(tiled), times[0]),), (times,), by)


def telling(jpegs: Sequence[bytes]) -> list[float]:
    """How much each picture tells that the one before did not, 0 to 1: its detail, half of it for the change.

    Detail is the standard deviation of the Laplacian, change the mean absolute difference in luma from the picture
    before (of the first from the next), each as a share of the most among them; at an eighth of the size. A black or
    blank picture has none.
    """
    small = [cv2.resize(_eighth(jpeg), (64, 36)) for jpeg in jpegs]
    if not small:
        return []
    luma = np.stack(small).astype(np.float32)
    detail = np.array([cv2.Laplacian(picture, cv2.CV_32F).std() for picture in luma])
    change = np.abs(np.diff(luma, axis=0)).mean((1, 2))
    change = np.concatenate([change[:1], change]) if len(change) else np.zeros(1)
    return (_share(detail) * (1 + _share(change)) / 2).tolist()


def _eighth(jpeg: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
    return picture if picture is not None else cv2.cvtColor(opened(jpeg), cv2.COLOR_BGR2GRAY)


def _share(values: np.ndarray) -> np.ndarray:
    most = values.max()
    return values / most if most > 0 else np.zeros_like(values)


def _jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
