"""Places of a picture made unrecognisable: cells so large that nothing of a face is left in them, smoothed."""

from __future__ import annotations

from collections.abc import Sequence

import av
import cv2
import numpy as np

from curate.media.frame import like, planes

Box = tuple[float, float, float, float]
CELLS = 3
"""Cells across a place: a face of 16 x 16 px can still be told apart by networks that were made for it (Oh et al.,
Faceless person recognition, ECCV 2016), one of 4 x 4 cannot even be found."""


def blurred(picture: av.VideoFrame, boxes: Sequence[Box]) -> av.VideoFrame:
    """An upright 8-bit 4:2:0 picture with every place hidden.

    Args:
        boxes: x0, y0, x1, y1 of each as shares of the picture's sides.
    """
    if not boxes:
        return picture
    hidden = [plane.copy() for plane in planes(picture)]
    for plane in hidden:
        height, width = plane.shape
        for x0, y0, x1, y1 in boxes:
            left, right = max(0, int(x0 * width)), min(width, int(np.ceil(x1 * width)))
            top, bottom = max(0, int(y0 * height)), min(height, int(np.ceil(y1 * height)))
            if right - left < 1 or bottom - top < 1:
                continue
            cells = cv2.resize(plane[top:bottom, left:right], (CELLS, CELLS), interpolation=cv2.INTER_AREA)
            plane[top:bottom, left:right] = cv2.resize(
                cells, (right - left, bottom - top), interpolation=cv2.INTER_CUBIC
            )
    return like(picture, hidden)
