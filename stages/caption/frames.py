"""Which pictures a model is shown of a span, and how large: choices over times and scores alone, within exact budgets.

`sight.py` applies them to a source's stills; `describe.py` asks with what they chose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from stages.looks import spread

Span = tuple[float, float]
"""Start and end, seconds in the source."""

PATCH = 28
"""Side of what a Qwen VLM makes one token of, px: a picture smaller than one says nothing."""
GRID = (2, 3)
"""Rows and columns of LVD-2M's grid (Xiong et al., arXiv:2410.10816)."""
FINEST_S = 1e-3
"""DATE's spacing below which it no longer counts, seconds: half a frame at 500 fps."""


class Frames(BaseModel):
    """How pictures are chosen and how much may be shown of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    strategy: Literal["uniform", "grid", "date", "differential"] = "date"
    """`uniform`: spread evenly. `grid`: six tiled into one JPEG (LVD-2M), for models that take one picture. `date`: the
    telling ones, apart from each other in time (DATE). `differential`: each next one is described by what changed
    since the one before (ShareGPT4Video, arXiv:2406.04325): one request a picture, the truest about order and the
    dearest."""
    most: int = Field(12, ge=1, le=256)
    """Pictures of a span at most; a grid has six whatever stands here. A clip is 4 to 10 s and has a still a second."""
    pixels: int = Field(2_000_000, ge=PATCH * PATCH, le=200_000_000)
    """Of all pictures of one request together: 8 stills of 640 x 360, about 2600 tokens of a Qwen VLM."""
    glance_pixels: int = Field(32 * PATCH * PATCH, ge=PATCH * PATCH)
    """Of a picture in the first, cheap look: LOVE-R1's fast pass of 32 tokens."""
    rounds: int = Field(1, ge=0, le=2)
    """Second looks at most, at the size of the stills within `pixels`, where the first is in doubt: LOVE-R1 has two.
    0: there is no cheap look, the first is at full size."""
    sure_above: float = Field(0.6, ge=0, le=1)
    """Confidence below which a caption is looked at again; one not told is low. At 0.6 a token,
    another word was often nearly as likely."""
    disagree_above: float = Field(0.4, ge=0, le=1)
    """Disagreement of two scorers above which it is looked at again: a sure model half of whose statements that can be
    checked are contradicted has 0.5. Both limits are judgement, not yet fitted to a model's answers."""
    delta_s: float = Field(20.0, ge=0)
    """DATE's first spacing, seconds; it halves until there are enough. 0: the best by score alone."""
    weights: str | None = None
    """An open_clip network, the one that `embed` has, given as there: a picture's score is then its cosine with what
    the span is told to be part of. None: a score by change and detail."""
    weights_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{8,64}$")
    """What its .safetensors file must hash to, its first digits at least; none takes any."""


def tass(times: Sequence[float], scores: Sequence[float], most: int, delta_s: float) -> tuple[list[int], float]:
    """DATE's temporally regularised greedy sampling (Yuan et al., 2025): numbers chosen, in order of time, and the
    spacing in seconds that they keep.

    What scores above the mean is a candidate, the 4 x `most` best of them; where nothing does, all score the same and
    all are. The best are taken, each at least the spacing from those before; then the spacing is halved. No two are
    closer than the spacing returned. With `delta_s` 0 they are the best `most` candidates. Pictures closer than it to
    one that is taken, and below that one in score, change nothing unless they move the mean past another's score.
    """
    t, s = np.asarray(times, float), np.asarray(scores, float)
    above = np.flatnonzero(s > s.mean()) if len(s) else np.zeros(0, int)
    if not len(above):
        above = np.arange(len(s))
    left = above[np.lexsort((t[above], -s[above]))][: 4 * most].tolist()
    chosen: list[int] = []
    delta = delta_s
    while True:
        delta = delta if delta >= FINEST_S else 0.0
        waiting = []
        for number in left:
            if len(chosen) < most and all(abs(t[number] - t[other]) >= delta for other in chosen):
                chosen.append(number)
            else:
                waiting.append(number)
        left = waiting
        if len(chosen) == most or not left:
            return sorted(chosen, key=lambda number: (t[number], number)), delta
        delta /= 2


def chosen(how: Frames, times: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Numbers of the pictures shown, in order of time; DATE chooses where there are more than may be shown."""
    if len(times) > how.most and how.strategy == "date":
        return tass(times, scores, how.most, how.delta_s)[0]
    return spread(range(len(times)), GRID[0] * GRID[1] if how.strategy == "grid" else how.most)


def quota(scores: Sequence[float], total: int) -> list[int]:
    """Each picture's share of `total` pixels by QuoTA (Luo et al., 2025): in proportion to (100 p)^2.

    p is the score's share of the best one, 0 to 1; in whole numbers, so that the sum is never above `total` and a
    picture never gets less than one that scores below it. Where none scores above 0, all get the same.
    """
    best = max(scores, default=0.0)
    if not best > 0:
        return [total // max(1, len(scores))] * len(scores)
    weights = [round(100_000 * max(0.0, score) / best) ** 2 for score in scores]
    return [total * weight // sum(weights) for weight in weights]


def sized(width: int, height: int, pixels: int) -> tuple[int, int] | None:
    """Width and height of the largest picture of the same shape within `pixels`, never enlarged; None where it would
    be less than a patch high or wide."""
    scale = min(1.0, math.sqrt(pixels / (width * height)))
    across, down = math.floor(width * scale + 1e-9), math.floor(height * scale + 1e-9)
    while across * down > pixels:
        across, down = across - (across >= down), down - (down > across)
    return None if min(across, down) < min(PATCH, width, height) else (across, down)


PAD_SHARE, NARROWEST_SHARE = 1 / 8, 1 / 8
PAD_S, NARROWEST_S = 5.0, 30.0
MOST_OVERLAP = 0.3


def zoom(span: Span, wanted: Span | None, seen: Sequence[Span]) -> Span | None:
    """The part of a span for a second look; None where it is none, or was looked at before.

    As LOVE-R1 (Fu et al., 2025) has it: the interval that the model asks for, padded by 5 s but at most an eighth of
    the span, at least 30 s or an eighth of the span wide, the lesser of them; refused where its IoU with an earlier
    one is above 0.3. Where the model asks for none, the whole span.
    """
    start, end = span
    if not end > start:
        return None
    found = span
    if wanted is not None and all(map(math.isfinite, wanted)):
        low, high = (min(max(side, start), end) for side in wanted)
        if high > low:
            length = end - start
            pad = min(PAD_S, length * PAD_SHARE)
            low, high = low - pad, high + pad
            lack = max(0.0, min(NARROWEST_S, length * NARROWEST_SHARE) - (high - low)) / 2
            found = max(start, low - lack), min(end, high + lack)
    return None if any(overlap(found, other) > MOST_OVERLAP for other in seen) else found


def overlap(one: Span, other: Span) -> float:
    """Intersection over union of two spans, 0 to 1."""
    both = min(one[1], other[1]) - max(one[0], other[0])
    either = max(one[1], other[1]) - min(one[0], other[0])
    return max(0.0, both) / either if either > 0 else 0.0
