"""H.264 films of all the kinds whose packets can be copied; their frames carry their numbers."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

from tests.curate.films import bars, film, steady

FRAMES = 140
VARYING = list(accumulate([1, 1, 3, 1, 7, 2, 1, 1, 12, 1] * 14, initial=0))[:FRAMES]
MEDIUM = {"preset": "veryfast"}
PYRAMID = MEDIUM | {"x264-params": "b-pyramid=normal:b-adapt=0:ref=5"}


def numbered(name: str, pts: list[int] | None = None, **how: Any) -> Callable[[Path], Path]:
    how = {"options": MEDIUM, "base": Fraction(1, 25)} | how
    return lambda folder: film(folder / name, pts or steady(FRAMES), picture=bars, **how)


COPYABLE: dict[str, Callable[[Path], Path]] = {
    "no_b": numbered("a.mp4"),
    "two_b": numbered("a.mp4", b_frames=2),
    "pyramid": numbered("a.mp4", b_frames=3, options=PYRAMID),
    "high_pyramid": numbered("a.mp4", b_frames=8, options=PYRAMID),
    "all_intra": numbered("a.mp4", gop=1),
    "baseline": numbered("a.mp4", options=MEDIUM | {"profile": "baseline"}),
    "main": numbered("a.mp4", b_frames=2, options=MEDIUM | {"profile": "main"}),
    "full_range": numbered("a.mp4", b_frames=2, pix_fmt="yuvj420p"),
    "slices": numbered("a.mp4", b_frames=2, options=MEDIUM | {"x264-params": "slices=3"}),
    "cropped": numbered("a.mp4", b_frames=2, size=(90, 50)),
    "varying": numbered("a.mp4", VARYING, base=Fraction(1, 30), b_frames=2),
    "matroska": numbered("a.mkv", b_frames=3, options=PYRAMID, base=Fraction(1, 1000), pts=steady(FRAMES, 40)),
    "transport_stream": numbered("a.ts", b_frames=3, options=PYRAMID),
    "late_start": numbered("a.mp4", steady(FRAMES, start=77), b_frames=2, container_options={"use_editlist": "0"}),
    "late_transport": numbered("a.ts", steady(FRAMES, start=999), b_frames=2),
    "access_unit_delimiters": numbered("a.mp4", b_frames=2, options=MEDIUM | {"x264-params": "aud=1"}),
    "repeated_sets": numbered("a.mkv", b_frames=2, options=MEDIUM | {"x264-params": "repeat-headers=1"}),
    "own_id": numbered("a.mp4", b_frames=2, options=MEDIUM | {"x264-params": "sps-id=1"}),
}
