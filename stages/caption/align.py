"""Captions against the spans of their source: those that stand at another's span are put back, and those that fit
nowhere are told.

Norton (Lin et al., ICLR 2024) finds the plan of an entropic optimal transport between captions and video clips, with a
bucket that takes what has no partner. Here a likeness is first made evidence: how many of its own source's deviations
it lies above chance. So a source whose spans are all alike has no evidence, and nothing in it is moved. The plan's
log-masses are then read as a Markov chain over shifts, since captions get out of step in runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROUNDS = 50
"""Of Sinkhorn's iteration, as in Norton; after 20 the marginals are within 1 %."""
BETWEEN = 5
"""Rounds between which the potentials are absorbed."""
TINY = 1e-300
LEAST = 4
"""Captions below which there is no telling what is chance."""
LARGEST = 512
"""Captions that are aligned at once: a longer source is aligned in runs of as many."""
MOST_SHIFT = 8
"""Spans by which captions are looked for in runs; further ones are found only singly."""
TURN = 7.0
"""Evidence (nats) that a run of another shift needs at either end: one in 1100."""
MOST_EVIDENCE = 3.0
"""Nats that one caption counts for or against a shift: so no run of less than five is moved. Captions get out of step
in runs; a single one that fits another span better was more likely written of what both have."""
MARGIN = 3.0
"""Evidence (nats) with which a caption whose span a run took is put at a span that has none."""
BUCKET = 0.0
"""Evidence of the bucket: what fits a span no better than chance. Norton takes a quantile of the diagonal, which is
of no use where most captions are shifted."""
NOTHING = -30.0
"""Evidence of a caption that is missing."""
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
    missing = ~np.isfinite(likeness).any(1)
    if (~missing).sum() < LEAST:
        return None
    evidence = weighed(likeness)
    if evidence is None:
        return None
    plan = transport(evidence, BUCKET)
    logs = np.log(np.maximum(plan, 1e-12))
    count = len(likeness)
    settled = _settled(np.arange(count) + _shifts(logs[:-1, :-1], logs[:-1, -1]), evidence)
    settled[missing] = -1
    at = _single(evidence, settled)
    at[missing] = -1
    source = np.full(count, -1)
    placed = np.flatnonzero(at >= 0)
    source[at[placed]] = placed
    own = np.diag(plan[:-1, :-1]) / np.maximum(plan[:-1].sum(1), 1e-12)
    return Alignment(source, (at < 0) & ~missing, np.where(missing, np.nan, own))


def weighed(likeness: np.ndarray) -> np.ndarray | None:
    """Likenesses as evidence in nats: the log-likelihood ratio of belonging together to chance.

    What a caption has in common with all spans, and a span with all captions, is taken away. Pairs by chance are then
    normal with unit deviation, true ones with a mean that the best of the diagonals show.

    Returns:
        None where true pairs do not stand out.
    """
    missing = ~np.isfinite(likeness)
    filled = np.where(missing, np.mean(likeness[~missing]), likeness)
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
    return np.where(missing, NOTHING, strength * scaled - strength**2 / 2)


def discriminant(*layers: np.ndarray) -> np.ndarray:
    """How much each of several likenesses (captions, spans) of the same pairs is to weigh: Fisher's linear discriminant
    of the pairs of the shift that stands out most from pairs by chance. One that tells nothing weighs nothing.

    Returns:
        (layers,) weights, none below 0; all equal where none tells anything.
    """
    count = len(layers[0])
    apart = ~np.eye(count, dtype=bool)
    centred = [layer - layer.mean(1, keepdims=True) - layer.mean(0) + layer.mean() for layer in layers]
    reach = min(MOST_SHIFT, count // 2)
    means = np.array([[np.diag(layer, k).mean() for layer in centred] for k in range(-reach, reach + 1)])
    best = means[means.sum(1).argmax()]
    chance = np.atleast_2d(np.cov([layer[apart] for layer in centred]))
    weights = np.maximum(np.linalg.solve(chance + 1e-6 * np.eye(len(layers)), best), 0)
    return weights / weights.sum() if weights.any() else np.full(len(layers), 1 / len(layers))


def transport(evidence: np.ndarray, bucket: float) -> np.ndarray:
    """The plan (captions + 1, spans + 1) of the entropic optimal transport with a bucket in the last row and column.

    Every caption and span has mass 1, and a bucket as much as all of the other side. The potentials are kept in
    logarithms and absorbed every few rounds (Schmitzer, arXiv:1610.06519), so that nothing over- or underflows.
    """
    rows, columns = evidence.shape
    padded = np.full((rows + 1, columns + 1), bucket)
    padded[:rows, :columns] = evidence
    padded[rows, columns] = bucket - np.log(max(rows, columns))
    mass_rows, mass_columns = np.append(np.ones(rows), columns), np.append(np.ones(columns), rows)
    u = -padded.max(1)
    v = np.zeros(columns + 1)
    for _ in range(ROUNDS // BETWEEN):
        kernel = np.exp(padded + u[:, None] + v)
        scale_v = np.ones(columns + 1)
        for _ in range(BETWEEN):
            scale_u = mass_rows / np.maximum(kernel @ scale_v, TINY)
            scale_v = mass_columns / np.maximum(scale_u @ kernel, TINY)
        u += np.log(scale_u)
        v += np.log(scale_v)
    return np.exp(padded + u[:, None] + v)


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
    told = np.clip(told - np.diag(logs)[:, None], -MOST_EVIDENCE, MOST_EVIDENCE)
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


def _single(evidence: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Puts captions whose span a run took (-1) at spans that have none, the strongest pair first; without evidence for
    another they stay where they were, if that is free."""
    moved = np.array(at)
    free = np.ones(len(at), bool)
    free[moved[moved >= 0]] = False
    loose = moved < 0
    pairs = np.argwhere((evidence > MARGIN) & loose[:, None] & free)
    for n, m in pairs[np.argsort(-evidence[pairs[:, 0], pairs[:, 1]], kind="stable")].tolist():
        if moved[n] < 0 and free[m]:
            moved[n], free[m] = m, False
    for n in np.flatnonzero(moved < 0):
        if free[n]:
            moved[n], free[n] = n, False
    return moved
