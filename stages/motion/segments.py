"""What the camera does, and when: every sample pair gets a kind, and equal neighbours become a segment.

Zoom, roll and shift are compared by what they do to the edge of the picture, half a width from its centre.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from stages.motion.pairs import Pairs

STEADY_S = 1.0
"""Handheld shake is what is left of the camera's speed without its mean over this long: it swings at 1 to 5 Hz."""

SHORTEST_S = 1.0
"""A segment that is shorter is joined to its neighbours: nobody sees half a second of pan as a movement of its own."""


@dataclass(frozen=True)
class Limits:
    """From which speed on the camera is said to do something; see the parameters of the stage `motion`."""

    shift_w_s: float
    zoom_s: float
    roll_s: float
    shake_w_s: float
    held_share: float


@dataclass(frozen=True)
class Segment:
    """A stretch of one kind."""

    start_s: float
    end_s: float
    kind: str
    speed: float
    """Frame widths per second; of a zoom the scale's logarithm per second, of a roll radians per second; static: 0."""


@dataclass(frozen=True)
class Path:
    """The camera's steps: their ends (s), and their velocity off the steady one, complex frame widths per second."""

    t_s: np.ndarray
    shake: np.ndarray

    @classmethod
    def of(cls, pairs: Pairs) -> Path:
        """From the steps of each sample pair; those of pairs whose camera is not known are left out."""
        ends, lengths, moves = [], [], []
        for n, inside in enumerate(pairs.steps):
            if np.isnan(pairs["camera_x_w_s"][n]):
                continue
            start_s = pairs["previous_s"][n]
            for step in inside:
                ends.append(step["t_s"])
                lengths.append(max(step["t_s"] - start_s, 1e-6))
                moves.append(complex(step["x"], step["y"]))
                start_s = step["t_s"]
        where, when = np.cumsum([0, *moves]), np.cumsum([0.0, *lengths])
        middles = (when[:-1] + when[1:]) / 2
        # As far to one side as to the other, so that a movement that gains speed is not taken for a shake.
        reach = np.minimum(STEADY_S / 2, np.minimum(middles, when[-1] - middles))
        steady = (_at(middles + reach, when, where) - _at(middles - reach, when, where)) / np.maximum(2 * reach, 1e-6)
        return cls(np.array(ends), np.array(moves, complex) / np.array(lengths) - steady)

    def rms(self, start_s: float, end_s: float) -> float:
        """Root mean square of the shake between two times; NaN where there is no step."""
        inside = self.shake[(self.t_s > start_s + 1e-9) & (self.t_s <= end_s + 1e-9)]
        return float(np.sqrt(np.mean(np.abs(inside) ** 2))) if len(inside) else float("nan")


def _at(times: np.ndarray, when: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.interp(times, when, where.real) + 1j * np.interp(times, when, where.imag)


def segments(pairs: Pairs, path: Path, limits: Limits) -> list[Segment]:
    """The camera's kinds over time, where it is known."""
    kinds = _smoothed([_kind(pairs, n, path, limits) for n in range(len(pairs))], pairs)
    found: list[Segment] = []
    for kind, group in itertools.groupby(range(len(kinds)), key=lambda n: kinds[n]):
        chosen = list(group)
        if kind is not None:
            start_s, end_s = float(pairs["previous_s"][chosen[0]]), float(pairs["t_s"][chosen[-1]])
            found.append(Segment(start_s, end_s, kind, _speed(kind, pairs, chosen, path)))
    return found


def _kind(pairs: Pairs, n: int, path: Path, limits: Limits) -> str | None:
    """What the camera does in a pair; None where its camera is not known."""
    if np.isnan(pairs["camera_x_w_s"][n]):
        return None
    near = slice(max(0, n - 1), n + 2)
    x, y = np.nanmean(pairs["camera_x_w_s"][near]), np.nanmean(pairs["camera_y_w_s"][near])
    # The mean over three pairs takes a shake out; the pair's own tells when a pan begins and ends.
    own = float(np.hypot(pairs["camera_x_w_s"][n], pairs["camera_y_w_s"][n]))
    shake = path.rms(pairs["t_s"][n] - STEADY_S, pairs["t_s"][n] + STEADY_S / 2)
    zoom, roll = pairs["camera_zoom_s"][n], pairs["camera_roll_s"][n]
    amounts = {
        "shift": (min(own, float(np.hypot(x, y))), limits.shift_w_s),
        "zoom": (abs(zoom) / 2, limits.zoom_s / 2),
        "roll": (abs(roll) / 2, limits.roll_s / 2),
        "shake": (shake if shake == shake else 0.0, limits.shake_w_s),
    }
    moving = {name: amount for name, (amount, least) in amounts.items() if amount >= least}
    if not moving:
        return "static"
    most = max(moving, key=lambda name: moving[name])
    if most == "shake":
        return "handheld shake"
    if most == "zoom":
        return "zoom in" if zoom > 0 else "zoom out"
    if most == "roll":
        return "roll"
    if pairs["held_share"][n] >= limits.held_share:
        return "tracking"
    # A camera that pans to the left moves the picture to the right.
    if abs(x) >= abs(y):
        return "pan left" if x > 0 else "pan right"
    return "tilt up" if y > 0 else "tilt down"


def _smoothed(kinds: list[str | None], pairs: Pairs) -> list[str | None]:
    """Each run that is too short takes the kind of the longer of its neighbours; what is unknown stays so."""
    while True:
        runs = [list(group) for _, group in itertools.groupby(range(len(kinds)), key=lambda n: kinds[n])]
        lengths = [float(pairs["t_s"][run[-1]] - pairs["previous_s"][run[0]]) for run in runs]
        short = [n for n, run in enumerate(runs) if lengths[n] < SHORTEST_S - 1e-6 and kinds[run[0]] is not None]
        for n in sorted(short, key=lambda n: lengths[n]):
            beside = [m for m in (n - 1, n + 1) if 0 <= m < len(runs) and kinds[runs[m][0]] is not None]
            if beside:
                kind = kinds[runs[max(beside, key=lambda m: lengths[m])][0]]
                for place in runs[n]:
                    kinds[place] = kind
                break
        else:
            return kinds


def _speed(kind: str, pairs: Pairs, chosen: list[int], path: Path) -> float:
    """The median over a segment's pairs, so that one bad fit does not show."""
    if kind == "static":
        return 0.0
    if kind == "handheld shake":
        return path.rms(pairs["previous_s"][chosen[0]], pairs["t_s"][chosen[-1]])
    if kind.startswith("zoom"):
        return abs(float(np.nanmedian(pairs["camera_zoom_s"][chosen])))
    if kind == "roll":
        return abs(float(np.nanmedian(pairs["camera_roll_s"][chosen])))
    x, y = (float(np.nanmedian(pairs[name][chosen])) for name in ("camera_x_w_s", "camera_y_w_s"))
    return float(np.hypot(x, y))
