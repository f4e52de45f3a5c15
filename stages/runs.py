"""Runs of frames or samples for which something holds: what cuts, takes and motion look for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def runs(mask: np.ndarray, pause: int) -> Iterator[tuple[int, int]]:
    """(first, one past the last) of each run of true values, in order.

    Args:
        pause: so many false values in a row do not end a run.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    found: list[int] | None = None
    for start, end in edges.reshape(-1, 2).tolist():
        if found is not None and start - found[1] <= pause:
            found[1] = end
        else:
            if found is not None:
                yield found[0], found[1]
            found = [start, end]
    if found is not None:
        yield found[0], found[1]
