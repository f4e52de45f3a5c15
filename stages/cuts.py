"""Cuts: the shared decode leaves a difference score for every frame, and PySceneDetect's detectors decide from it.

`Signals` is the probe, `Cuts` the decision, so another detector or threshold costs no second decode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import pyarrow as pa
from pydantic import Field
from scenedetect import FrameTimecode, SceneDetector
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from curate.media.video import Frame
from curate.stage import FrameProbe, ProbeRun, Row, RowStage, Workspace
from schemas import Table, boundaries, signals


class Signals(FrameProbe):
    """Measures how every frame differs from the one before. About 0.6 ms a frame."""

    name: ClassVar[str] = "signals"
    writes: ClassVar[Table] = signals.TABLE

    def start(self, source: Row) -> ProbeRun:
        return _Difference()


class _Difference:
    """PySceneDetect's content components: mean absolute differences of hue, saturation and value."""

    def __init__(self) -> None:
        self._last: Sequence[np.ndarray] | None = None

    def update(self, frame: Frame) -> Row:
        planes = cv2.split(cv2.cvtColor(frame.bgr, cv2.COLOR_BGR2HSV))
        deltas = [0.0, 0.0, 0.0]
        if self._last is not None and self._last[0].shape == planes[0].shape:
            deltas = [cv2.norm(a, b, cv2.NORM_L1) / a.size for a, b in zip(planes, self._last, strict=True)]
        self._last = planes
        return {
            "keyframe": frame.keyframe,
            "errors_before": frame.errors_before,
            "luma": float(frame.luma(256).mean()),
            "delta_hue": deltas[0],
            "delta_sat": deltas[1],
            "delta_lum": deltas[2],
        }


class Cuts(RowStage):
    """Decides where shots end. Lost packets are boundaries too: what lay there is unknown."""

    name: ClassVar[str] = "cuts"
    writes: ClassVar[Table] = boundaries.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"signals": ()}

    detector: Literal["union", "adaptive", "content"] = "union"
    """`content` compares a frame's score with a fixed threshold; `adaptive` with its neighbours' scores, which lets
    camera motion pass; `union` takes a cut from either, because in a long take a cut missed costs more than one too
    many."""
    threshold: float = Field(27.0, gt=0)
    """Content score (0 to 255) that makes a cut: ContentDetector's default."""
    adaptive_threshold: float = Field(3.0, gt=0)
    """How many times its neighbours' mean score makes a cut: AdaptiveDetector's default, and Open-Sora's."""
    window: int = Field(2, ge=1)
    """Neighbours on either side, frames: AdaptiveDetector's default."""
    min_content: float = Field(15.0, ge=0)
    """Content score below which `adaptive` never cuts: AdaptiveDetector's default."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        frames = {n: inputs["signals"].column(n).to_numpy() for n in ("t_s", "delta_hue", "delta_sat", "delta_lum")}
        if not len(frames["t_s"]):
            return
        source_id = inputs["signals"].column("source_id")[0].as_py()
        scores = (frames["delta_hue"] + frames["delta_sat"] + frames["delta_lum"]) / 3
        found: dict[int, tuple[str, str, float | None]] = {}
        for name in self._detectors():
            found |= {frame: (name, "cut", float(scores[frame])) for frame in self._cuts(name, scores)}
        lost = np.flatnonzero(inputs["signals"].column("errors_before").to_numpy() > 0)
        found |= {int(frame): ("decoder", "gap", None) for frame in lost if frame > 0}
        for frame, (detector, kind, score) in sorted(found.items()):
            at_s = float(frames["t_s"][frame])
            yield {
                "source_id": source_id,
                "start_frame": frame,
                "end_frame": frame,
                "start_s": at_s,
                "end_s": at_s,
                "kind": kind,
                "score": score,
                "detector": detector,
            }

    def _detectors(self) -> tuple[str, ...]:
        return ("content", "adaptive") if self.detector == "union" else (self.detector,)

    def _cuts(self, name: str, scores: np.ndarray) -> list[int]:
        """Frame numbers at which PySceneDetect's detector of that name cuts."""
        detector = self._detector(name, scores)
        image = np.empty((1, 1, 3), np.uint8)  # the detectors only hand it on to the score, which is known
        cuts: list[int] = []
        for number in range(len(scores)):
            cuts += [c.frame_num for c in detector.process_frame(_timecode(number), image)]
        cuts += [c.frame_num for c in detector.post_process(_timecode(len(scores) - 1))]
        return cuts

    def _detector(self, name: str, scores: np.ndarray) -> SceneDetector:
        # Detectors are given a clock of one frame a second, so that frame numbers are what they answer in.
        if name == "content":
            return _StoredContent(scores, threshold=self.threshold, min_scene_len=0)
        return _StoredAdaptive(
            scores,
            adaptive_threshold=self.adaptive_threshold,
            window_width=self.window,
            min_content_val=self.min_content,
            min_scene_len=0,
        )


def _timecode(number: int) -> FrameTimecode:
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
