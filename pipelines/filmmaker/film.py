"""The cutting room: lays a storyboard's takes on one timeline, knows the truth about it, and gives its frames in order.

Frames are made one at a time and only when asked for; a scene lives from its take's first frame to its last.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.filmmaker.scenes import SCENES
from pipelines.filmmaker.storyboard import Storyboard, Take
from pipelines.filmmaker.texture import FPS, HEIGHT, WIDTH, fractal, pixel_grid

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class Shot:
    """A take on the timeline: it shows, alone or in a transition, on frames start..end-1."""

    take: Take
    start: int
    end: int


@dataclass(frozen=True)
class Transition:
    """From one shot to the next: a cut has start == end, the new shot's first frame; else it covers start..end-1."""

    start: int
    end: int
    kind: str


class Film:
    """A storyboard on the timeline."""

    def __init__(self, storyboard: Storyboard) -> None:
        self.shots: list[Shot] = []
        self.transitions: list[Transition] = []
        for take in storyboard.takes:
            kind, length = take.enter.kind, take.enter.frames
            end_before = self.shots[-1].end if self.shots else 0
            # Two shots overlap in a dissolve; in a fade they meet in the middle, at black.
            start = end_before - length if kind == "dissolve" else end_before
            if self.shots:
                first = end_before - (length // 2 if kind == "fade" else length)
                self.transitions.append(Transition(first, first + length, kind))
            self.shots.append(Shot(take, start, start + take.frames))
        self.frame_count = self.shots[-1].end
        self.flashes = [shot.start + round(moment * FPS) for shot in self.shots for moment in shot.take.flash_at_s]

    def truth(self) -> dict[str, Any]:
        """What is in the film, in 0-based frame numbers; `end` is the first frame after a shot."""
        return {
            "fps": FPS,
            "frames": self.frame_count,
            "transitions": [{"start": item.start, "end": item.end, "kind": item.kind} for item in self.transitions],
            "flashes": self.flashes,
            "shots": [
                {"start": shot.start, "end": shot.end, "take": shot.take.name, "description": shot.take.description}
                for shot in self.shots
            ],
        }

    def frames(self) -> Iterator[Frame]:
        """Every frame in order: RGB uint8 of shape (360, 640, 3)."""
        rolling: dict[str, Iterator[Frame]] = {}
        for number in range(self.frame_count):
            pictures = []
            for shot in self.shots:
                if shot.start <= number < shot.end:
                    camera = rolling.get(shot.take.name) or rolling.setdefault(shot.take.name, film_take(shot.take))
                    pictures.append(next(camera))
                else:
                    rolling.pop(shot.take.name, None)
            picture = self._join(number, pictures)
            if number in self.flashes:
                picture = np.clip(picture.astype(np.float32) * 2.2 + 105, 0, 255).astype(np.uint8)
            yield picture

    def _join(self, number: int, pictures: list[Frame]) -> Frame:
        """Blend or darken, as the transition at frame `number` asks."""
        for change in self.transitions:
            if not change.start <= number < change.end:
                continue
            if change.kind == "dissolve":
                share = (number - change.start + 1) / (change.end - change.start + 1)
                blend = pictures[0] * np.float32(1 - share) + pictures[1] * np.float32(share)
                return np.asarray(blend + 0.5, np.uint8)
            middle = change.start + (change.end - change.start) // 2
            down = 1 - (number - change.start + 1) / (middle - change.start)
            up = (number - middle) / (change.end - middle)
            return np.asarray(pictures[0] * np.float32(down if number < middle else up) + 0.5, np.uint8)
        return pictures[0]


def film_take(take: Take) -> Iterator[Frame]:
    """The take's frames as a camera records them: the lens darkens the corners, the film adds grain."""
    scene_rng, grain_rng = np.random.default_rng(take.seed).spawn(2)
    scene = SCENES[take.scene](scene_rng, take.frames)
    x, y = pixel_grid(HEIGHT, WIDTH)
    off_axis = np.hypot(x - WIDTH / 2, y - HEIGHT / 2) / np.hypot(WIDTH / 2, HEIGHT / 2)
    exposure = (255 * (1 - 0.22 * off_axis**2.5))[..., None].astype(np.float32)
    # Grain about two pixels wide survives compression; a fresh crop of one large tile is as good as new grain.
    grain = fractal(grain_rng, (2 * HEIGHT, 2 * WIDTH), 0.5, 6)[..., None] * np.float32(take.grain)
    for index in range(take.frames):
        top, left = grain_rng.integers(0, (HEIGHT, WIDTH))
        picture = scene.frame(index) * exposure + grain[top : top + HEIGHT, left : left + WIDTH] + np.float32(0.5)
        yield np.clip(picture, 0, 255).astype(np.uint8)
