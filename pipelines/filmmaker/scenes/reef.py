"""A reef under water from a tripod: the camera stands still, fish swim, and light plays on sand and in the water.

The floor and the open water are painted once. Each frame adds beams and caustics and warps every fish's sprite, so that
its body bends from the gills back as it swims.
"""

from typing import NamedTuple

import cv2
import numpy as np

from pipelines.filmmaker.scenes.fish import LONG, TALL, Coat, paint_fish
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

SAND = 262  # the far edge of the floor, pixels from the top
COATS = (
    Coat("#e8862a", "#f7e3c0", "#fdf3e4", 3.2),
    Coat("#3568c4", "#8fc3ea", "#f2d43c", 1.6),
    Coat("#d8b91f", "#f6ecad", "#2b3140", 4.5),
    Coat("#8d9aa3", "#dfe7ea", "#59656e", 7.0),
)


class Swimmer(NamedTuple):
    """One fish's way: where it starts, in pixels, how fast it goes, and how it looks."""

    x: float
    y: float
    speed_px_per_s: float  # negative: to the left
    scale: float
    far: float  # 0 at the glass, 1 lost in the blue
    phase: float
    coat: int


class Reef:
    """Frames of the reef; `frame(i)` gives RGB float32 0..1 of shape (360, 640, 3)."""

    def __init__(self, rng: np.random.Generator, frames: int) -> None:
        self.sprites = [paint_fish(rng, coat) for coat in COATS]
        self.swimmers = sorted(_shoal(rng), key=lambda swimmer: -swimmer.far)
        self.picture, self.floor = _sea_floor(rng)
        self.light = band(rng, (512, 512), 74)
        x, y = pixel_grid(HEIGHT, WIDTH)
        self.angle = (x - 250) / (y + 330) * 420
        self.beam_reach = smoothstep(330, 30, y) * 0.2
        floor_y = y[SAND - 40 :] - SAND + 62
        self.caustic_x, self.caustic_y = (x[SAND - 40 :] - 320) * 60 / floor_y, 5200 / floor_y
        self.water = ramp(y, [(0, "#3f9fc0"), (120, "#1b6f9f"), (300, "#114a74")])

    def frame(self, index: int) -> Image:
        """The view at frame `index`."""
        time_s = index / FPS
        picture = self.picture.copy()
        bottom = picture[SAND - 40 :]
        ripples = [
            cv2.remap(
                self.light,
                self.caustic_x + way * 13 * time_s,
                self.caustic_y + 9 * time_s + 70 * way,
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_WRAP,
            )
            for way in (-1, 1)
        ]
        web = np.clip(1 - 1.5 * np.abs(ripples[0] + ripples[1]) / 2, 0, 1) ** 3
        bottom *= (1 + (0.55 * web - 0.1) * self.floor[SAND - 40 :])[..., None]
        for swimmer in self.swimmers:
            self._swim(picture, swimmer, time_s)
        row = np.full_like(self.angle, 11 * time_s)
        beams = cv2.remap(self.light, self.angle, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        beams = np.clip(beams + 0.2, 0, None) * self.beam_reach
        return np.asarray(picture + beams[..., None] * rgb("#9fe0f0"), np.float32)

    def _swim(self, picture: Image, swimmer: Swimmer, time_s: float) -> None:
        """Warp one fish's sprite into its place, in `picture`."""
        lane = WIDTH + 260 * swimmer.scale
        left = (swimmer.x + swimmer.speed_px_per_s * time_s) % lane - 130 * swimmer.scale
        centre_y = swimmer.y + 7 * np.sin(0.8 * time_s + 5 * swimmer.phase)
        half_x, half_y = LONG / 2 * swimmer.scale, TALL / 2 * swimmer.scale
        x0, x1 = max(0, int(left - half_x)), min(WIDTH, int(left + half_x) + 1)
        y0, y1 = max(0, int(centre_y - half_y)), min(HEIGHT, int(centre_y + half_y) + 1)
        if x0 >= x1 or y0 >= y1:
            return
        facing = 1 if swimmer.speed_px_per_s > 0 else -1
        along = (np.arange(x0, x1, dtype=np.float32) - np.float32(left)) / swimmer.scale * facing + LONG / 2
        across = (np.arange(y0, y1, dtype=np.float32) - np.float32(centre_y)) / swimmer.scale + TALL / 2
        behind_gills = np.clip((LONG * 0.7 - along) / LONG, 0, 1)
        beat = 2 * np.pi * (1.3 * time_s * (abs(swimmer.speed_px_per_s) / 50 + 0.4) + swimmer.phase)
        # Seen from the side a tail swings towards the eye: it looks shorter and longer, and a little up and down.
        along = along - 22 * behind_gills**1.4 * (0.5 + 0.5 * np.sin(beat - 4 * behind_gills))
        map_x = np.broadcast_to(along.astype(np.float32)[None, :], (y1 - y0, x1 - x0))
        bob = 5 * behind_gills * np.sin(beat + 1 - 5 * behind_gills)
        map_y = (across[:, None] + bob[None, :]).astype(np.float32)
        level = 1 if swimmer.scale < 0.4 else 0
        sprite = cv2.remap(
            self.sprites[swimmer.coat][level],
            np.ascontiguousarray(map_x) / 2**level,
            map_y / 2**level,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
        )
        part = picture[y0:y1, x0:x1]
        cover = sprite[..., 3:]
        colour = sprite[..., :3] + (self.water[y0:y1, x0:x1] - sprite[..., :3]) * cover * np.float32(swimmer.far)
        # The sprite's colour is already multiplied by its cover.
        part *= 1 - cover
        part += colour * np.where(cover > 0, 1, 0)


def _shoal(rng: np.random.Generator) -> list[Swimmer]:
    """Seven fish each on its own way, and a school of small ones that keep together."""
    alone = [
        Swimmer(
            rng.uniform(0, WIDTH),
            60 + 25 * lane + rng.uniform(-8, 8),
            way * rng.uniform(42, 84),
            scale,
            far,
            rng.uniform(0, 1),
            lane % 3,
        )
        for lane, (way, scale, far) in enumerate(
            (
                (1, 0.45, 0.5),
                (-1, 0.62, 0.32),
                (1, 0.85, 0.12),
                (-1, 0.5, 0.42),
                (1, 0.7, 0.25),
                (-1, 0.98, 0.05),
                (1, 0.55, 0.36),
            )
        )
    ]
    school = [
        Swimmer(
            150 + rng.normal(0, 62),
            96 + rng.normal(0, 24),
            60 + rng.normal(0, 1.5),
            rng.uniform(0.17, 0.25),
            0.45,
            rng.uniform(0, 1),
            3,
        )
        for _ in range(22)
    ]
    return alone + school


def _sea_floor(rng: np.random.Generator) -> tuple[Image, Plane]:
    """The empty picture, (360, 640, 3), and how much of the caustics each pixel takes, (360, 640)."""
    shape = (HEIGHT, WIDTH)
    x, y = pixel_grid(*shape)
    water = ramp(y - 0.12 * np.abs(x - 260), [(-40, "#8fdbe6"), (20, "#3fa3c4"), (130, "#1a6c9c"), (290, "#124c76")])
    depth = np.clip(y - SAND + 40, 4, None)
    dunes = cv2.remap(
        fractal(rng, (512, 512), 1.3, 90),
        (x - 320) * 90 / depth,
        9000 / depth,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    sand_light = hillshade(dunes * 1.9 + fractal(rng, shape, 0.6, 8) * 0.5, 0.9, (-0.3, -0.5, 0.8))
    sand = (0.35 + 0.75 * sand_light)[..., None] * ramp(
        y, [(SAND - 20, "#3f8aa6"), (SAND + 30, "#9fb39a"), (360, "#d3c79a")]
    )
    edge = y - SAND - 7 * fractal(rng, (8, WIDTH), 1.6, 400)[:1]
    picture = mix(water, sand, smoothstep(-5, 9, edge))
    floor = smoothstep(-5, 30, edge)
    for centre, top, wide, haze, tint in (
        (575, 128, 120, 0.55, "#8a6f86"),
        (40, 150, 105, 0.42, "#7d7f63"),
        (498, 216, 92, 0.16, "#a3566a"),
        (118, 246, 84, 0.12, "#b58347"),
        (330, 286, 62, 0.04, "#6d7f4c"),
        (610, 262, 80, 0.05, "#8d5f93"),
    ):
        picture, floor = _boulder(rng, (picture, floor), (centre, top, wide), haze, rgb(tint))
    return np.clip(picture, 0, 1), floor


def _boulder(
    rng: np.random.Generator, scene: tuple[Image, Plane], place: tuple[int, int, int], haze: float, tint: Plane
) -> tuple[Image, Plane]:
    """Set one overgrown rock on the floor: knobbly outline, coral bumps lit from above, darker at its foot."""
    picture, floor = scene
    centre, top, wide = place
    shape = (HEIGHT, WIDTH)
    x, y = pixel_grid(*shape)
    knobs = fractal(rng, shape, 1.25, 90)
    foot = min(SAND + 12 + (top - 120) * 0.45, HEIGHT + 30)
    bulge = 1 - ((np.abs(x - centre) / wide) ** 2.4 + ((foot - y) / (foot - top)).clip(0) ** 2.2) + 0.1 * knobs
    polyps = np.abs(band(rng, shape, 11)) + 0.4 * fractal(rng, shape, 0.7, 14)
    relief = 26 * np.sqrt(np.clip(bulge, 0, 1)) + 3.2 * knobs - 1.6 * polyps
    light = hillshade(relief, 0.5, (-0.25, -0.85, 0.45))
    growth = ramp(band(rng, shape, 60) + 0.3 * polyps, [(-1.5, "#39424a"), (0.2, "#6d6658"), (1.6, "#b7a58a")])
    colour = (0.5 * growth + 0.75 * tint) * (0.22 + 1.0 * light)[..., None]
    colour = colour * smoothstep(foot + 12, foot - 60, y)[..., None].clip(0.35)
    colour = mix(colour, np.broadcast_to(rgb("#1c648f"), colour.shape), np.full(shape, haze, np.float32))
    shade = smoothstep(1.5, 0.4, np.hypot((x - centre - 14) / wide, (y - foot) / 26)) * 0.5
    cover = smoothstep(0.0, 0.05, bulge) * smoothstep(foot + 5, foot + 1, y + 3 * knobs)
    return mix(picture * (1 - shade * floor)[..., None], colour, cover), floor * (1 - 0.6 * cover)
