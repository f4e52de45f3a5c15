"""Pictures as a generator's VAE takes them: scaled to cover the wanted size, their middle cut out, sampled by time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np

from curate.media.frame import converted

MOST_PIXELS = 8192 * 8192


def fit(picture: av.VideoFrame, width: int, height: int) -> np.ndarray:
    """A picture scaled to cover the size, and its middle: uint8 RGB, shape (height, width, 3).

    Raises:
        ValueError: it is so slim that its scaled self would be huge.
    """
    scale = max(width / picture.width, height / picture.height)
    wide, high = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))
    if wide * high > MOST_PIXELS:
        raise ValueError(f"has frames of {picture.width}x{picture.height}, too slim to be scaled")
    image = converted(picture, width=wide, height=high, format="rgb24", interpolation="AREA").to_ndarray()
    left, top = (wide - width) // 2, (high - height) // 2
    return image[top : top + height, left : left + width]


def sampled(
    pictures: Iterable[tuple[float, av.VideoFrame]], fps: float, end_s: float
) -> Iterator[tuple[float, av.VideoFrame]]:
    """The picture on screen at 0, 1 / fps, 2 / fps, ... seconds, before `end_s`, each with that time.

    Args:
        pictures: seconds since the first, rising, and the picture that is shown from then on.
        fps: samples a second.
        end_s: when the last picture is gone.
    """
    step = 1 / Fraction(fps).limit_denominator(100_000)
    number = 0
    shown: av.VideoFrame | None = None
    for begins_s, picture in pictures:
        while shown is not None and float(step * number) < begins_s - 1e-6:
            yield float(step * number), shown
            number += 1
        shown = picture
    while shown is not None and float(step * number) < end_s - 1e-6:
        yield float(step * number), shown
        number += 1
