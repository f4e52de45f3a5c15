"""How a copy may show its original: whole, or cropped by about a tenth. A view turns the original's thumbnail into the
copy's without a look at the picture itself, and is linear, so that a million views are one matrix product.
"""

from __future__ import annotations

import numpy as np

from stages.hashes import CELLS


def _line(first: float, last: float) -> np.ndarray:
    """Area averages over equal parts of the stretch first..last (0 to 1) out of a line of cells: (cells, cells)."""
    edges = np.linspace(first, last, CELLS + 1) * CELLS
    cell = np.arange(CELLS)
    inside = np.minimum(edges[1:, None], cell + 1) - np.maximum(edges[:-1, None], cell)
    shares = np.clip(inside, 0, None)
    return shares / shares.sum(1, keepdims=True)


def _crop(left: float, right: float, top: float, bottom: float) -> np.ndarray:
    """Thumbnail (256,) of the part of a picture between these shares of its sides: (256, 256) float32."""
    return np.kron(_line(top, bottom), _line(left, right)).astype(np.float32)


VIEWS = np.stack(
    [
        np.eye(CELLS * CELLS, dtype=np.float32),
        _crop(0.05, 0.95, 0.05, 0.95),
        _crop(0.1, 0.9, 0.1, 0.9),
        _crop(0.0, 0.9, 0.0, 0.9),
        _crop(0.1, 1.0, 0.0, 0.9),
        _crop(0.0, 0.9, 0.1, 1.0),
        _crop(0.1, 1.0, 0.1, 1.0),
    ]
)
"""(views, 256, 256): the whole; a tenth of both sides off all around, twice that; a tenth off towards each corner."""


def mirrored(thumbnails: np.ndarray) -> np.ndarray:
    """Thumbnails (n, 256) left to right."""
    return thumbnails.reshape(-1, CELLS, CELLS)[:, :, ::-1].reshape(-1, CELLS * CELLS)
