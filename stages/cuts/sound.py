"""Whether the sound breaks at a moment: further evidence for a jump cut, which takes the sound along.

Where a stretch is cut out of a recording, the spectrum of voice and room changes at once, more than it mostly does from
one 32 ms to the next.
"""

from __future__ import annotations

import numpy as np

RATE = 16000
"""Samples a second: speech and room lie below 8 kHz."""
WINDOW = 512
"""Samples compared on either side: 32 ms, a few periods of a voice."""
HOP = 64
"""Samples between the moments compared: 4 ms."""
NEAR_S = 0.024
"""How far from the picture's cut the sound's may lie, seconds: a frame at most, for editors cut both at frames."""
AROUND_S = 1.0
"""How much sound before and after says what is usual, seconds."""
BANDS = 24
FLOOR = 1e-7
"""Power added to every band: 16-bit silence, so that noise within digital silence is no break."""
SLOPE, OFFSET = 0.45, -0.56
"""Of the log odds of a break by its height: fitted by `tests/benchmarks/cutfit/sound.py` with even odds before."""


def log_odds(samples: np.ndarray) -> float:
    """By how much the sound around a moment raises the log odds of a cut there.

    Args:
        samples: (n,) float32 mono at `RATE`, the moment in the middle.

    Returns:
        0 where there is too little sound to say; else between -1 and 2, for it tells the two apart in 71 % only.
    """
    height = break_height(samples)
    return 0.0 if height is None else float(np.clip(SLOPE * height + OFFSET, -1, 2))


def break_height(samples: np.ndarray) -> float | None:
    """How much more the spectrum changes in the middle than it does around, in deviations; None if all is silent."""
    changes = _changes(samples)
    middle, near = len(changes) // 2, round(NEAR_S * RATE / HOP)
    if middle <= 4 * near or np.abs(samples).max(initial=0) < 1e-4:
        return None
    here = changes[middle - near : middle + near + 1].max()
    width = 2 * near + 1
    # The greatest of as many moments elsewhere is what the greatest here compares with.
    elsewhere = np.concatenate([changes[: middle - 2 * near], changes[middle + 2 * near + 1 :]])
    peaks = elsewhere[: len(elsewhere) // width * width].reshape(-1, width).max(axis=1)
    spread = np.median(np.abs(peaks - np.median(peaks))) + 0.05
    return float((here - np.median(peaks)) / spread)


def _changes(samples: np.ndarray) -> np.ndarray:
    """Mean absolute difference of the log band powers just before and just after each moment: (moments,)."""
    if len(samples) < 4 * WINDOW:
        return np.empty(0)
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(windows * np.hanning(WINDOW), axis=1)) ** 2 / WINDOW
    edges = np.unique(np.round(np.geomspace(3, WINDOW // 2, BANDS + 1)).astype(int))
    bands = np.log(np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1) + FLOOR * WINDOW)
    apart = WINDOW // HOP
    # Windows that end and start at one moment.
    return np.abs(bands[apart:] - bands[:-apart]).mean(axis=1)
