"""Which clips a network looks at, and at which of their stills: dear stages see only what cheap scores leave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from curate.stage import Row

CLIP = ("clip_id", "source_id", "start_s", "end_s", "long_enough")
SCREENING = ("clip_id", "kept")


def looked_at(inputs: Mapping[str, pa.Table]) -> Iterator[tuple[Row, str | None]]:
    """Each clip, and why no network looks at it; None where one does.

    Those that `screening` keeps are looked at; where there is no such table, those that are long enough.
    """
    screening = inputs.get("screening")
    kept = None if screening is None else {row["clip_id"] for row in screening.to_pylist() if row["kept"]}
    for clip in inputs["clips"].to_pylist():
        if kept is not None:
            yield clip, None if clip["clip_id"] in kept else "not looked at: the cheap scores have it out"
        else:
            yield clip, None if clip["long_enough"] else "not looked at: it is shorter than a long take"


def inside(times: np.ndarray, clip: Row) -> range:
    """Numbers of the stills, whose times are given in order, that lie in a clip."""
    first, end = np.searchsorted(times, [clip["start_s"] - 1e-9, clip["end_s"] - 1e-9])
    return range(int(first), int(end))


def spread(numbers: Sequence[int], most: int) -> list[int]:
    """At most `most` of the numbers, evenly spread, the first and the last among them."""
    if len(numbers) <= most:
        return list(numbers)
    return [numbers[round(n)] for n in np.linspace(0, len(numbers) - 1, most)]
