"""Fruit and a vase on a table by a window: a fixed camera and nothing that moves.

A trap for the curation: long enough, sharp, well lit, and yet no training clip, because nothing happens in it. Only the
light breathes, by less than one grey level.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.filmmaker.texture import (
    FPS,
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

FINE = 2  # painted at twice the size, then averaged
TABLE = 232  # the far edge of the table, pixels from the top
SUN = np.array([-0.62, -0.52, 0.58]) / np.linalg.norm([-0.62, -0.52, 0.58])  # right, down, towards the camera


class Fruit(NamedTuple):
    """A ball on the table: centre and radius in pixels, skin from shade to light."""

    x: float
    y: float
    radius: float
    skin: tuple[str, str, str]


FRUIT = (
    Fruit(250, 236, 40, ("#8a3d05", "#e2760f", "#f7a63c")),
    Fruit(345, 250, 46, ("#5c0d12", "#b3221f", "#e2633f")),
    Fruit(292, 272, 37, ("#8a3d05", "#e8830f", "#fbb24c")),
    Fruit(415, 283, 33, ("#4c5a10", "#93a52a", "#c9d063")),
)


class StillLife:
    """The same picture again and again; `frame(i)` gives RGB float32 0..1 of shape (360, 640, 3)."""

    def __init__(self, rng: np.random.Generator, frames: int) -> None:
        x, y = pixel_grid(HEIGHT * FINE, WIDTH * FINE)
        x, y = x / FINE, y / FINE
        picture = _room(rng, x, y)
        picture = _vase(rng, picture, x, y)
        for fruit in FRUIT:
            picture = _ball(rng, picture, x, y, fruit)
        picture = cv2.resize(np.clip(picture, 0, 1), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        self.picture = np.asarray(picture, np.float32)

    def frame(self, index: int) -> Image:
        """The picture at frame `index`."""
        return np.asarray(self.picture * (1 + 0.002 * np.sin(2 * np.pi * index / (4.0 * FPS))), np.float32)


def _room(rng: np.random.Generator, x: Plane, y: Plane) -> Image:
    """A plaster wall with the light of a window on it, and a wooden table in front."""
    shape = (x.shape[0], x.shape[1])
    plaster = fractal(rng, shape, 1.1, 120)
    wall = (
        ramp(plaster, [(-3, "#6d7a78"), (0, "#8b9691"), (3, "#a5aea6")])
        * (0.8 + 0.3 * hillshade(plaster, 1.2))[..., None]
    )
    slant = x + 0.45 * y
    pane: Plane = (
        smoothstep(300, 316, slant) * smoothstep(560, 540, slant) * (1 - 0.8 * np.exp(-(((slant - 428) / 7) ** 2)))
    )
    pane = pane * smoothstep(18, 30, y + 0.1 * x) * (1 - 0.8 * np.exp(-(((y + 0.1 * x - 132) / 6) ** 2)))
    pane = cv2.GaussianBlur(pane, (0, 0), 6)
    wall *= (0.42 + 0.25 * smoothstep(640, 0, x))[..., None] + pane[..., None] * rgb("#ffdca8") * 0.75

    along = (x - 320) / (0.55 + 0.45 * (y - TABLE) / (HEIGHT - TABLE)).clip(0.3)
    away = 9000 / (y - TABLE + 60).clip(20)
    grain_map = cv2.resize(fractal(rng, (512, 64), 1.0, 90), (1024, 512), interpolation=cv2.INTER_CUBIC)
    warp = 7 * cv2.remap(band(rng, (512, 512), 170), along, away * 2, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    veins = cv2.remap(grain_map, along, away * 2.6 + warp, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    pores = fractal(rng, shape, 0.5, 10)
    wood = ramp(veins + 0.15 * pores, [(-2.5, "#2e180c"), (-0.5, "#5f361b"), (0.8, "#86532c"), (2.5, "#a9743f")])
    wood *= (0.62 + 0.5 * smoothstep(720, 40, x + 0.4 * (y - TABLE)))[..., None]
    wood *= (0.72 + 0.28 * smoothstep(TABLE, TABLE + 14, y))[..., None]
    return mix(wall, wood, smoothstep(TABLE - 0.5, TABLE + 0.5, y))


def _shadow(picture: Image, x: Plane, y: Plane, foot: tuple[float, float], size: float) -> Image:
    """Darken the table on the side away from the window, hard at the foot and soft further off."""
    for reach, softness, depth in ((0.15, 0.62, 0.62), (0.9, 0.95, 0.42)):
        across = (x - foot[0] - size * reach) / (size * (1 + 0.55 * reach))
        along = (y - foot[1] - size * 0.06) / (size * 0.3)
        inside = smoothstep(1 + softness, 1 - softness, np.hypot(across, along).astype(np.float32))
        picture = picture * (1 - depth * inside * smoothstep(TABLE - 2, TABLE + 2, y))[..., None]
    return np.asarray(picture, np.float32)


def _shade(normal: NDArray[np.float32], skin: Image, gloss: float) -> Image:
    """Lambert with a soft terminator, a rim of bounced light and a window-shaped highlight."""
    facing = normal @ SUN.astype(np.float32)
    light = 0.16 + 0.95 * np.clip(0.12 + 0.88 * facing, 0, 1) ** 1.2
    bounce = 0.16 * np.clip(normal[..., 1], 0, 1)[..., None] * rgb("#a06a3c")
    half = SUN + np.array([0, 0, 1])
    shine = np.clip(normal @ (half / np.linalg.norm(half)).astype(np.float32), 0, 1) ** 48
    return np.asarray(skin * light[..., None] + bounce + gloss * shine[..., None], np.float32)


def _ball(rng: np.random.Generator, picture: Image, x: Plane, y: Plane, fruit: Fruit) -> Image:
    picture = _shadow(picture, x, y, (fruit.x, fruit.y + fruit.radius * 0.86), fruit.radius)
    across, down = (x - fruit.x) / fruit.radius, (y - fruit.y) / fruit.radius
    around = np.hypot(across, down)
    normal = np.stack([across, down, np.sqrt(np.clip(1 - around**2, 0, 1))], -1).astype(np.float32)
    shape = (x.shape[0], x.shape[1])
    dimples = fractal(rng, shape, 0.6, 9)
    blush = fractal(rng, shape, 1.6, 160)
    normal[..., 0] += 0.035 * dimples
    normal[..., 1] += 0.035 * np.roll(dimples, 5, 1)
    shade, middle, light = fruit.skin
    skin = ramp(blush * 0.6 - 0.5 * down + 0.1 * dimples, [(-1.4, shade), (0, middle), (1.4, light)])
    stalk = np.exp(-((np.hypot(across - 0.1, (down + 0.8) * 2.2) / 0.13) ** 2)).astype(np.float32)
    skin = mix(skin, np.broadcast_to(rgb("#2d2410"), skin.shape), 0.9 * stalk)
    cover = smoothstep(1 + 0.6 / fruit.radius, 1 - 0.6 / fruit.radius, around)
    return mix(picture, _shade(normal, skin, 0.4), cover)


def _vase(rng: np.random.Generator, picture: Image, x: Plane, y: Plane) -> Image:
    """A turned, glazed vase: its outline gives both its edge and its normals."""
    middle, top, foot = 168.0, 92.0, 292.0
    height = np.clip((y - top) / (foot - top), 0, 1)
    outline: Plane = np.interp(height[:, 0], np.linspace(0, 1, 9), [21, 15, 16, 32, 49, 56, 52, 40, 30]).astype(
        np.float32
    )
    outline = cv2.GaussianBlur(outline[:, None], (1, 0), sigmaX=0.01, sigmaY=14)
    across = (x - middle) / outline
    lean = np.gradient(outline[:, 0])[:, None] * FINE
    round_ = np.sqrt(np.clip(1 - across**2, 0, 1))
    steep = np.sqrt(1 + lean**2)
    normal = np.stack([across / steep, np.broadcast_to(-lean / steep, x.shape), round_ / steep], -1).astype(np.float32)
    shape = (x.shape[0], x.shape[1])
    drip = 0.06 * fractal(rng, (8, shape[1]), 1.2, 120)[:1] + 0.02 * fractal(rng, shape, 1.2, 60)
    glaze = ramp(
        height + drip, [(0.30, "#2c5f73"), (0.52, "#4f94a0"), (0.60, "#d9cfb6"), (0.64, "#a98f6c"), (1, "#8a6d4d")]
    )
    speckle = smoothstep(1.6, 2.2, fractal(rng, shape, 0.5, 14))
    glaze = mix(glaze, np.broadcast_to(rgb("#2d2620"), glaze.shape), 0.55 * speckle)
    # The foot and the rim are circles seen from slightly above.
    sag = 8 * round_
    cover = smoothstep(1.012, 0.988, np.abs(across)) * smoothstep(foot + sag + 0.5, foot + sag - 0.5, y)
    cover = cover * smoothstep(top - 0.5, top + 0.5, y)
    picture = _shadow(picture, x, y, (middle, foot - 2), 52)
    picture = mix(picture, _shade(normal, glaze, 0.5), cover)
    rim = np.hypot((x - middle) / 20.5, (y - top - 1) / 5.5)
    picture = mix(picture, np.broadcast_to(rgb("#3f7384"), picture.shape), smoothstep(1.05, 0.97, rim))
    return mix(picture, np.broadcast_to(rgb("#0d1518"), picture.shape), smoothstep(0.86, 0.74, rim))
