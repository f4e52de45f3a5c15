"""Proportions with their 95 % interval."""

from __future__ import annotations

from math import sqrt
from typing import Any

Z = 1.959964
"""Two-sided 95 % of the normal distribution."""


def wilson(right: int, of: int) -> dict[str, Any]:
    """`share` with Wilson's score interval `low`, `high`, and `right`, `of`; all null where nothing was counted."""
    if of == 0:
        return {"share": None, "low": None, "high": None, "right": 0, "of": 0}
    share = right / of
    middle = (share + Z * Z / (2 * of)) / (1 + Z * Z / of)
    half = Z * sqrt(share * (1 - share) / of + Z * Z / (4 * of * of)) / (1 + Z * Z / of)
    return {
        "share": share,
        "low": max(0.0, middle - half),
        "high": min(1.0, middle + half),
        "right": right,
        "of": of,
    }
