"""Which frames a probe looks at when it needs fewer than all: a grid in time, the same for every frame rate."""

from __future__ import annotations

import math


class Sampler:
    """Picks the first frame in each cell of a grid of `fps` cells per second on the source's clock.

    A frame is picked or not by its own time and that of the frame before alone, so decoding in intervals picks the
    same frames as decoding from the start.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._cell: int | None = None

    def takes(self, t_s: float) -> bool:
        """Whether the frame at `t_s` seconds is the first of its cell."""
        cell = math.floor(t_s * self._fps + 1e-6)
        first = cell != self._cell
        self._cell = cell
        return first
