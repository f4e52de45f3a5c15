"""A mountain valley from the air: the camera glides forward and pans right over a lake between wooded slopes.

The ground is a height map drawn by ray marching, column by column (the "voxel space" of Comanche, 1992), so near
slopes really pass in front of far ones. It is the film's model long take: one camera move, full daylight.
"""

import cv2
import numpy as np

from pipelines.filmmaker.texture import (
    HEIGHT,
    WIDTH,
    Image,
    Plane,
    fractal,
    hillshade,
    mix,
    pixel_grid,
    ramp,
    rgb,
    ridged,
    smoothstep,
)

MAP = 1024  # texels a side; the world repeats beyond
FOCAL = 540.0  # pixels: 61 degrees across
ROWS = 2 * HEIGHT  # drawn at twice the height, then averaged, so that crests are anti-aliased
HORIZON = 0.36 * ROWS
WATER = 14.0  # lake level, in texels


class Landscape:
    """Frames of the valley; `frame(i)` gives RGB float32 0..1 of shape (360, 640, 3)."""

    def __init__(self, rng: np.random.Generator, frames: int) -> None:
        self.frames = frames
        self.height = _terrain(rng)
        ground = _ground(rng, self.height)
        # One map for near, middle and far ground: what is small on screen must be sampled from a smaller map.
        self.ground = [ground, cv2.pyrDown(ground), cv2.pyrDown(cv2.pyrDown(ground))]
        self.depth = (110 * (1500 / 110) ** np.linspace(0, 1, 340, dtype=np.float32))[:, None]
        self.bands = [0, *np.searchsorted(self.depth[:, 0], (420, 800)), len(self.depth)]
        self.haze = (1 - np.exp(-((self.depth / 1050) ** 1.6)))[..., None]
        self.column = ((np.arange(WIDTH) - WIDTH / 2 + 0.5) / FOCAL).astype(np.float32)[None, :]
        self.sky = _sky(rng)
        self.grid = pixel_grid(ROWS, WIDTH)

    def frame(self, index: int) -> Image:
        """The view at frame `index`."""
        share = index / max(self.frames - 1, 1)
        yaw = -0.42 + 0.78 * (share + 0.05 * np.sin(2 * np.pi * share))
        east, north, altitude = 40 + 95 * share, 512.0, 118 - 10 * share
        ahead, aside = (np.cos(yaw), np.sin(yaw)), (-np.sin(yaw), np.cos(yaw))
        x = (east + self.depth * (ahead[0] + self.column * aside[0])).astype(np.float32)
        y = (north + self.depth * (ahead[1] + self.column * aside[1])).astype(np.float32)
        ground_height = cv2.remap(self.height, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        row = HORIZON + 2 * FOCAL * (altitude - ground_height) / self.depth

        colour = np.empty((*x.shape, 3), np.float32)
        for level, (start, end) in enumerate(zip(self.bands, self.bands[1:], strict=False)):
            scale = 2 / 2**level
            colour[start:end] = cv2.remap(
                self.ground[level],
                x[start:end] * scale,
                y[start:end] * scale,
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_WRAP,
            )
        colour += (rgb("#c3cfd8") - colour) * self.haze
        return self._draw(row.astype(np.float32), colour, yaw)

    def _draw(self, row: Plane, colour: Image, yaw: float) -> Image:
        """Put each depth's colour on the rows that see it: `row` and `colour` are per (depth, column)."""
        depths = len(row)
        skyline = np.minimum.accumulate(row, axis=0)
        # A pixel sees the first depth whose running skyline is at or above it, so count the depths still below it.
        last = np.clip(np.ceil(skyline), 0, ROWS).astype(np.int32)
        cells = np.bincount((last * WIDTH + np.arange(WIDTH)).ravel(), minlength=(ROWS + 1) * WIDTH)
        counts = cells.reshape(ROWS + 1, WIDTH)[::-1].cumsum(0)[::-1]
        seen = counts[1:]
        behind = np.clip(seen, 1, depths - 1)
        flat = behind * WIDTH + np.arange(WIDTH)
        far, near = row.ravel()[flat], row.ravel()[flat - WIDTH]
        part = np.clip((near - self.grid[1]) / np.maximum(near - far, 1e-3), 0, 1)
        land = cv2.remap(colour, self.grid[0], (behind - 1 + part).astype(np.float32), cv2.INTER_LINEAR)
        is_sky = (seen >= depths).astype(np.float32)
        half = (WIDTH, HEIGHT)
        cover = cv2.resize(is_sky, half, interpolation=cv2.INTER_AREA)
        land = cv2.resize(land * (1 - is_sky)[..., None], half, interpolation=cv2.INTER_AREA)
        shift = np.array([[1, 0, FOCAL * (yaw + 0.6)], [0, 1, 0]], np.float32)
        sky = cv2.warpAffine(self.sky, shift, half, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        return np.asarray(land + sky * cover[..., None], np.float32)


def _terrain(rng: np.random.Generator) -> Plane:
    """Heights in texels: ridges on both sides of a winding valley that runs along x, a lake on its floor."""
    x, y = pixel_grid(MAP, MAP)
    bend = 45 * np.sin(2 * np.pi * x / MAP) + 18 * np.sin(6 * np.pi * x / MAP + 1)
    from_valley = np.abs(y - MAP / 2 - bend) + 22 * fractal(rng, (MAP, MAP), 1.9, 300)
    walls = smoothstep(25, 330, from_valley)
    mountains = ridged(rng, (MAP, MAP), 430, 8)
    hills = fractal(rng, (MAP, MAP), 1.9, 260)
    height = walls * (26 + 150 * mountains) + 9 * hills * (0.3 + walls) + 8
    return np.maximum(cv2.GaussianBlur(height, (0, 0), 0.8), WATER).astype(np.float32)


def _ground(rng: np.random.Generator, height: Plane) -> Image:
    """The colour of the lit ground at two texels a unit: shape (2048, 2048, 3)."""
    size = 2 * MAP
    height = cv2.resize(height, (size, size), interpolation=cv2.INTER_CUBIC)
    patches = fractal(rng, (size, size), 1.5, 400)
    grit = fractal(rng, (size, size), 0.7, 24)
    steep = cv2.magnitude(cv2.Sobel(height, cv2.CV_32F, 1, 0), cv2.Sobel(height, cv2.CV_32F, 0, 1)) / 4
    level = height + 12 * patches
    meadow = ramp(level, [(14, "#8f9a5a"), (40, "#76893f"), (75, "#66793c"), (110, "#857d58"), (160, "#8d8878")])
    rock = ramp(patches + 0.4 * grit, [(-2, "#5a5148"), (0, "#857868"), (2, "#a99a86")])
    trees = np.clip(smoothstep(-0.25, 0.35, patches) * smoothstep(20, 32, height) * smoothstep(105, 80, level), 0, 1)
    crowns = np.clip(grit * 0.5 + 0.5, 0, 1)
    colour = mix(meadow, ramp(crowns, [(0, "#16260f"), (0.6, "#33491d"), (1, "#56692c")]), trees)
    colour = mix(colour, rock, smoothstep(0.75, 1.25, steep + 0.12 * grit) * (1 - 0.6 * trees))
    snow = smoothstep(100, 125, level + 9 * grit) * smoothstep(1.9, 1.0, steep)
    colour = mix(colour, np.broadcast_to(rgb("#f4f6fa"), colour.shape), snow)
    bumpy = height + trees * grit * 1.1 + 0.25 * grit
    light = hillshade(bumpy, 1.7) * _sunlit(height)
    colour = colour * (0.34 * rgb("#8ea6d8") + 1.25 * light[..., None] * rgb("#fff0d2"))
    depth = smoothstep(WATER + 0.4, WATER, height) * (0.75 + 0.1 * patches)
    water = ramp(fractal(rng, (size, size), 1.0, 40), [(-3, "#456f82"), (0, "#54808f"), (3, "#6f99a6")])
    shore = smoothstep(WATER + 2.2, WATER + 0.6, height) * 0.8
    colour = mix(colour, np.broadcast_to(rgb("#b5a880"), colour.shape), shore)
    return np.clip(mix(colour, water, np.clip(depth * 1.3, 0, 1)), 0, 1)


def _sunlit(height: Plane) -> Plane:
    """1 where the low sun reaches, 0.25 in the shadow of what stands towards it, soft at the edges."""
    ceiling = np.full_like(height, -1e9)
    for step in range(6, 240, 6):
        ceiling = np.maximum(ceiling, np.roll(height, (round(step * 0.64), round(step * 0.77)), (0, 1)) - step * 0.42)
    return cv2.GaussianBlur(0.25 + 0.75 * smoothstep(6, -2, ceiling - height), (0, 0), 1.5)


def _sky(rng: np.random.Generator) -> Image:
    """A panorama wider than the pan: clouds lie on a plane seen in perspective, brighter towards the sun."""
    width = WIDTH + 640
    x, y = pixel_grid(HEIGHT, width)
    above = np.clip(HORIZON / 2 - y, 0.5, None)
    distance = np.clip(16000 / (above + 14), 0, 1e4)
    side = (x - width / 2) / FOCAL * distance
    cloud_map = fractal(rng, (1024, 1024), 1.55, 420)
    cloud = cv2.remap(cloud_map, side, distance * 1.3, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    lit = cv2.remap(cloud_map, side - 9, distance * 1.3 - 9, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    blue = ramp(above, [(0, "#cfd8dd"), (40, "#a9c6e0"), (130, "#5f97d3")])
    glow = np.exp(-(((x - 250) / 260) ** 2) - ((y - 40) / 130) ** 2)
    blue = mix(blue, np.broadcast_to(rgb("#fff3d6"), blue.shape), 0.7 * glow)
    body = ramp(cloud - lit, [(-1.2, "#ffffff"), (0, "#eef0f2"), (1.2, "#b3bdca")])
    cover = smoothstep(0.1, 1.5, cloud) * smoothstep(2, 40, above) * 0.92
    return mix(blue, body, cover)
