"""Edits shots into a film whose every transition is known to the frame: the ground truth of the fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import av
import cv2
import numpy as np
from footage import SIDES, Take
from shots import ROOM, TRAPS, Look, Pictures, any_look, shot

WIDTH, HEIGHT = SIDES
FPS = (24, 25, 25, 30, 30, 50, 60)
WEIGHTS = {"cut": 4, "jump": 4, "dissolve": 3, "fade": 2, "wipe": 3}
VISIBLE = 2.5
"""Mean difference (0 to 255) between the pictures on either side below which nobody could see a jump."""


@dataclass
class Film:
    """Pictures, and what is known about them. A transition covers start..end-1; start == end for a hard cut."""

    fps: int
    pictures: Pictures = field(default_factory=list)
    transitions: list[tuple[int, int, str]] = field(default_factory=list)
    unclear: list[tuple[int, int]] = field(default_factory=list)
    """Spans that are neither cut nor no cut: jumps that nobody could see."""
    traps: list[tuple[int, int, list[str]]] = field(default_factory=list)
    """Each shot's first and end frame, about, and the traps in it."""


def film(takes: Sequence[Take], seed: int, shots: int = 30, stills: bool = False) -> Film:
    """A film of that many shots, or a show of stills with transitions; the same seed gives the same film."""
    rng = Random(seed)
    out = Film(rng.choice(FPS))
    kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
    last: tuple[Take, float, Look] | None = None
    for _ in range(shots):
        kind = rng.choices(kinds, weights)[0] if last else "start"
        take, start_s, look = _choose(takes, rng, kind, last)
        look = replace(look, every=10_000) if stills else look
        want = rng.choice([rng.uniform(1.2, 3), rng.uniform(3, 6), rng.uniform(6, 10)])
        frames = max(20, int(min(want, (take.duration_s - start_s) / look.speed) * out.fps))
        pictures = shot(take, start_s, frames, out.fps, look)
        traps: list[str] = []
        if kind != "jump":
            for _ in range(rng.choice([0, 0, 1, 1, 2])):
                if len(pictures) > ROOM:
                    trap = rng.choice(list(TRAPS))
                    TRAPS[trap](pictures, rng)
                    traps.append(trap)
        _join(out, pictures, kind, rng)
        out.traps.append((len(out.pictures) - len(pictures), len(out.pictures), traps))
        last = take, start_s + frames / out.fps * look.speed, look
    return out


def noise(seed: int, frames: int = 300) -> Film:
    """A film of nothing but noise, fine or coarse, strong or weak, with no transition in it."""
    rng, random = Random(seed), np.random.default_rng(seed)
    out = Film(rng.choice(FPS))
    level, power, grain = rng.uniform(0, 255), rng.choice([5, 20, 60, 120]), rng.choice([1, 2, 8, 30])
    for _ in range(frames):
        coarse = random.normal(level, power, (HEIGHT // grain + 1, WIDTH // grain + 1, 3)).clip(0, 255)
        big = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=rng.choice([cv2.INTER_NEAREST, cv2.INTER_LINEAR]))
        out.pictures.append(big.astype(np.uint8))
    return out


def _choose(takes: Sequence[Take], rng: Random, kind: str, last: tuple[Take, float, Look] | None) -> tuple:
    if kind == "jump" and last:
        take, end_s, look = last
        room = [s for s in np.arange(0, take.duration_s - 1.2, 0.2) if abs(s - end_s) >= 0.8]
        if rng.random() < 0.2:  # a punch-in: another framing of the same moment
            zoom = look.zoom * rng.uniform(1.15, 1.5) if look.zoom < 1.3 else 1.0
            look = Look(
                look.flip,
                zoom,
                rng.uniform(0.3, 0.7),
                rng.uniform(0.3, 0.7),
                look.gain,
                look.gamma,
                look.saturation,
                look.speed,
            )
            room = [s for s in (end_s,) if s < take.duration_s - 1.2] or room
        if room:
            return take, float(rng.choice(room)), look
    others = [t for t in takes if not last or t.name != last[0].name]
    take = rng.choice(others)
    return take, rng.uniform(0, max(0.0, take.duration_s - 1.5)), any_look(rng)


def _join(out: Film, new: Pictures, kind: str, rng: Random) -> None:
    """Put a shot at the end of a film."""
    old = out.pictures
    if kind == "start":
        old.extend(new)
        return
    room = min(len(new) // 3, (len(old) - max([0, *(end for _, end, _ in out.transitions)])) // 3)
    length = rng.choice([rng.randint(10, 30), int(rng.uniform(0.25, 1.6) * out.fps)])
    length = min(length, room)
    if kind not in _MIXED or length < 6:
        at = len(old)
        if kind == "jump" and cv2.absdiff(old[-1], new[0]).mean() < VISIBLE:
            out.unclear.append((at - 2, at + 2))
        else:
            out.transitions.append((at, at, "jump" if kind == "jump" else "cut"))
        old.extend(new)
        return
    if kind == "fade":
        _fade(out, new, length, rng)
        return
    mix = _MIXED[kind](rng)
    at = len(old) - length
    for n in range(length):
        old[at + n] = mix(old[at + n], new[n], (n + 1) / (length + 1))
    old.extend(new[length:])
    out.transitions.append((at, at + length, kind))


Mix = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def _dissolve(rng: Random) -> Mix:
    smooth = rng.random() < 0.3

    def mix(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
        t = t * t * (3 - 2 * t) if smooth else t
        return cv2.addWeighted(a, 1 - t, b, t, 0)

    return mix


def _wipe(rng: Random) -> Mix:
    """A line, diagonal or iris that runs over the picture, sharp or soft; or the new picture pushes the old one out."""
    x, y = np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT))
    radius = np.hypot(x - 0.5, (y - 0.5) * HEIGHT / WIDTH)
    shapes = [x, x, 1 - x, 1 - x, y, 1 - y, (x + y) / 2, (1 - x + y) / 2, radius / radius.max()]
    order = rng.choice(shapes).astype(np.float32)
    soft = rng.choice([0.0, 0.0, rng.uniform(0.01, 0.15)])
    if rng.random() < 0.15:
        return _push(rng)

    def mix(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
        if not soft:
            return np.where((order < t)[..., None], b, a)
        mask = np.clip((t * (1 + soft) - order) / soft, 0, 1)[..., None]
        return (a * (1 - mask) + b * mask).astype(np.uint8)

    return mix


def _push(rng: Random) -> Mix:
    left = rng.random() < 0.5

    def mix(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
        edge = round(t * WIDTH)
        if left:
            return np.concatenate([a[:, edge:], b[:, :edge]], axis=1)
        return np.concatenate([b[:, WIDTH - edge :], a[:, : WIDTH - edge]], axis=1)

    return mix


_MIXED: dict[str, Callable[[Random], Mix]] = {"dissolve": _dissolve, "wipe": _wipe, "fade": _dissolve}


def _fade(out: Film, new: Pictures, length: int, rng: Random) -> None:
    """Out to black or white and in again, with or without a pause, or only one half of it against a cut."""
    old, level = out.pictures, rng.choice([0.0, 0.0, 0.0, 255.0])
    half, hold = max(3, length // 2), rng.choice([0, 0, 0, rng.randint(1, 20)])
    form = rng.choice(["both", "both", "both", "out", "in"])
    start = len(old)
    if form != "in":
        start = len(old) - half
        for n in range(half):
            old[start + n] = _towards(old[start + n], level, (n + 1) / (half + 0.5))
    old.extend([np.full((HEIGHT, WIDTH, 3), level, np.uint8)] * hold)
    end = len(old)
    if form != "out":
        for n in range(half):
            new[n] = _towards(new[n], level, 1 - (n + 0.5) / half)
        end += half
    old.extend(new)
    out.transitions.append((start, end, "fade"))


def _towards(picture: np.ndarray, level: float, t: float) -> np.ndarray:
    t = min(1.0, t)
    return np.clip(picture * (1 - t) + level * t, 0, 255).astype(np.uint8)


def write(made: Film, path: Path, rng: Random) -> None:
    """Encode a film as H.264 as uploads are, hard or lightly compressed."""
    options = {"crf": str(rng.choice([18, 23, 23, 28])), "preset": "veryfast", "g": str(rng.choice([48, 250]))}
    with av.open(str(path), "w") as box:
        stream = box.add_stream("libx264", rate=made.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in made.pictures:
            box.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")))
        box.mux(stream.encode(None))
