"""Cuts: the shared decode leaves difference scores, from which PySceneDetect's detectors and LVD-2M's rule decide.

`Signals` is the probe, `Cuts` the decision, so another detector or threshold costs no second decode.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import pyarrow as pa
from pydantic import Field
from scenedetect import FrameTimecode, SceneDetector
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from curate.media.sampling import Sampler
from curate.media.video import Frame
from curate.stage import FrameProbe, ProbeRun, Row, RowStage, Workspace
from schemas import Table, boundaries, signals

Planes = Sequence[np.ndarray]
"""Hue, saturation and value, (rows, columns) uint8 each."""

Boundary = tuple[int, int, str, str, float | None]
"""First frame, one past the last (or the same), detector, kind, score."""

Window = tuple[int, int, float, bool]
"""First and last frame of a span of 2 s, the content score between them, whether it is above the threshold."""

FLASH_FRAMES = 3
"""Longest flash, frames: a camera's flash lights one or two."""
FLASH_RISE = 15.0
"""Luma (0 to 255) by which a flash is brighter than what is around it, and that must be alike to less than this."""

GAP_S = 2.0
"""Distance of LVD-2M's samples: longer than most dissolves."""
SAMPLES_PER_S = 2.0
"""How often frames are compared over that distance."""
NEAR_S = 0.4
"""How far from 2 s the distance may be where frames are sparse, seconds."""
SHOULDER_S = 0.75
"""What a transition's ends may lie outside the span that all its windows share: half a sample and its faint tails."""

BLACK, WHITE, RISE = 20.0, 235.0, 0.5
"""A fade goes through luma below or above these, and changes by more than the last with every frame: a fade of 2 s, the
longest that is looked for, changes by 2 a frame at 25 fps; noise in still pictures stays below 0.5."""


class Signals(FrameProbe):
    """Measures how every frame differs from the one before, and from 2 s ago. About 0.6 ms a frame."""

    name: ClassVar[str] = "signals"
    writes: ClassVar[Table] = signals.TABLE

    @property
    def lookback_s(self) -> float:
        return GAP_S + NEAR_S

    def start(self, source: Row) -> ProbeRun:
        return _Difference()


class _Difference:
    """PySceneDetect's content components: mean absolute differences of hue, saturation and value."""

    def __init__(self) -> None:
        self._last: Planes | None = None
        self._sampler = Sampler(SAMPLES_PER_S)
        self._samples: deque[tuple[float, Planes]] = deque()

    def update(self, frame: Frame) -> Row:
        planes = cv2.split(cv2.cvtColor(frame.bgr, cv2.COLOR_BGR2HSV))
        deltas = _deltas(planes, self._last) or (0.0, 0.0, 0.0)
        self._last = planes
        return {
            "delta_2s": self._gap(frame.t_s, planes) if self._sampler.takes(frame.t_s) else None,
            "keyframe": frame.keyframe,
            "errors_before": frame.errors_before,
            "luma": float(frame.luma(256).mean()),
            "delta_hue": deltas[0],
            "delta_sat": deltas[1],
            "delta_lum": deltas[2],
        }

    def _gap(self, t_s: float, planes: Planes) -> float | None:
        """Content score against the sample nearest to 2 s ago; None where none is near."""
        self._samples.append((t_s, planes))
        while self._samples[0][0] < t_s - GAP_S - NEAR_S:
            self._samples.popleft()
        then_s, then = min(self._samples, key=lambda sample: abs(t_s - GAP_S - sample[0]))
        deltas = _deltas(planes, then) if abs(t_s - GAP_S - then_s) <= NEAR_S else None
        return sum(deltas) / 3 if deltas else None


def _deltas(planes: Planes, before: Planes | None) -> tuple[float, ...] | None:
    """Mean absolute difference of each plane; None where the picture's size has changed or there is none."""
    if before is None or before[0].shape != planes[0].shape:
        return None
    return tuple(cv2.norm(a, b, cv2.NORM_L1) / a.size for a, b in zip(planes, before, strict=True))


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
    gap_threshold: float | None = Field(50.0, gt=0)
    """Content score between frames 2 s apart that makes a gradual transition where no cut explains it: LVD-2M's rule,
    which turns a dissolve into one jump. It also ends takes whose camera is thrown about; null switches it off."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        frames = {n: inputs["signals"].column(n).to_numpy() for n in ("t_s", "delta_hue", "delta_sat", "delta_lum")}
        if not len(frames["t_s"]):
            return
        source_id = inputs["signals"].column("source_id")[0].as_py()
        scores = (frames["delta_hue"] + frames["delta_sat"] + frames["delta_lum"]) / 3
        found: dict[int, tuple[str, str, float | None]] = {}  # detector, kind and score by frame
        for name in self._detectors():
            found |= {frame: (name, "cut", float(scores[frame])) for frame in self._cuts(name, scores)}
        luma, gaps = inputs["signals"].column("luma").to_numpy(), self._gaps(frames["t_s"], inputs["signals"])
        for flash in _flashes(sorted(found), luma, gaps):
            found = {frame: said for frame, said in found.items() if frame not in flash}
        lost = np.flatnonzero(inputs["signals"].column("errors_before").to_numpy() > 0)
        found |= {int(frame): ("decoder", "gap", None) for frame in lost if frame > 0}
        spans = _with_fades(found, luma, frames["t_s"]) + _gradual(frames["t_s"], gaps, sorted(found))
        for start, end, detector, kind, score in sorted(spans):
            yield {
                "source_id": source_id,
                "start_frame": start,
                "end_frame": end,
                "start_s": float(frames["t_s"][start]),
                "end_s": float(frames["t_s"][min(end, len(scores) - 1)]),
                "kind": kind,
                "score": score,
                "detector": detector,
            }

    def _gaps(self, times: np.ndarray, rows: pa.Table) -> list[Window]:
        """The 2-s windows, and which of them differ more than the threshold; none where the rule is off."""
        if self.gap_threshold is None:
            return []
        scores = rows.column("delta_2s").to_numpy(zero_copy_only=False).astype(float)
        ends = np.flatnonzero(~np.isnan(scores))
        starts = np.searchsorted(times, times[ends] - GAP_S)
        return [
            (int(start), int(end), float(scores[end]), bool(scores[end] >= self.gap_threshold))
            for start, end in zip(starts, ends, strict=True)
        ]

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
        if name == "content":
            return _StoredContent(scores, threshold=self.threshold, min_scene_len=0)
        return _StoredAdaptive(
            scores,
            adaptive_threshold=self.adaptive_threshold,
            window_width=self.window,
            min_content_val=self.min_content,
            min_scene_len=0,
        )


def _flashes(cuts: list[int], luma: np.ndarray, gaps: Sequence[Window]) -> Iterator[range]:
    """Pairs of cuts around one to three frames lit up between frames as dark as each other, in one and the same scene.

    That the scene stays is for the 2-s windows to say; where they are switched off, nothing is taken for a flash.
    """
    for first, after in itertools.pairwise(cuts):
        if after - first > FLASH_FRAMES or first == 0:
            continue
        before, behind = luma[first - 1], luma[after]
        across = [differs for start, end, _, differs in gaps if start < first and after <= end]
        lit = luma[first:after].min() > max(before, behind) + FLASH_RISE and abs(before - behind) < FLASH_RISE
        if lit and across and not any(across):
            yield range(first, after + 1)


def _gradual(times: np.ndarray, gaps: Sequence[Window], cuts: list[int]) -> list[Boundary]:
    """Runs of 2-s windows that differ too much and hold no cut. A transition lies in what a run's windows share."""
    windows = [w for w in gaps if w[3] and not any(w[0] < cut <= w[1] for cut in cuts)]
    runs: list[list[Window]] = []
    for window in windows:
        if runs and times[window[1]] - times[runs[-1][-1][1]] <= 2 / SAMPLES_PER_S:
            runs[-1].append(window)
        else:
            runs.append([window])
    found: list[Boundary] = []
    for run in runs:
        first, last = sorted((run[0][1], run[-1][0]))
        start = int(np.searchsorted(times, times[first] - SHOULDER_S))
        end = int(np.searchsorted(times, times[last] + SHOULDER_S))
        found.append((start, end, "two-second gap", "gradual", max(score for _, _, score, _ in run)))
    return found


def _with_fades(
    found: Mapping[int, tuple[str, str, float | None]], luma: np.ndarray, times: np.ndarray
) -> list[Boundary]:
    """The detections as spans. A cut at black or white is a fade as far as luma runs steadily to and from there."""
    spans: dict[tuple[int, int], Boundary] = {}
    for frame, (detector, kind, score) in found.items():
        near = luma[max(0, frame - 3) : frame + 3]
        start = end = frame
        if kind == "cut" and near.min() < BLACK:
            start, end = (_slope(luma, times, frame, step, BLACK) for step in (-1, 1))
        elif kind == "cut" and near.max() > WHITE:
            start, end = (_slope(-luma, times, frame, step, -WHITE) for step in (-1, 1))
        if end - start > 2:
            spans[start, end + 1] = (start, end + 1, detector, "fade", score)
        else:
            spans[frame, frame] = (frame, frame, detector, kind, score)
    return list(spans.values())


def _slope(luma: np.ndarray, times: np.ndarray, start: int, step: int, floor: float) -> int:
    """The last frame from `start` on, in the direction of `step`, up to which luma is below the floor or rises."""
    at = start
    while 0 <= at + step < len(luma) and abs(times[at + step] - times[start]) <= GAP_S:
        if luma[at + step] >= floor and luma[at + step] <= luma[at] + RISE:
            break
        at += step
    return at


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
