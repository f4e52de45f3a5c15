"""Captions against the spans of their source: those that stand at another's span are put back, and those that fit
nowhere are told.

Norton (Lin et al., ICLR 2024) finds the plan of an entropic optimal transport between captions and video clips, with a
bucket that takes what has no partner. Here a likeness is first made evidence: how many of its own source's deviations
it lies above chance. So a source whose spans are all alike has no evidence, and nothing in it is moved. The plan's
log-masses are then read as a Markov chain over shifts, since captions get out of step in runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ROUNDS = 50
"""Of Sinkhorn's iteration, as in Norton; after 20 the marginals are within 1 %."""
LEAST = 4
"""Captions below which there is no telling what is chance."""
LARGEST = 1024
"""Captions that are aligned at once: a longer source is aligned in runs of as many."""
MOST_SHIFT = 8
"""Spans by which captions are looked for in runs; further ones are found only singly."""
TURN = 6.0
"""Evidence (nats) that a run of another shift needs at either end: one in 400."""
MARGIN = 6.0
"""Evidence (nats) by which a single caption must fit another span better than its own."""
BUCKET = 0.0
"""Evidence of the bucket: what fits a span no better than chance. Norton takes a quantile of the diagonal, which is
of no use where most captions are shifted."""
ALONE = -6.0
"""Evidence against its own span from which a caption that fits nowhere is told."""
STRONGEST = 4.0
"""Most deviations that a pair counts: one shared name says no more than that."""


@dataclass(frozen=True)
class Alignment:
    """What was found for each caption and each span."""

    source: np.ndarray
    """For each span the number of the caption that belongs there; its own where nothing speaks against it; -1 where
    its caption belongs elsewhere and none is found for it."""
    nowhere: np.ndarray
    """For each caption whether it fits no span."""
    own: np.ndarray
    """For each caption the share of its mass that lies on its own span; NaN without evidence."""


def align(likeness: np.ndarray) -> Alignment:
    """
    Args:
        likeness: (captions, spans), square; NaN where there is none.
    """
    count = len(likeness)
    source, nowhere, own = np.arange(count), np.zeros(count, bool), np.full(count, np.nan)
    for start in range(0, count, LARGEST):
        part = slice(start, min(start + LARGEST, count))
        found = _aligned(likeness[part, part])
        if found is not None:
            source[part] = np.where(found.source >= 0, found.source + start, -1)
            nowhere[part], own[part] = found.nowhere, found.own
    return Alignment(source, nowhere, own)


def _aligned(likeness: np.ndarray) -> Alignment | None:
    known = np.isfinite(likeness).any(1) & np.isfinite(likeness).any(0)
    places = np.flatnonzero(known)
    if len(places) < LEAST:
        return None
    evidence = weighed(likeness[np.ix_(places, places)])
    if evidence is None:
        return None
    plan = transport(evidence, BUCKET)
    logs = np.log(np.maximum(plan, 1e-12))
    shifts = _shifts(logs[:-1, :-1], logs[:-1, -1])
    at = np.arange(len(places)) + shifts
    at = _single(evidence, _settled(at, evidence), at)
    source = np.full(len(places), -1)
    stay = at >= 0
    source[at[stay]] = np.flatnonzero(stay)
    nowhere = ~stay
    all_sources, all_nowhere = np.arange(len(likeness)), np.zeros(len(likeness), bool)
    all_sources[places] = np.where(source >= 0, places[np.maximum(source, 0)], -1)
    all_nowhere[places] = nowhere
    own = np.full(len(likeness), np.nan)
    own[places] = np.diag(plan) / np.maximum(plan[:-1].sum(1), 1e-12)
    return Alignment(all_sources, all_nowhere, own)


def weighed(likeness: np.ndarray) -> np.ndarray | None:
    """Likenesses as evidence in nats: the log-likelihood ratio of belonging together to chance.

    What a caption has in common with all spans, and a span with all captions, is taken away. Pairs by chance are then
    normal with unit deviation, true ones with a mean that the best of the diagonals show.

    Returns:
        None where true pairs do not stand out.
    """
    filled = np.where(np.isfinite(likeness), likeness, np.nanmean(likeness))
    centred = filled - np.median(filled, 1, keepdims=True)
    centred -= np.median(centred, 0, keepdims=True)
    apart = ~np.eye(len(centred), dtype=bool)
    deviation = float(np.std(np.clip(centred, *np.quantile(centred[apart], [0.02, 0.98]))))
    if deviation < 1e-6:
        return None
    scaled = np.clip(centred / deviation, -STRONGEST, STRONGEST)
    reach = min(MOST_SHIFT, len(scaled) // 2)
    runs = [np.diag(scaled, k) for k in range(-reach, reach + 1)]
    strength = max(float(run.mean()) for run in runs if len(run) >= LEAST)
    mutual = (scaled.argmax(1)[scaled.argmax(0)] == np.arange(len(scaled))).mean()
    if strength < 0.5 and mutual < 0.5:
        return None
    strength = max(strength, 1.0)
    return strength * scaled - strength**2 / 2


def transport(evidence: np.ndarray, bucket: float) -> np.ndarray:
    """The plan (captions + 1, spans + 1) of the entropic optimal transport with a bucket in the last row and column.

    Every caption and span has mass 1, and a bucket as much as all of the other side. In logarithms throughout, so that
    no evidence over- or underflows.
    """
    rows, columns = evidence.shape
    padded = np.full((rows + 1, columns + 1), bucket)
    padded[:rows, :columns] = evidence
    padded[rows, columns] = bucket - np.log(max(rows, columns))
    mass_rows = np.log(np.append(np.ones(rows), columns))
    mass_columns = np.log(np.append(np.ones(columns), rows))
    u, v = np.zeros(rows + 1), np.zeros(columns + 1)
    for _ in range(ROUNDS):
        u = mass_rows - _log_sum(padded + v, 1)
        v = mass_columns - _log_sum(padded + u[:, None], 0)
    return np.exp(np.clip(padded + u[:, None] + v, -700, 700))


def _log_sum(values: np.ndarray, axis: int) -> np.ndarray:
    most = values.max(axis, keepdims=True)
    return np.squeeze(most, axis) + np.log(np.exp(values - most).sum(axis))


def _shifts(logs: np.ndarray, bucket: np.ndarray) -> np.ndarray:
    """By how many spans each caption is shifted: Viterbi's path over shifts, a change of which costs `TURN`."""
    count = len(logs)
    reach = min(MOST_SHIFT, count - 1)
    offsets = np.arange(-reach, reach + 1)
    columns = np.arange(count)[:, None] + offsets
    inside = (columns >= 0) & (columns < count)
    floor = np.minimum(bucket, logs.min(1))[:, None] - 1.0
    told = np.where(inside, logs[np.arange(count)[:, None], np.clip(columns, 0, count - 1)], floor)
    told = np.maximum(told, floor)
    best = told[0] - TURN * (offsets != 0)
    via = np.zeros((count, len(offsets)), int)
    for n in range(1, count):
        other = int(best.argmax())
        changed = best[other] - TURN
        stays = best >= changed
        via[n] = np.where(stays, np.arange(len(offsets)), other)
        best = np.where(stays, best, changed) + told[n]
    path = np.empty(count, int)
    path[-1] = int((best - TURN * (offsets != 0) * 0.5).argmax())
    for n in range(count - 1, 0, -1):
        path[n - 1] = via[n, path[n]]
    found = offsets[path]
    return np.where(inside[np.arange(count), path], found, -count)


def _settled(at: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Where captions are, -1 for those outside and for all but the best of those that are put at one span."""
    count = len(at)
    settled = np.where((at >= 0) & (at < count), at, -1)
    for place in np.unique(settled[settled >= 0]):
        rivals = np.flatnonzero(settled == place)
        if len(rivals) > 1:
            best = rivals[evidence[rivals, place].argmax()]
            settled[rivals[rivals != best]] = -1
    return settled


def _single(evidence: np.ndarray, at: np.ndarray, wanted: Sequence[int] | np.ndarray) -> np.ndarray:
    """Puts captions that have no span, or plainly another than their own, at spans that have no caption.

    The strongest pair goes first, each caption and each span once.
    """
    rows = np.arange(len(at))
    own = evidence[rows, rows]
    here = np.where(at >= 0, evidence[rows, np.maximum(at, 0)], -np.inf)
    best = evidence.max(1)
    loose = (at < 0) | (best - here > MARGIN)
    moved = at.copy()
    moved[loose] = -1
    free = np.setdiff1d(rows, moved[moved >= 0])
    pairs = [(evidence[n, m], n, m) for n in np.flatnonzero(loose) for m in free]
    for strength, n, m in sorted(pairs, reverse=True):
        if moved[n] < 0 and m in free and (strength > 0 or m == at[n]):
            moved[n] = m
            free = free[free != m]
    for n in np.flatnonzero(moved < 0):
        if n in free and own[n] > ALONE:
            moved[n] = n
    return moved
