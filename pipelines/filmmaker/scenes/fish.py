"""One fish as a sprite, painted from its outline: scales, stripes, fins, an eye, and light from above.

The reef warps these sprites as the fish swim. A sprite is RGBA with colour already multiplied by cover, so that it
can be scaled down and blended without dark edges.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.filmmaker.texture import Image, Plane, fractal, mix, pixel_grid, ramp, rgb, smoothstep

LONG, TALL = 200, 120  # pixels of a sprite; the fish looks to the right


class Coat(NamedTuple):
    """How a fish is coloured: back, belly, stripes, and how many stripes there are."""

    back: str
    belly: str
    stripe: str
    stripes: float


def paint_fish(rng: np.random.Generator, coat: Coat) -> list[NDArray[np.float32]]:
    """The sprite at full and at half size: shapes (120, 200, 4) and (60, 100, 4)."""
    x, y = pixel_grid(TALL * 2, LONG * 2)
    x, y = x / 2, y / 2 - TALL / 2
    outline = np.interp(x[0], (38, 48, 62, 90, 125, 155, 174, 186), (6.5, 7.5, 13, 27, 33, 27, 17, 4))[None, :]
    outline = np.maximum(cv2.GaussianBlur(outline.astype(np.float32), (0, 0), 9), 0.5)
    body = (
        smoothstep(0.9, -0.9, np.abs(y) - outline) * smoothstep(36, 40, x) * smoothstep(181, 176, x + 0.25 * np.abs(y))
    )
    colour, cover = _fins(x, y, coat)
    colour = mix(colour, _skin(rng, x, y / outline, coat), body)
    cover = np.maximum(cover, body)
    for radius, tint in ((5.0, "#f0e6c8"), (4.2, "#15181c")):
        colour = mix(
            colour, np.broadcast_to(rgb(tint), colour.shape), smoothstep(radius, radius - 1, np.hypot(x - 161, y + 6))
        )
    glint = smoothstep(1.7, 0.9, np.hypot(x - 162.5, y + 7.5))
    colour = mix(colour, np.ones_like(colour), glint)
    sprite = np.dstack([np.clip(colour, 0, 1) * cover[..., None], cover])
    full = cv2.resize(sprite, (LONG, TALL), interpolation=cv2.INTER_AREA)
    half = cv2.resize(sprite, (LONG // 2, TALL // 2), interpolation=cv2.INTER_AREA)
    return [np.asarray(full, np.float32), np.asarray(half, np.float32)]


def _skin(rng: np.random.Generator, x: Plane, height: Plane, coat: Coat) -> Image:
    """The lit body; `height` runs from -1 at the back to 1 at the belly."""
    shape = (x.shape[0], x.shape[1])
    mottle = fractal(rng, shape, 1.2, 60)
    colour = ramp(height + 0.12 * mottle, [(-0.5, coat.back), (0.9, coat.belly)])
    bend = x + 9 * height**2
    stripe = smoothstep(0.35, 0.65, np.sin(bend / 120 * 2 * np.pi * coat.stripes + 0.6) + 0.12 * mottle)
    stripe = stripe * smoothstep(50, 60, x) * smoothstep(150, 142, bend)
    colour = mix(colour, np.broadcast_to(rgb(coat.stripe), colour.shape), 0.85 * stripe)
    row = np.floor(height * 7)
    scale = np.hypot((x / 6.5 + 0.5 * row) % 1 - 0.35, (height * 7) % 1 - 0.5)
    colour = colour * (1.06 - 0.22 * smoothstep(0.3, 0.62, scale) * smoothstep(150, 140, x))[..., None]
    gill = np.exp(-(((x - 147 + 7 * height**2) / 1.6) ** 2)) * smoothstep(0.8, 0.5, np.abs(height))
    round_ = np.sqrt(np.clip(1 - height**2, 0, 1))
    light = 0.5 + 0.5 * round_ - 0.34 * np.clip(height, -0.7, 1) - 0.3 * gill
    sheen = 0.35 * np.exp(-(((height + 0.5) / 0.14) ** 2)) * smoothstep(45, 90, x)
    return np.asarray(colour * light[..., None] + sheen[..., None] * rgb("#d8f4ff"), np.float32)


def _fins(x: Plane, y: Plane, coat: Coat) -> tuple[Image, Plane]:
    """Tail, back and belly fins with their rays: colour and cover."""
    tail_reach = 42 - x
    tail = smoothstep(1, -1, np.abs(y) - (5 + tail_reach * 0.72)) * smoothstep(
        6 + 0.16 * np.abs(y), 9 + 0.16 * np.abs(y), x
    )
    tail = tail * smoothstep(46, 42, x) * smoothstep(-1, 1, np.abs(y) + 24 - tail_reach * 0.78)
    crest = np.interp(x[0], (70, 84, 120, 150), (14, 47, 44, 22))[None, :].astype(np.float32)
    keel = np.interp(x[0], (66, 74, 96, 112), (12, 42, 40, 22))[None, :].astype(np.float32)
    back = smoothstep(1, -1, -y - crest) * (y < 0) * smoothstep(69, 73, x) * smoothstep(151, 147, x)
    under = smoothstep(1, -1, y - keel) * (y >= 0) * smoothstep(65, 68, x) * smoothstep(113, 110, x)
    rays = np.where(x < 46, np.sin(np.arctan2(y, 60 - x) * 46), np.sin((x + 0.5 * np.abs(y)) * 1.5))
    tint = mix(
        np.broadcast_to(rgb(coat.back), (*x.shape, 3)),
        np.broadcast_to(rgb(coat.belly), (*x.shape, 3)),
        (0.35 + 0.25 * rays).astype(np.float32),
    )
    cover = np.maximum(np.maximum(tail, back), under) * (0.82 + 0.14 * rays)
    return tint, cover.astype(np.float32)
