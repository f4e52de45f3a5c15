"""One shot of a synthetic film: a span of a real take, altered as cameras and editors do, with traps in it.

The traps are what detectors take for cuts: flashes, strobes, lightning, shutters, a hand over the lens, whip pans,
crash zooms, exposure changes, shakes, freezes, dropped frames, captions that pop up. None of them is a transition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import cv2
import numpy as np
from footage import SIDES, Take

WIDTH, HEIGHT = SIDES
Pictures = list[np.ndarray]


@dataclass(frozen=True)
class Look:
    """How a shot shows its take."""

    flip: bool = False
    zoom: float = 1.0
    x: float = 0.5
    y: float = 0.5
    gain: float = 1.0
    gamma: float = 1.0
    saturation: float = 1.0
    speed: float = 1.0
    every: int = 1
    """Show every so manieth picture only, and hold it: a film of a low frame rate brought to a higher one."""

    def apply(self, picture: np.ndarray) -> np.ndarray:
        out = picture[:, ::-1] if self.flip else picture
        if self.zoom > 1:
            out = window(out, self.zoom, self.x, self.y)
        if self.saturation != 1:
            grey = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            out = cv2.addWeighted(np.ascontiguousarray(out), self.saturation, grey, 1 - self.saturation, 0)
        if self.gain != 1 or self.gamma != 1:
            curve = 255 * np.clip(self.gain * (np.arange(256) / 255) ** self.gamma, 0, 1)
            out = cv2.LUT(np.ascontiguousarray(out), curve.astype(np.uint8))
        return np.ascontiguousarray(out)


def window(picture: np.ndarray, zoom: float, x: float, y: float) -> np.ndarray:
    """The part of a picture that a lens `zoom` times as long would see; x and y place it, 0 to 1."""
    w, h = WIDTH / zoom, HEIGHT / zoom
    left, top = x * (WIDTH - w), y * (HEIGHT - h)
    to = np.float32([[zoom, 0, -left * zoom], [0, zoom, -top * zoom]])
    return cv2.warpAffine(picture, to, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def any_look(rng: Random) -> Look:
    """Half of the shots as they are, the others mirrored, reframed or graded."""
    if rng.random() < 0.5:
        return Look(flip=rng.random() < 0.3)
    return Look(
        flip=rng.random() < 0.3,
        zoom=rng.choice([1.0, 1.0, rng.uniform(1, 1.8)]),
        x=rng.random(),
        y=rng.random(),
        gain=rng.choice([1.0, rng.uniform(0.5, 1.2)]),
        gamma=rng.choice([1.0, rng.uniform(0.7, 1.6)]),
        saturation=rng.choice([1.0, rng.uniform(0, 1.3)]),
        speed=rng.choice([1.0, rng.uniform(0.6, 2.0)]),
        every=rng.choice([1, 1, 2, 3]),
    )


def shot(take: Take, start_s: float, frames: int, fps: float, look: Look) -> Pictures:
    """`frames` pictures of a take from a time on."""
    chosen = take.at(start_s + np.arange(frames) // look.every * look.every / fps * look.speed)
    shown = {int(i): look.apply(take.pictures[i]) for i in set(chosen.tolist())}
    return [shown[int(i)] for i in chosen]


def flash(pictures: Pictures, rng: Random) -> None:
    """One to three over-exposed frames, of the whole picture or a part."""
    at, length, left = rng.randint(8, len(pictures) - 12), rng.choice([1, 1, 1, 2, 3]), rng.uniform(0.1, 0.5)
    lit = _spot(rng) if rng.random() < 0.4 else np.ones((HEIGHT, WIDTH, 1), np.float32)
    for n in range(at, at + length):
        picture = pictures[n].astype(np.float32)
        pictures[n] = (picture + (255 - (255 - picture) * left - picture) * lit).astype(np.uint8)


def strobe(pictures: Pictures, rng: Random) -> None:
    """A row of flashes."""
    step, at = rng.randint(2, 6), rng.randint(8, len(pictures) - 60)
    for n in range(at, at + step * rng.randint(3, 7), step):
        pictures[n] = (255 - (255 - pictures[n].astype(np.float32)) * 0.25).astype(np.uint8)


def lightning(pictures: Pictures, rng: Random) -> None:
    """A sudden light that dies away."""
    at, decay, power = rng.randint(8, len(pictures) - 30), rng.uniform(0.5, 0.85), rng.uniform(0.5, 0.95)
    for n in range(at, at + 16):
        left = 1 - power * decay ** (n - at)
        pictures[n] = (255 - (255 - pictures[n].astype(np.float32)) * left).astype(np.uint8)


def shutter(pictures: Pictures, rng: Random) -> None:
    """One to three dark frames."""
    at, level = rng.randint(8, len(pictures) - 12), rng.uniform(0, 0.4)
    for n in range(at, at + rng.choice([1, 2, 3])):
        pictures[n] = (pictures[n] * level).astype(np.uint8)


def hand(pictures: Pictures, rng: Random) -> None:
    """Something dark that crosses the lens and is gone again."""
    at, length = rng.randint(8, len(pictures) - 50), rng.randint(8, 36)
    colour = np.array([rng.uniform(10, 120) for _ in range(3)], np.float32)
    grain = cv2.GaussianBlur(np.random.default_rng(rng.getrandbits(32)).normal(0, 60, (HEIGHT, WIDTH)), (0, 0), 9)
    texture = np.clip(colour + grain[..., None], 0, 255)
    full, back = rng.uniform(0.6, 1.3), rng.random() < 0.5
    across = np.broadcast_to(np.linspace(0, 1, WIDTH), (HEIGHT, WIDTH))
    if rng.random() < 0.5:
        across = np.broadcast_to(np.linspace(0, 1, HEIGHT)[:, None], (HEIGHT, WIDTH))
    if rng.random() < 0.5:
        across = 1 - across
    for n in range(length):
        t = (n + 1) / (length + 1)
        if back:
            covered = np.clip((full * np.sin(np.pi * t) - across) * 12, 0, 1)
        else:
            covered = np.clip((2.2 * t - across) * 12, 0, 1) * np.clip((across - (2.2 * t - 1.1)) * 12, 0, 1)
        mask = covered[..., None].astype(np.float32)
        pictures[at + n] = (pictures[at + n] * (1 - mask) + texture * mask).astype(np.uint8)


def _moved(pictures: Pictures, rng: Random, path: Callable[[float], tuple[float, float, float]], length: int) -> None:
    """See the shot through a lens that goes along a path: time 0 to 1 to (zoom, x, y), staying at its end."""
    at = rng.randint(5, len(pictures) - length - 5)
    before = path(0.0)
    for n in range(len(pictures)):
        t = min(1.0, max(0.0, (n - at) / length))
        now = path(t * t * (3 - 2 * t))
        moved = window(pictures[n], *now)
        blur = abs(now[1] - before[1]) * (1 - 1 / now[0]) * WIDTH
        if blur > 2:
            moved = cv2.blur(moved, (int(blur), 1))
        pictures[n], before = moved, now


def whip_pan(pictures: Pictures, rng: Random) -> None:
    """The camera is thrown round, with motion blur."""
    ends, zoom, y = rng.choice([(0.0, 1.0), (1.0, 0.0)]), rng.uniform(1.4, 2.2), rng.random()
    _moved(pictures, rng, lambda t: (zoom, ends[0] + (ends[1] - ends[0]) * t, y), rng.randint(4, 14))


def crash_zoom(pictures: Pictures, rng: Random) -> None:
    """The lens zooms in or out within half a second."""
    ends, x, y = rng.choice([(1.0, 1.7), (1.7, 1.0)]), rng.random(), rng.random()
    _moved(pictures, rng, lambda t: (ends[0] + (ends[1] - ends[0]) * t, x, y), rng.randint(5, 20))


def drift(pictures: Pictures, rng: Random) -> None:
    """A steady pan, tilt or zoom over the whole shot."""
    a = (rng.uniform(1.1, 1.7), rng.random(), rng.random())
    b = (rng.uniform(1.1, 1.7), rng.random(), rng.random())
    for n in range(len(pictures)):
        t = n / len(pictures)
        pictures[n] = window(pictures[n], *((1 - t) * p + t * q for p, q in zip(a, b, strict=True)))


def exposure(pictures: Pictures, rng: Random) -> None:
    """Auto-exposure finds another level and stays there."""
    at, length, gain = rng.randint(5, len(pictures) - 45), rng.randint(3, 40), rng.choice([0.5, 0.7, 1.4])
    for n in range(at, len(pictures)):
        now = 1 + (gain - 1) * min(1.0, (n - at) / length)
        pictures[n] = np.clip(pictures[n] * now, 0, 255).astype(np.uint8)


def shake(pictures: Pictures, rng: Random) -> None:
    """Somebody runs with the camera."""
    power, noise = rng.uniform(0.05, 0.5), np.random.default_rng(rng.getrandbits(32))
    x = y = 0.5
    for n in range(len(pictures)):
        x, y = (min(1.0, max(0.0, 0.7 * p + 0.15 + noise.normal(0, power))) for p in (x, y))
        pictures[n] = window(pictures[n], 1.15, x, y)


def freeze(pictures: Pictures, rng: Random) -> None:
    """The picture stands still and goes on where it stopped."""
    at, length = rng.randint(5, len(pictures) - 5), rng.randint(5, 40)
    pictures[at:at] = [pictures[at]] * length


def dropped(pictures: Pictures, rng: Random) -> None:
    """A few pictures are lost, as by a recorder that cannot keep up: too little to be a jump cut."""
    at = rng.randint(8, len(pictures) - 12)
    del pictures[at : at + rng.randint(1, 4)]


def caption(pictures: Pictures, rng: Random) -> None:
    """A subtitle, title or logo that pops up and goes."""
    at = rng.randint(4, len(pictures) - 20)
    end = rng.randint(at + 10, len(pictures) + 30)
    y, size, colour = rng.uniform(0.2, 0.95), rng.uniform(0.4, 1.3), rng.choice([255, 230, 20])
    text = "".join(rng.choice("abcdefghij klmnopq rstuvwxyz") for _ in range(rng.randint(6, 26)))
    for n in range(at, min(end, len(pictures))):
        picture = pictures[n].copy()
        if size > 1:
            cv2.rectangle(picture, (0, int(y * HEIGHT) - 26), (WIDTH, int(y * HEIGHT) + 8), (255 - colour,) * 3, -1)
        place = (12, int(y * HEIGHT))
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, (colour,) * 3, 2)
        pictures[n] = picture


def _spot(rng: Random) -> np.ndarray:
    spot = np.zeros((HEIGHT, WIDTH), np.float32)
    cv2.circle(spot, (rng.randrange(WIDTH), rng.randrange(HEIGHT)), rng.randint(60, 200), 1.0, -1)
    return cv2.GaussianBlur(spot, (0, 0), 30)[..., None]


TRAPS: dict[str, Callable[[Pictures, Random], None]] = {
    f.__name__: f
    for f in (
        flash,
        strobe,
        lightning,
        shutter,
        hand,
        whip_pan,
        crash_zoom,
        drift,
        exposure,
        shake,
        freeze,
        dropped,
        caption,
    )
}
ROOM = 75
"""Fewest frames of a shot with a trap in it."""
