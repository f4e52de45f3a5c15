"""Captions with times against a reference: order-preserving matching (SODA_c) and precision and recall by overlap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

THRESHOLDS = (0.3, 0.5, 0.7, 0.9)
"""Of intersection over union: those of ActivityNet's dense captioning challenge."""


@dataclass(frozen=True, order=True)
class Span:
    """A caption and its time, seconds."""

    start_s: float
    end_s: float
    text: str = ""


Spans = Sequence[Span]
Likeness = Callable[[str, str], float]


def overlaps(predicted: Spans, reference: Spans) -> np.ndarray:
    """Intersection over union of each pair, `[predicted, reference]`, 0 to 1."""
    a, b = (np.array([(s.start_s, s.end_s) for s in spans], float).reshape(-1, 2) for spans in (predicted, reference))
    shared = np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0])
    shared = np.maximum(shared, 0.0)
    union = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0])[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def best_order(scores: np.ndarray) -> float:
    """Greatest sum of `scores` over pairs (i, j) that rise in both: a row at a time, so that length costs no stack."""
    best = np.zeros(scores.shape[1] + 1)
    for row in scores:
        best[1:] = np.maximum.accumulate(np.maximum(best[1:], best[:-1] + row))
    return float(best[-1])


def soda(predicted: Spans, reference: Spans, likeness: Likeness) -> dict[str, float]:
    """SODA_c of one video (Fujita et al., 2020): the best order-preserving sum of overlap times likeness, as precision,
    recall and F1. `likeness` is asked only of pairs that overlap."""
    if not predicted or not reference:
        return {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    predicted, reference = sorted(predicted), sorted(reference)
    scores = overlaps(predicted, reference)
    for i, j in zip(*np.nonzero(scores), strict=True):
        scores[i, j] *= likeness(predicted[i].text, reference[j].text)
    total = best_order(scores)
    return _f1(total / len(predicted), total / len(reference))


def against(
    predicted: Mapping[str, Spans], reference: Mapping[str, Spans], likeness: Likeness
) -> dict[str, dict[str, Any]]:
    """SODA_c, and precision, recall and F1 at each threshold, each the mean over the reference's videos.

    A span is right at a threshold where any span of the other side overlaps it by as much; F1 is that of the means.
    """
    videos = sorted(reference)
    per_video = [soda(predicted.get(v, ()), reference[v], likeness) for v in videos]
    found: dict[str, dict[str, Any]] = {"soda_c": {k: fmean(s[k] for s in per_video) for k in per_video[0]}}
    matrices = [overlaps(predicted.get(v, ()), reference[v]) for v in videos]
    for threshold in THRESHOLDS:
        hits = [m >= threshold for m in matrices]
        precision = fmean(float(h.any(axis=1).mean()) if h.size else 0.0 for h in hits)
        recall = fmean(float(h.any(axis=0).mean()) if h.size else 0.0 for h in hits)
        found[f"iou_{threshold}"] = _f1(precision, recall)
    return found


def matched(predicted: Mapping[str, Spans], reference: Mapping[str, Spans]) -> list[tuple[str, str | None]]:
    """A pair of texts for each predicted span and each reference span that overlaps it by the lowest threshold; None
    beside one that no reference span overlaps so much."""
    pairs: list[tuple[str, str | None]] = []
    for video in sorted(reference):
        mine, theirs = predicted.get(video, ()), reference[video]
        for span, hits in zip(mine, overlaps(mine, theirs) >= THRESHOLDS[0], strict=True):
            texts = [theirs[int(j)].text for j in np.flatnonzero(hits)]
            pairs += [(span.text, text) for text in texts] or [(span.text, None)]
    return pairs


def _f1(precision: float, recall: float) -> dict[str, float]:
    both = precision + recall
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / both if both else 0.0}
