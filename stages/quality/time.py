"""What only the row of pictures shows: flicker, repeated pictures, a picture that stands."""

from __future__ import annotations

import numpy as np

from curate.stage import Row
from stages.runs import runs

FLICKER_HZ = 2.5
"""Light that swings slower than this is what happens in the scene, 1/s."""
FLASH = 2.0
"""A frame is a flash that is so many times farther off than three quarters of the frames are."""
FLICKER_LEAST = 12
"""Frames from which on flicker can be told."""
FROZEN, FROZEN_PART, FROZEN_MOST = 0.02, 0.05, 0.15
"""Mean colour difference (0 to 255) up to which a picture stands, as for the stills of `takes`; where the clip moves
more, this part of what it moves by, for the codec still refines the picture; and never more than the last, the noise of
a camera on a tripod."""
FREEZE_S = 0.3
"""A picture that stands longer is frozen, not repeated, seconds."""
REPEATED = 0.2
"""A repeated picture differs from the one before by less than this share of what its neighbours differ by."""
NEIGHBOURS_S = 0.4
"""How far its neighbours reach to either side, seconds: a period of one repeat in twelve at 30 pictures a second."""
MOVES = 0.7
"""Neighbours that differ by less, 0 to 255, move too little: the codec's refining of a repeated picture makes 0.3."""
REFRESH = 0.5
"""By how much one picture within a frozen stretch may differ: a key frame renews the codec's noise."""
FEW, AGREES, LONGEST_PERIOD = 0.05, 0.85, 12
"""Share of repeats from which on a pattern is sought; share of frames, and
of repeats, that must do as those one period before; longest
period, frames."""
MOVES_PART = 0.5
"""The same as a part of what they differ by where the clip moves most: elsewhere the codec's refining of a repeated
picture is as large as motion."""
MOVING_LEAST = 24
"""Pictures of a clip that must move for repeats to be counted."""

COMB_PERIODS = (3, 5, 7)
"""Periods in frames in which repeats are sought where nothing moves much. The even ones are left out: the qualities
of a codec's B frames alternate so in pictures that repeat nothing."""
COMB_F, COMB_DEPTH = 20.0, 0.75
"""The F statistic of change by phase from which on it is periodic, and the share of the usual change below which the
weakest phase must lie: still takes come to 5 and to 0.83 untouched (also with two, four and six B frames throughout),
with repeats to 32 and to 0.58 at CRF 21. Coarser encodes can fall to 8, and are missed."""


def flicker(luma: np.ndarray, fps: float) -> Row:
    """How far the light swings quicker than the scene, as a share of itself, and how often a second.

    The median of the distance from the running mean: a flash or two in a clip leave it as it is, and so does a scene
    that slowly brightens.

    Args:
        luma: mean luma of every frame.
    """
    if len(luma) < FLICKER_LEAST or luma.mean() < 1:
        return {}
    width = min(len(luma), max(3, round(fps / FLICKER_HZ) | 1))
    luma = _without_flashes(luma, width)
    padded = np.pad(luma, width // 2, mode="reflect")
    swing = luma - np.convolve(padded, np.ones(width) / width, "valid")[: len(luma)]
    turns = np.count_nonzero(np.diff(np.signbit(swing)))
    return {
        "flicker": float(np.median(np.abs(swing)) / luma.mean()),
        "flicker_hz": float(turns / 2 / (len(luma) / fps)),
    }


def _without_flashes(luma: np.ndarray, width: int) -> np.ndarray:
    """Mean luma with the few frames that are far from the running median brought near to it."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(luma, width // 2, mode="reflect"), width)
    middle = np.median(around, axis=1)[: len(luma)]
    off = luma - middle
    usual = FLASH * float(np.percentile(np.abs(off), 75))
    return middle + np.clip(off, -usual, usual)


def repeats(change: np.ndarray, fps: float) -> Row:
    """Which pictures show nothing new while the scene moves, and the rate of those that do.

    Args:
        change: mean colour difference of each frame to the one before, without the first of the clip.
    """
    reach = max(3, round(NEIGHBOURS_S * fps))
    if len(change) < 2 * reach:
        return {}
    padded = np.pad(change, reach, mode="reflect")
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    usual = np.percentile(around, 80, axis=1)
    moving = usual >= max(MOVES, MOVES_PART * float(np.percentile(usual, 80)))
    for start, end in _standing(change):
        if end - start > FREEZE_S * fps:
            moving[start:end] = False
    if moving.sum() < MOVING_LEAST:
        comb = _comb(change, 2 * reach + 1)
        if comb is None:
            return {}
        share = comb[0] / comb[1]
        return {
            "repeated_share": share,
            "effective_fps": fps * (1 - share),
            "repeat_pattern": f"{comb[0]} in {comb[1]}",
        }
    repeated = (change < REPEATED * usual)[moving]
    share = float(repeated.mean())
    return {"repeated_share": share, "effective_fps": fps * (1 - share), "repeat_pattern": _pattern(repeated)}


def _comb(change: np.ndarray, width: int) -> tuple[int, int] | None:
    """How many frames of how many repeat, by a one-way analysis of variance of log change by phase.

    The codec's refining makes each repeat's change as large as motion; over a hundred frames its mean is still less.
    Where most phases are weak, pictures were left out rather than repeated: 30 a second made 25 show twice the motion
    in every fifth, so that is no finding. The logarithm is taken against its running mean over `width` frames, so that
    a scene that quickens is not periodic.
    """
    if len(change) < MOVING_LEAST or change.max() <= FROZEN:
        return None
    level = np.log(np.maximum(change, FROZEN))
    padded = np.pad(level, width // 2, mode="reflect")
    level = level - np.convolve(padded, np.ones(width) / width, "valid")[: len(level)]
    for period in COMB_PERIODS:
        whole = len(level) // period
        phases = level[: whole * period].reshape(whole, period)
        means = phases.mean(axis=0)
        within = float(((phases - means) ** 2).sum()) / (period * (whole - 1))
        if whole * float(means.var(ddof=1)) < COMB_F * max(within, 1e-9):
            continue
        ordered = np.sort(means)
        few = int(np.argmax(np.diff(ordered))) + 1
        if 2 * few <= period and np.exp(ordered[:few].mean() - ordered[few:].mean()) < COMB_DEPTH:
            return few, period
    return None


def _pattern(repeated: np.ndarray) -> str | None:
    """The shortest period in which repeats recur, as `2 in 5`; None where they are few or recur in none."""
    if repeated.mean() < FEW:
        return None
    for period in range(2, LONGEST_PERIOD + 1):
        both = (repeated[period:] & repeated[:-period]).mean() / repeated[period:].mean()
        if both >= AGREES and (repeated[period:] == repeated[:-period]).mean() >= AGREES:
            return f"{round(float(repeated.mean()) * period)} in {period}"
    return None


def longest_frozen(change: np.ndarray, fps: float) -> float:
    """The longest time that one picture stands beyond that of one frame, seconds.

    Args:
        change: as for `repeats`.
    """
    return max((end - start for start, end in _standing(change)), default=0) / fps


def _standing(change: np.ndarray) -> list[tuple[int, int]]:
    """(first, one past the last) of each run of frames in which one picture stands."""
    usual = float(np.percentile(change, 80))
    calm = change <= min(FROZEN_MOST, max(FROZEN, FROZEN_PART * usual))
    refreshed = change <= min(REFRESH, REPEATED * usual)
    calm[1:-1] |= refreshed[1:-1] & calm[:-2] & calm[2:]
    return list(runs(calm, 0))
