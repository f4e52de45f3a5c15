"""A weathered cliff with cracks and lichen, and a camera that slowly zooms into it.

The surface is painted once at the resolution of the closest view; each frame is one warp of it, so the zoom is smooth
to a fraction of a pixel. Nothing in the picture moves by itself: all motion is the camera's.
"""

import cv2
import numpy as np

from pipelines.filmmaker.texture import (
    HEIGHT,
    WIDTH,
    Image,
    Plane,
    band,
    fractal,
    hillshade,
    mix,
    pixel_grid,
    ramp,
    rgb,
    smoothstep,
)

CLOSEST = 2.5  # the last frame shows the surface this much larger than the first
TALL, WIDE = 960, 1680  # the painted surface, pixels; a little more than WIDTH * CLOSEST


class Rock:
    """Frames of the zoom; `frame(i)` gives RGB float32 0..1 of shape (360, 640, 3)."""

    def __init__(self, rng: np.random.Generator, frames: int) -> None:
        self.frames = frames
        surface = _surface(rng)
        self.levels = [surface, cv2.resize(surface, (WIDE // 2, TALL // 2), interpolation=cv2.INTER_AREA)]

    def frame(self, index: int) -> Image:
        """The view at frame `index`."""
        share = index / max(self.frames - 1, 1)
        zoom = CLOSEST**share
        # Between the two levels by the number of painted pixels under one shown pixel: sharp, and no shimmer.
        near = float(np.clip(2 - CLOSEST / zoom, 0, 1))
        views = [self._view(level, zoom, 0.05 * share) for level in (0, 1)]
        return np.asarray(cv2.addWeighted(views[0], near, views[1], 1 - near, 0), np.float32)

    def _view(self, level: int, zoom: float, turn_rad: float) -> Image:
        scale = CLOSEST / zoom / 2**level
        cos, sin = scale * np.cos(turn_rad), scale * np.sin(turn_rad)
        drift = (zoom - 1) / (CLOSEST - 1)
        centre = np.array([WIDE / 2 + 70 * drift, TALL / 2 - 30 * drift]) / 2**level
        matrix = np.array([[cos, -sin, 0], [sin, cos, 0]], np.float64)
        matrix[:, 2] = centre - matrix[:, :2] @ (WIDTH / 2, HEIGHT / 2)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        view = cv2.warpAffine(self.levels[level], matrix, (WIDTH, HEIGHT), flags=flags, borderMode=cv2.BORDER_REFLECT)
        return np.asarray(view, np.float32)


def _surface(rng: np.random.Generator) -> Image:
    shape = (TALL, WIDE)
    x, y = pixel_grid(*shape)
    bend_x, bend_y = 38 * fractal(rng, shape, 1.7, 500), 38 * fractal(rng, shape, 1.7, 500)
    strata = cv2.remap(
        _layers(rng, shape), x + bend_x, y + bend_y + 0.16 * x, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    cracks = _cracks(rng, shape)
    rough = fractal(rng, shape, 1.75, 420)
    grain = fractal(rng, shape, 0.45, 12)
    height = 34 * rough + 5 * strata + 0.4 * fractal(rng, shape, 0.9, 40) + 0.16 * grain - 13 * cracks
    stone = ramp(0.7 * strata + 0.5 * rough, [(-2, "#4a4540"), (-0.6, "#6f665c"), (0.4, "#998b78"), (2, "#c3b59c")])
    rust = smoothstep(0.9, 2.0, fractal(rng, shape, 1.5, 420) + 0.25 * grain)
    stone = mix(stone, np.broadcast_to(rgb("#8f5a34"), stone.shape), 0.6 * rust)
    light = hillshade(height, 0.55)
    for colours, patch, reach in (("#b9a23c", 190, 1.45), ("#a9b59a", 120, 1.2), ("#5e7038", 300, 1.5)):
        edge = band(rng, shape, patch) + 0.3 * fractal(rng, shape, 1.3, 60)
        lichen = smoothstep(reach, reach + 0.22, edge) * (1 - cracks)
        stone = mix(stone, rgb(colours) * (0.82 + 0.16 * np.clip(grain, -2, 2))[..., None], 0.85 * lichen)
    shadow = 1 - 0.75 * cv2.GaussianBlur(cracks, (0, 0), 3)
    lit = 0.30 * rgb("#a9bbe0") + 1.15 * light[..., None] * rgb("#ffe9cb")
    return np.clip(stone * (1 + 0.10 * grain[..., None]) * lit * shadow[..., None], 0, 1)


def _layers(rng: np.random.Generator, shape: tuple[int, int]) -> Plane:
    """Horizontal beds of uneven thickness, mean 0 and about unit height, with fine streaks along them."""
    beds = fractal(rng, (shape[0], 8), 1.0, 160)[:, :1]
    streaks = cv2.resize(fractal(rng, (shape[0], shape[1] // 16), 0.9, 60), shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(0.8 * beds + 0.5 * streaks, np.float32)


def _cracks(rng: np.random.Generator, shape: tuple[int, int]) -> Plane:
    """0 on whole stone, 1 inside a crack: where two smooth noises, one coarse, cross zero."""
    wobble = 0.06 * fractal(rng, shape, 1.2, 60)
    coarse = np.abs(band(rng, shape, 520) + wobble)
    fine = np.abs(band(rng, shape, 210) + wobble)
    broken = smoothstep(0.2, 1.2, band(rng, shape, 420))
    return np.maximum(smoothstep(0.05, 0.012, coarse), 0.8 * broken * smoothstep(0.05, 0.01, fine))
