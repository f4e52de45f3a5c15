"""From a film with known transitions to what the classifier is fitted on: its signals and its truth, kept in a file.

Every film goes through a real encoder, the shared decode and the probe, as any video does.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from edit import Film, write

from curate.dataset import to_arrow
from curate.media.probe import probe
from curate.media.video import Decode, Timing
from schemas import signals
from stages.cuts.evidence import channels
from stages.cuts.signals import Signals
from stages.cuts.stage import arrays

Truth = list[tuple[int, int, str]]


@dataclass(frozen=True)
class Measured:
    """A film as the classifier sees it."""

    channels: np.ndarray
    """(frames, channels) float32."""
    transitions: Truth
    unclear: list[tuple[int, int]]


def signals_of(path: Path) -> dict[str, np.ndarray]:
    """The probe's columns for a file, as arrays, frames first."""
    source = probe(str(path))
    run = Signals().start(source)
    rows = []
    for number, frame in enumerate(Decode(str(path), Timing.of(source))):
        row: dict[str, Any] = {"source_id": "", "frame": number, "pts": frame.pts, "t_s": frame.t_s}
        rows.append(row | (run.update(frame) or {}))
    return arrays(to_arrow(signals.TABLE, rows))


def made(render: Callable[[], Film], seed: int, cache: Path) -> Measured:
    """A synthetic film, rendered, encoded and measured, or read from the cache if that was done before."""
    kept = cache / f"{seed}.npz"
    if not kept.exists():
        edited = render()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "film.mp4"
            write(edited, path, Random(seed))
            truth = json.dumps({"transitions": edited.transitions, "unclear": edited.unclear})
            np.savez(kept, **signals_of(path), truth=truth)
    with np.load(kept, allow_pickle=False) as stored:
        known = json.loads(str(stored["truth"]))
        seen = channels({name: stored[name] for name in stored.files if name != "truth"})
    return Measured(seen, [tuple(t) for t in known["transitions"]], [tuple(u) for u in known["unclear"]])


def whole(path: Path, unclear: list[tuple[int, int]], cache: Path) -> Measured:
    """A take as it is, in which there is nothing to find."""
    kept = cache / f"{path.name}.npz"
    if not kept.exists():
        np.savez(kept, **signals_of(path))
    with np.load(kept, allow_pickle=False) as stored:
        return Measured(channels(dict(stored)), [], unclear)
