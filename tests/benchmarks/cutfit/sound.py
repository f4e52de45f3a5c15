"""Fits what a break in the sound says about a jump cut: on recordings with a stretch cut out, and as they are.

    python tests/benchmarks/cutfit/sound.py FILE...

Prints the slope and offset for `stages.cuts.sound`, and how often they tell the two apart.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import av
import numpy as np
from opinions import logistic

from stages.cuts.sound import RATE, break_height

PLACES = 20
"""Moments tried in each recording."""


def mono(path: Path) -> np.ndarray:
    """A file's first audio stream as mono samples at the detector's rate; empty where there is none."""
    with av.open(str(path)) as box:
        if not box.streams.audio:
            return np.empty(0, np.float32)
        resampler = av.AudioResampler("fltp", "mono", RATE)
        parts = [part.to_ndarray()[0] for frame in box.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def main() -> None:
    heights: list[float] = []
    cut: list[bool] = []
    for path in sorted(map(Path, sys.argv[1:])):
        rng, sound = Random(path.name), mono(path)
        for _ in range(PLACES if len(sound) > 6 * RATE else 0):
            here, there = (rng.randrange(RATE, len(sound) - RATE) for _ in range(2))
            if abs(here - there) < RATE:
                continue
            before, after = sound[here - RATE : here], sound[here : here + RATE]
            for spliced, end in ((False, after), (True, sound[there : there + RATE])):
                height = break_height(np.concatenate([before, end]))
                if height is not None:
                    heights.append(height)
                    cut.append(spliced)
    slope, offset = logistic(np.array(heights)[:, None], np.array(cut))
    right = np.mean((slope * np.array(heights) + offset > 0) == np.array(cut))
    print(f"{len(cut)} moments: slope {slope:.2f}, offset {offset:.2f}; right in {right:.0%}")


if __name__ == "__main__":
    main()
