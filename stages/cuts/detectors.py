"""The published detectors, for whoever wants them alone: PySceneDetect's Content and Adaptive over the stored scores.

With frames sampled every 2 s, `content` is LVD-2M's rule: a dissolve becomes one jump.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from scenedetect import FrameTimecode, SceneDetector
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from curate.media.sampling import Sampler
from stages.cuts.cascade import Candidate

GAP_S = 2.0
"""Distance of LVD-2M's samples, seconds."""

Signals = Mapping[str, np.ndarray]


def content(signals: Signals, threshold: float) -> list[Candidate]:
    """ContentDetector: the content score against a fixed threshold."""
    scores = _scores(signals)
    return _cuts(_StoredContent(scores, threshold=threshold, min_scene_len=0), scores, "content")


def adaptive(signals: Signals, threshold: float, window: int, min_content: float) -> list[Candidate]:
    """AdaptiveDetector: the content score against its neighbours', which lets camera motion pass."""
    scores = _scores(signals)
    detector = _StoredAdaptive(
        scores, adaptive_threshold=threshold, window_width=window, min_content_val=min_content, min_scene_len=0
    )
    return _cuts(detector, scores, "adaptive")


def sampled_content(signals: Signals, threshold: float) -> list[Candidate]:
    """ContentDetector on a frame every 2 s. The transition lies somewhere between two samples, so all that is one."""
    sampler = Sampler(1 / GAP_S)
    times, scores = signals["t_s"], signals["delta_2s"]
    samples = [n for n, t_s in enumerate(times) if sampler.takes(t_s)]
    return [
        Candidate(before + 1, at, "gradual", None, "content at 0.5 fps", float(scores[at]))
        for before, at in itertools.pairwise(samples)
        if scores[at] >= threshold  # a null is no number and compares as false
    ]


def _scores(signals: Signals) -> np.ndarray:
    return (signals["delta_hue"] + signals["delta_sat"] + signals["delta_lum"]) / 3


def _cuts(detector: SceneDetector, scores: np.ndarray, name: Literal["content", "adaptive"]) -> list[Candidate]:
    image = np.empty((1, 1, 3), np.uint8)  # the detectors only hand it on to the score, which is known
    cuts: list[int] = []
    for number in range(len(scores)):
        cuts += [c.frame_num for c in detector.process_frame(_timecode(number), image)]
    cuts += [c.frame_num for c in detector.post_process(_timecode(len(scores) - 1))]
    return [Candidate(at, at, "cut", None, name, float(scores[at])) for at in sorted(set(cuts))]


def _timecode(number: int) -> FrameTimecode:
    """A frame number as the detectors take it; the rate does not matter, for numbers are read back."""
    return FrameTimecode(number, fps=Fraction(25))


class _Stored:
    """Gives a PySceneDetect detector the scores that the shared decode stored, in place of frames."""

    def __init__(self, scores: np.ndarray, **parameters: Any) -> None:
        super().__init__(**parameters)
        self._scores = scores

    def _calculate_frame_score(self, timecode: FrameTimecode, frame_img: np.ndarray) -> float:
        return float(self._scores[timecode.frame_num])


class _StoredContent(_Stored, ContentDetector):
    """ContentDetector over stored scores."""


class _StoredAdaptive(_Stored, AdaptiveDetector):
    """AdaptiveDetector over stored scores."""
