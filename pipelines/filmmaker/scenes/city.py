"""A city across a river at night, filmed from the hand: dark, full of small lights, and never quite still.

The bank is painted once. Each frame adds the lights that move (cars, a boat, a plane), then samples the bank twice
in one warp: as it stands, and mirrored in the water with ripples.
"""

import cv2
import numpy as np

from pipelines.filmmaker.texture import (
    FPS,
    HEIGHT,
    WIDTH,
    Image,
    Plane,
    fractal,
    mix,
    pixel_grid,
    ramp,
    rgb,
    smoothstep,
    wander,
)

WIDE, TALL = 860, 300  # the painted bank in pixels; its last row is the waterline
LIGHTS = ("#ffd9a0", "#ffc27a", "#fff0d8", "#cfe2ff", "#ffb765")


class City:
    """Frames of the night; `frame(i)` gives RGB float32 0..1 of shape (360, 640, 3)."""

    def __init__(self, rng: np.random.Generator, frames: int) -> None:
        self.bank = _bank(rng)
        self.ripple = fractal(rng, (512, 512), 1.15, 60)
        self.hand = np.stack([wander(rng, frames, period) for period in (2.6, 2.2, 3.5)])
        self.tremor = np.stack([wander(rng, frames, 0.35) for _ in range(2)])
        self.cars = [
            (rng.uniform(0, WIDE), rng.choice((-1, 1)) * rng.uniform(38, 75), rng.uniform(0.7, 1.0)) for _ in range(26)
        ]
        self.lamps = [
            (x, rng.uniform(6, 26), LIGHTS[int(rng.integers(5))], rng.uniform(14, 27)) for x in range(60, 900, 118)
        ]
        self.grid = pixel_grid(HEIGHT, WIDTH)

    def frame(self, index: int) -> Image:
        """The view at frame `index`."""
        time_s = index / FPS
        bank = self._moving_lights(self.bank.copy(), time_s)
        sway = 9 * self.hand[:, index]
        turn = 0.0016 * sway[2]
        shift_x = 88 + 7 * time_s + sway[0] + 0.4 * self.tremor[0, index]
        shift_y = 82 + 0.7 * sway[1] + 0.4 * self.tremor[1, index]
        x = self.grid[0] + np.float32(turn) * (self.grid[1] - 180) + np.float32(shift_x)
        y = self.grid[1] - np.float32(turn) * (self.grid[0] - 320) + np.float32(shift_y)
        below = y - TALL
        wet = below > 0
        depth = np.maximum(below, 0)
        near = 14 / (depth + 14)
        wave = cv2.remap(
            self.ripple,
            x * 0.25 * (near + 0.25) + 9 * time_s,
            depth * near * 5 + 26 * time_s,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        )
        ripple = wave * np.minimum(depth * 0.16, 7)
        x = np.where(wet, x + 0.35 * ripple, x).astype(np.float32)
        y = np.where(wet, TALL - 1 - np.abs(0.92 * below + 1.6 * ripple), y).astype(np.float32)
        view = cv2.remap(bank, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        dim = np.where(wet, 0.62 + 0.10 * wave, 1).astype(np.float32)
        view = view * dim[..., None] + (wet * 0.02)[..., None] * rgb("#4a6a9c")
        return self._foreground(np.asarray(view, np.float32), shift_x, shift_y)

    def _moving_lights(self, bank: Image, time_s: float) -> Image:
        for start, speed, power in self.cars:
            colour = "#ffe9c4" if speed > 0 else "#ff2d1a"
            _glow(bank, (start + speed * time_s) % WIDE, TALL - 9 - (speed > 0) * 2, 2.6, colour, power)
        boat = 190 + 21 * time_s
        for offset in range(0, 44, 7):
            _glow(bank, boat + offset, TALL - 3, 2.2, "#ffc56e", 0.9)
        _glow(bank, boat + 48, TALL - 6, 2.5, "#5dff8a", 0.8)
        blink = max(0.0, np.sin(2 * np.pi * 0.9 * time_s)) ** 3
        _glow(bank, 610 - 16 * time_s, 112 + 2.2 * time_s, 2.2, "#ff5a4a", 0.25 + 0.75 * blink)
        return bank

    def _foreground(self, view: Image, shift_x: float, shift_y: float) -> Image:
        """Lamps of the near quay, out of focus: discs that sway more than the far bank does."""
        for x, y, colour, radius in self.lamps:
            _disc(view, x - 1.7 * (shift_x - 88), 318 + y - 1.5 * (shift_y - 82), radius, colour)
        return view


def _bank(rng: np.random.Generator) -> Image:
    """Sky, two rows of towers with lit windows, the quay with its lamps: shape (300, 860, 3)."""
    _, y = pixel_grid(TALL * 2, WIDE * 2)
    sky = ramp(y / 2, [(0, "#060a18"), (170, "#121a38"), (300, "#4a3448")])
    clouds = fractal(rng, (TALL * 2, WIDE * 2), 1.8, 500) * smoothstep(80, 420, y)
    picture = sky * (1 + 0.16 * clouds)[..., None]
    for row, (low, high, body) in enumerate(((70, 165, "#161a2c"), (40, 150, "#0a0c15"))):
        picture = _towers(rng, picture, (low, high), rgb(body), row)
    quay = smoothstep(TALL * 2 - 30, TALL * 2 - 26, y)
    picture = mix(picture, np.broadcast_to(rgb("#191310"), picture.shape), quay)
    for lamp in range(10, WIDE, 31):
        _glow(picture, 2 * lamp, TALL * 2 - 42, 7, "#ffb45e", 0.95)
    # What is brighter than the film can hold spreads in the lens.
    bright = np.clip(picture - 0.45, 0, None)
    for spread, gain in ((4, 0.5), (16, 0.55), (60, 0.5)):
        picture = picture + gain * cv2.GaussianBlur(bright, (0, 0), spread)
    return np.asarray(1.35 * cv2.resize(picture, (WIDE, TALL), interpolation=cv2.INTER_AREA), np.float32)


def _towers(rng: np.random.Generator, picture: Image, heights: tuple[int, int], body: Plane, row: int) -> Image:
    """Draw one row of towers from left to right at twice the size; windows come in warm and cold, lit and dark."""
    left, base = -20, TALL * 2 - 26
    while left < WIDE * 2:
        wide = int(rng.integers(44, 120))
        swell = 0.62 + 0.38 * np.sin(left / 260 + 2 * row)
        top = base - int(2 * rng.uniform(*heights) * swell)
        right = left + wide
        side = np.linspace(1.35, 0.7, max(min(right, WIDE * 2) - max(left, 0), 1), dtype=np.float32)[None, :, None]
        picture[top:base, max(left, 0) : right] = body * side
        step_x, step_y = int(rng.integers(8, 13)), int(rng.integers(10, 16))
        share, tint = rng.uniform(0.12, 0.5), rgb(LIGHTS[int(rng.integers(5))])
        for window_y in range(top + 8, base - 10, step_y):
            floor = share * rng.choice((0.4, 1.0, 1.6))
            for window_x in range(max(left, 0) + 6, right - step_x, step_x):
                if rng.random() < floor:
                    glass = picture[window_y : window_y + step_y - 5, window_x : window_x + step_x - 4]
                    glass[:] = tint * rng.uniform(0.3, 1.0) * (0.75 if row == 0 else 1.0)
        if rng.random() < 0.3:
            picture[top - 40 : top, left + wide // 2 : left + wide // 2 + 3] = body
            _glow(picture, left + wide // 2 + 1, top - 40, 6, "#ff3d2e", 0.9)
        left = right + int(rng.integers(-14, 12))
    return picture


def _window(picture: Image, x: float, y: float, reach: float) -> tuple[Image, Plane, Plane]:
    """The part of `picture` within `reach` of (x, y), and each of its pixels' distances in x and y."""
    height, width = picture.shape[:2]
    left, right = np.clip((int(x - reach), int(x + reach) + 2), 0, width)
    top, bottom = np.clip((int(y - reach), int(y + reach) + 2), 0, height)
    off_x = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(x)
    off_y = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(y)
    return picture[top:bottom, left:right], off_x, off_y


def _glow(picture: Image, x: float, y: float, size: float, colour: str, power: float) -> None:
    """Add a small light with a halo, in place; `size` in pixels."""
    part, off_x, off_y = _window(picture, x, y, 4 * size)
    square = (off_x**2 + off_y**2) / size**2
    part += (power * (np.exp(-square * 1.8) + 0.22 * np.exp(-square * 0.3)))[..., None] * rgb(colour)


def _disc(picture: Image, x: float, y: float, radius: float, colour: str) -> None:
    """Add an out-of-focus light in place: a flat disc, a little brighter at its rim."""
    part, off_x, off_y = _window(picture, x, y, radius + 2)
    away = np.sqrt(off_x**2 + off_y**2)
    cover = smoothstep(radius + 1, radius - 1, away) * (0.16 + 0.10 * (away / radius) ** 4)
    part += cover[..., None] * rgb(colour)
