"""A flock crossing a sunset: a glimpse of a few seconds, to be turned down for its length.

Each bird is two flapping wings and a body, filled as polygons with sub-pixel corners over a sky painted once.
"""

import cv2
import numpy as np

from pipelines.filmmaker.texture import (
    FPS,
    HEIGHT,
    WIDTH,
    Image,
    fractal,
    mix,
    pixel_grid,
    ramp,
    rgb,
    smoothstep,
)

SUBPIXEL = 4  # bits after the point in OpenCV's polygon corners


class Birds:
    """Frames of the flock; `frame(i)` gives RGB float32 0..1 of shape (360, 640, 3)."""

    def __init__(self, rng: np.random.Generator, frames: int) -> None:
        self.sky = _sunset(rng)
        count = 34
        rank = np.arange(count)
        wing = np.where(rank % 2, 1, -1) * (rank // 2)
        self.x = 120 - 15.0 * (rank // 2) + rng.normal(0, 9, count)
        self.y = 150 + 9.0 * wing * rng.uniform(0.5, 1.2, count) + rng.normal(0, 7, count)
        self.size = rng.uniform(8, 15, count)
        self.phase = rng.uniform(0, 1, count)
        self.pace = rng.uniform(2.6, 3.6, count)

    def frame(self, index: int) -> Image:
        """The view at frame `index`."""
        time_s = index / FPS
        cover = np.zeros((HEIGHT, WIDTH), np.uint8)
        for x, y, size, phase, pace in zip(self.x, self.y, self.size, self.phase, self.pace, strict=True):
            beat = np.sin(2 * np.pi * (pace * time_s + phase))
            centre = np.array(
                [x + 112 * time_s, y - 9 * time_s + 2.5 * np.sin(2 * time_s + 6 * phase) - 0.12 * size * beat]
            )
            for shape in _bird(float(beat)):
                corners = np.round((centre + size * shape) * 2**SUBPIXEL).astype(np.int32)
                cv2.fillPoly(cover, [corners], 255, cv2.LINE_AA, SUBPIXEL)
        shade = cv2.GaussianBlur(cover, (0, 0), 0.6).astype(np.float32) / 255
        drift = np.array([[1, 0, -20 - 6 * time_s], [0, 1, 0]], np.float32)
        sky = cv2.warpAffine(self.sky, drift, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
        return mix(sky, np.broadcast_to(rgb("#1c1016"), sky.shape), 0.93 * shade)


def _bird(beat: float) -> list[np.ndarray]:
    """Body and two wings as polygons around (0, 0), one wing's length long; `beat` runs from -1 (down) to 1 (up)."""
    tip, elbow = -0.95 * beat - 0.1, -0.5 * beat - 0.22
    body = np.array([[0.5, -0.04], [0.36, -0.12], [0, -0.13], [-0.5, 0.0], [-0.62, 0.1], [-0.1, 0.12], [0.34, 0.06]])
    near = np.array([[0.22, -0.05], [0.16, elbow], [-0.25, tip], [-0.18, elbow + 0.12], [-0.2, 0.02]])
    far = np.array([[0.26, -0.06], [0.34, 0.85 * elbow], [0.2, 0.85 * tip], [0.08, 0.85 * elbow + 0.1], [-0.04, 0.0]])
    return [body, near, far]


def _sunset(rng: np.random.Generator) -> Image:
    """Sky, sun, banks of cloud lit from below and a dark ridge: wider than the frame, for a slow drift."""
    width = WIDTH + 80
    x, y = pixel_grid(HEIGHT, width)
    sky = ramp(y, [(0, "#33406f"), (110, "#9a5f78"), (205, "#ee8a4c"), (290, "#ffd27a")])
    away = np.hypot(x - 500, y - 268)
    sky = sky + np.exp(-((away / 120) ** 1.3))[..., None] * rgb("#ffb45a") * 0.7
    sky = mix(sky, np.broadcast_to(rgb("#fffbe6"), sky.shape), smoothstep(29, 26, away))
    distance = 9000 / np.clip(300 - y, 12, None)
    cloud_map = fractal(rng, (1024, 1024), 1.6, 300)
    side = (x - 360) * distance / 160
    cloud = cv2.remap(cloud_map, side, distance * 2.4, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    lit = cv2.remap(cloud_map, side, distance * 2.4 + 12, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    tint = ramp(cloud - lit, [(-1, "#ffb27a"), (0, "#c26a68"), (1, "#59406a")])
    sky = mix(sky, tint, 0.85 * smoothstep(0.2, 1.5, cloud) * smoothstep(292, 230, y))
    ridge = 306 + 14 * fractal(rng, (8, width), 1.3, 300)[:1] + 1.5 * fractal(rng, (8, width), 0.6, 12)[:1]
    hills = ramp(y, [(280, "#5a3040"), (360, "#150d16")])
    return np.clip(mix(sky, hills, smoothstep(-0.8, 0.8, y - ridge)), 0, 1)
