"""The cascade: the classifier decides from stored signals; where it is unsure, TransNetV2 is asked about those frames.

A transition becomes a candidate with its interval, kind and probability. Candidates that are turned down are kept, as
the evidence against the take that they lie in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from schemas.signals import DISTANCES
from stages.cuts.classifier import KINDS
from stages.cuts.evidence import STILL
from stages.runs import runs

EXTENT = 0.3
"""Probability of any transition from which on a frame belongs to one, where one is certain elsewhere nearby."""
DOUBT = 0.05
"""Probability, as the classifier says it, below which a frame is evidence against nothing: none was calibrated."""
STITCHED = 0.06
"""Probability of a candidate with the same picture on both sides: on the films of the fit 38 of 503 of those that would
have had a tenth and more were transitions, one of the 20 that would have been accepted."""
PAUSE = 2
"""Frames between two parts of one transition: duplicated frames of a lower rate stand still in the midst of one."""
HARD = ("cut", "jump")
GROUPS = (HARD, ("dissolve",), ("fade", "wipe"))
"""Kinds whose probabilities are calibrated alike. TransNetV2 helps with the first two; it does not know wipes."""
BLINK = (2, 4)
"""Distances over which a hard cut may be undone again: flashes and shutters of up to three frames."""
ALIKE_TIMES, ALIKE_PLUS, ALIKE_MOST = 1.2, 2.0, 20.0
"""Pictures agree if they differ by a fifth and two grey levels more than others as far apart, and by less than 20: on
films of the fit those around a flash differ by 0.6 to 16, those around a cut, dissolve, fade or wipe by 39 and more."""


@dataclass(frozen=True)
class Candidate:
    """A transition over the frames start..end-1, or start == end for a hard cut: the new shot's first frame."""

    start: int
    end: int
    kind: str
    probability: float | None
    detector: str = "classifier"
    score: float | None = None


def candidates(probabilities: np.ndarray) -> list[Candidate]:
    """All that may be a transition, in order, down to the least probability that is evidence.

    Args:
        probabilities: (frames, kinds), as the classifier gives them.
    """
    any_kind = 1 - probabilities[:, 0]
    strong = list(runs(any_kind >= EXTENT, PAUSE))
    found = [_candidate(probabilities, first, end) for first, end in strong]
    rest = any_kind.copy()
    for first, end in strong:  # what lies at the edge of a transition is its own flank
        rest[max(0, first - PAUSE) : end + PAUSE] = 0
    found += [_candidate(probabilities, first, end) for first, end in runs(rest >= DOUBT, PAUSE)]
    return sorted(found, key=lambda candidate: candidate.start)


def _candidate(probabilities: np.ndarray, first: int, end: int) -> Candidate:
    here = probabilities[first:end]
    kind = KINDS[1 + int(here[:, 1:].sum(axis=0).argmax())]
    probability = float(1 - here[:, 0].min())
    if kind in HARD:
        at = first + int((here[:, 1] + here[:, 2]).argmax())
        return Candidate(at, at, kind, probability)
    # The last frame of the run is the first of the new shot alone: it still differs from the one before it.
    return Candidate(first, max(first + 1, end - 1), kind, probability)


Evidence = Mapping[str, float | None]
"""By how much each witness raises the log odds of a candidate; None where it has nothing to say."""


def logit(probability: float | None) -> float:
    """Log odds, no further from even than 1 in 1000."""
    kept = min(max(probability or 0.0, 1e-3), 1 - 1e-3)
    return float(np.log(kept / (1 - kept)))


def calibrated(
    candidate: Candidate, calibration: np.ndarray, network: float | None = None, others: Evidence | None = None
) -> Candidate:
    """The candidate with the probability that such a one turned out to have on takes that no fit had seen.

    Args:
        calibration: (groups, 5), as it comes with the classifier.
        network: TransNetV2's probability near it, where it was asked.
        others: further witnesses.
    """
    group = next(n for n, kinds in enumerate(GROUPS) if candidate.kind in kinds)
    slope, offset, own, theirs, both = calibration[group]
    if network is None:
        odds = slope * logit(candidate.probability) + offset
        return replace(candidate, probability=float(1 / (1 + np.exp(-odds))), score=candidate.probability)
    told = {name: raised for name, raised in (others or {}).items() if raised is not None}
    odds = own * logit(candidate.probability) + theirs * logit(network) + both + sum(told.values())
    who = ", ".join(("classifier", "transnetv2", *told))
    return replace(candidate, probability=float(1 / (1 + np.exp(-odds))), score=candidate.probability, detector=who)


def agree(candidate: Candidate, diff: np.ndarray) -> bool:
    """Whether the same picture stands on both sides of a candidate: a flash, a shutter, a hand over the lens.

    Panda-70M stitches over-split takes where the end of one and the start of the next agree. Here they agree where they
    differ no more than frames as far apart do just before and after. A jump cut keeps its scene, so what is asked
    of it is whether the picture goes and comes back at once.

    Args:
        diff: (frames, distances), the column of `signals`.
    """
    if candidate.kind == "jump":
        return _blinks(candidate.start, diff)
    if candidate.start == candidate.end:
        spans = [
            (at - distance, distance) for distance in BLINK for at in range(candidate.start, candidate.start + distance)
        ]
    else:
        enough = [distance for distance in DISTANCES if distance > candidate.end - candidate.start]
        spans = [(candidate.start - 1, distance) for distance in enough[:1]]
    return any(_alike(diff, before, distance) for before, distance in spans)


def _blinks(at: int, diff: np.ndarray) -> bool:
    """Whether within four frames there are two changes, each more than twice the difference that is left after both."""
    for distance in BLINK:
        column = diff[:, DISTANCES.index(distance)]
        for now in range(max(at, distance), min(at + distance, len(diff))):
            changes = np.sort(diff[now - distance + 1 : now + 1, 0])
            if changes[-2] > 2 * column[now] + STILL:
                return True
    return False


def _alike(diff: np.ndarray, before: int, distance: int) -> bool:
    """Whether a frame and the one `distance` later differ no more than their neighbours as far apart do."""
    column = diff[:, DISTANCES.index(distance)]
    around = [column[at] for at in (before, before + 2 * distance) if distance <= at < len(diff)]
    if before < 0 or before + distance >= len(diff) or not around:
        return False
    return bool(column[before + distance] <= min(ALIKE_MOST, ALIKE_TIMES * max(around) + ALIKE_PLUS))
