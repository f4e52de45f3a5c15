"""The scenes a storyboard may ask for, by name. Each is a class that paints its textures once and then gives frames."""

from typing import Protocol

import numpy as np

from pipelines.filmmaker.scenes.birds import Birds
from pipelines.filmmaker.scenes.city import City
from pipelines.filmmaker.scenes.landscape import Landscape
from pipelines.filmmaker.scenes.reef import Reef
from pipelines.filmmaker.scenes.rock import Rock
from pipelines.filmmaker.scenes.still_life import StillLife
from pipelines.filmmaker.texture import Image


class Scene(Protocol):
    """One take being filmed: made from a seeded generator and its number of frames."""

    def __init__(self, rng: np.random.Generator, frames: int) -> None: ...

    def frame(self, index: int) -> Image:
        """Frame `index`, 0 <= index < frames: RGB float32 about 0..1 of shape (360, 640, 3)."""
        ...


SCENES: dict[str, type[Scene]] = {
    "birds": Birds,
    "city": City,
    "landscape": Landscape,
    "reef": Reef,
    "rock": Rock,
    "still_life": StillLife,
}
