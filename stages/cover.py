"""Spans of time that may overlap, made disjoint: what lies under any of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


class Cover:
    """The union of (start, end) spans, seconds; asked in the logarithm of their number."""

    def __init__(self, spans: Iterable[tuple[float, float]]) -> None:
        self.spans: list[tuple[float, float]] = []
        """The same in order and apart from each other; those that touch are one."""
        for start, end in sorted(spans):
            if self.spans and start <= self.spans[-1][1]:
                self.spans[-1] = self.spans[-1][0], max(end, self.spans[-1][1])
            else:
                self.spans.append((start, end))
        self._edges = np.array(self.spans or [(0.0, 0.0)], float).ravel()
        lengths = np.diff(self._edges)
        lengths[1::2] = 0
        self._before = np.concatenate([[0.0], np.cumsum(lengths)])

    def seconds(self, start_s: float, end_s: float) -> float:
        """How much of a span lies under them."""
        before, after = np.interp([start_s, max(start_s, end_s)], self._edges, self._before)
        return float(after - before)

    def share(self, start_s: float, end_s: float) -> float:
        """The same as a share of the span; 0 for an empty one."""
        return self.seconds(start_s, end_s) / (end_s - start_s) if end_s > start_s else 0.0
