"""What a probability is worth: the classifier's candidates on takes that it never saw, and TransNetV2's view of them.

From both come the weights by which their log odds are added up, so that 0.7 is right seven times of ten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from measure import Measured

from stages.cuts import transnet
from stages.cuts.cascade import DOUBT, GROUPS, Candidate, candidates, logit
from stages.cuts.classifier import Classifier
from stages.cuts.second_opinion import CONTEXT, NEAR

SLACK = 2


@dataclass(frozen=True)
class Opinion:
    """A candidate, what the network says of it (None: not asked), and whether it is a transition."""

    candidate: Candidate
    network: float | None
    true: bool


def near(a: int, b: int, start: int, end: int) -> bool:
    """Whether a detection matches a transition."""
    return a - SLACK <= end and b + SLACK >= start


def opinions(classifier: Classifier, seen: Measured, pictures: Sequence[np.ndarray] | None) -> Iterator[Opinion]:
    """Every candidate in a film; `pictures` (RGB) are for the network."""
    for candidate in candidates(classifier.of_channels(seen.channels)):
        start, end = candidate.start, candidate.end
        if (candidate.probability or 0) < DOUBT or any(near(start, end, a, b) for a, b in seen.unclear):
            continue
        true = any(near(start, end, a, b) for a, b, _ in seen.transitions)
        yield Opinion(candidate, _ask(pictures, start, end) if pictures else None, true)


def _ask(pictures: Sequence[np.ndarray], start: int, end: int) -> float:
    first, last = max(0, start - CONTEXT), end + CONTEXT + 1
    shown = [SimpleNamespace(bgr=picture[..., ::-1].copy()) for picture in pictures[first:last][: transnet.WINDOW]]
    (seen,) = transnet.judged([transnet.pictures(shown)])
    return float(seen[max(0, start - NEAR - first) : end + NEAR + 1 - first].max(initial=0))


def calibration(found: Sequence[Opinion]) -> np.ndarray:
    """(groups of kinds, 5) float32: slope and offset of the classifier alone; its, the network's weight, and offset."""
    rows = []
    for kinds in GROUPS:
        mine = [o for o in found if o.candidate.kind in kinds]
        asked = [o for o in mine if o.network is not None]
        alone = logistic(np.array([[logit(o.candidate.probability)] for o in mine]), _true(mine))
        both = logistic(np.array([[logit(o.candidate.probability), logit(o.network)] for o in asked]), _true(asked))
        print(
            f"  {'/'.join(kinds)}: {len(mine)} candidates, {sum(o.true for o in mine)} true; {len(asked)} shown; "
            f"alone {alone.round(2)}, together {both.round(2)}",
            flush=True,
        )
        rows.append([*alone, *both])
    return np.array(rows, np.float32)


def _true(found: Sequence[Opinion]) -> np.ndarray:
    return np.array([o.true for o in found], float)


def logistic(x: np.ndarray, true: np.ndarray, ridge: float = 0.01) -> np.ndarray:
    """Logistic regression of (n,) truths on (n, inputs) by Newton's method: (inputs + 1,) weights, the offset last."""
    x = np.c_[x, np.ones(len(x))]
    weights = np.zeros(x.shape[1])
    for _ in range(50):
        likely = 1 / (1 + np.exp(-x @ weights))
        curvature = (x * (likely * (1 - likely))[:, None]).T @ x + ridge * np.eye(len(weights))
        weights += np.linalg.solve(curvature, x.T @ (true - likely) - ridge * weights)
    return weights
