"""Fits what the source's own encoder says about a jump cut: on films of `edit`, wherever the classifier sees one.

    python tests/benchmarks/cutfit/codec.py TAKES [FILMS]

Prints the weights for `stages.cuts.codec`, and how often they tell the two apart.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from random import Random

import cv2
import numpy as np
from edit import film, write
from footage import load
from measure import signals_of
from opinions import logistic, near

from curate.media.probe import probe
from curate.media.video import Decode, Timing
from stages.cuts import codec
from stages.cuts.cascade import candidates
from stages.cuts.classifier import bundled
from stages.cuts.codec import Coded

FIRST_SEED = 5000
"""Beyond those of the classifier's own fit."""


def main() -> None:
    cv2.setNumThreads(1)
    folder, films = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 14
    takes = {cover: load(folder, cover=cover) for cover in (False, True)}
    found: list[tuple[float, float]] = []
    jumps: list[bool] = []
    for seed in range(films):
        made = film(takes[bool(seed % 2)], FIRST_SEED + seed)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "film.mp4"
            write(made, path, Random(seed))
            frames = [Coded.of(f) for f in Decode(str(path), Timing.of(probe(str(path))), vectors=True)]
            seen = signals_of(path)
        classified = bundled().probabilities(len(frames), lambda a, b, of=seen: {n: v[a:b] for n, v in of.items()})
        for candidate in candidates(classified):
            at = candidate.start
            measured = codec.measured(frames, at)
            if candidate.kind != "jump" or measured is None or any(near(at, at, a, b) for a, b in made.unclear):
                continue
            found.append(measured)
            jumps.append(any(near(at, at, a, b) for a, b, _ in made.transitions))
    x, true = np.array(found), np.array(jumps)
    new, size, offset = logistic(x, true)
    even = offset + np.log(sum(~true) / sum(true))
    right = np.mean((x @ [new, size] + even > 0) == true)
    weights = f"new {new:.2f}, bytes {size:.2f}, offset {even:.2f}"
    print(f"{sum(true)} jumps, {sum(~true)} others that look like one: {weights}; right in {right:.0%}")


if __name__ == "__main__":
    main()
