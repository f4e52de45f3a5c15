"""What is filmed: takes, their order, lengths, transitions, flashes and speech, read from a YAML file and checked.

The bundled one is `data/storyboard.yaml`. From it alone `film.py` works out every frame number of the truth.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from curate.documents import DocumentError, read_yaml
from pipelines.filmmaker.scenes import SCENES
from pipelines.filmmaker.texture import FPS

EDITION = 1
"""Raised whenever the same storyboard would give other frames, so that an older film is made again."""

Seconds = Annotated[float, Field(ge=0, le=600)]


class StoryboardError(ValueError):
    """The storyboard cannot be filmed; the message says where and why."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Entrance(_Strict):
    """How a take follows the one before it."""

    kind: Literal["cut", "dissolve", "fade"] = "cut"
    seconds: Annotated[
        Seconds, Field(description="length of a dissolve, or of a whole fade out and in; 0 for a cut")
    ] = 0.0

    @property
    def frames(self) -> int:
        """The transition's length in frames."""
        return round(self.seconds * FPS)

    @model_validator(mode="after")
    def _has_its_length(self) -> Self:
        if self.kind == "cut" and self.seconds:
            raise ValueError("a cut takes no time: leave out `seconds`")
        if self.kind != "cut" and self.frames < 4:
            raise ValueError(f"a {self.kind} needs at least {4 / FPS} seconds")
        return self


class Speech(_Strict):
    """A stretch of speech, in seconds from the start of its take."""

    voice: Literal["low", "high"]
    start_s: Seconds
    end_s: Seconds


class Take(_Strict):
    """One run of the camera."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    scene: str
    description: str
    seconds: Annotated[Seconds, Field(ge=0.4)]
    seed: Annotated[int, Field(ge=0)]
    grain: Annotated[float, Field(ge=0, le=20, description="standard deviation of the film grain, in grey levels")] = (
        2.0
    )
    enter: Entrance = Entrance()
    flash_at_s: Annotated[
        tuple[Seconds, ...], Field(description="one over-exposed frame each, from the take's start")
    ] = ()
    speech: tuple[Speech, ...] = ()

    @property
    def frames(self) -> int:
        """The take's length in frames, what it shares with its neighbours included."""
        return round(self.seconds * FPS)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.scene not in SCENES:
            raise ValueError(f"no scene is called {self.scene!r}; there are {', '.join(SCENES)}")
        if any(round(moment * FPS) >= self.frames for moment in self.flash_at_s):
            raise ValueError(f"a flash comes after the take's end at {self.seconds} s")
        if any(not part.start_s < part.end_s <= self.seconds for part in self.speech):
            raise ValueError(f"speech must start before it ends, and end within the take's {self.seconds} s")
        return self


class Storyboard(_Strict):
    """A whole film."""

    takes: Annotated[tuple[Take, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _can_be_cut_together(self) -> Self:
        names = [take.name for take in self.takes]
        if len(set(names)) < len(names):
            raise ValueError(f"two takes have the same name: {', '.join(names)}")
        if self.takes[0].enter != Entrance():
            raise ValueError(f"take {names[0]}: nothing comes before the first take, so it cannot have `enter`")
        for take, following in zip(self.takes, [*self.takes[1:], None], strict=True):
            leaves = following.enter.frames if following else 0
            clear = take.frames - take.enter.frames - leaves
            if clear < FPS // 5:
                raise ValueError(f"take {take.name}: its transitions leave less than {FPS // 5} frames of it clear")
            for moment in take.flash_at_s:
                if not take.enter.frames < round(moment * FPS) < take.frames - leaves - 1:
                    raise ValueError(f"take {take.name}: the flash at {moment} s would touch a transition")
        return self

    @property
    def digest(self) -> str:
        """A hash of all that decides the film's frames."""
        return hashlib.sha256(f"{EDITION} {self.model_dump_json()}".encode()).hexdigest()


def bundled() -> Path:
    """The storyboard that comes with the project: inside the installed package, or in the checkout's `data/`."""
    package = Path(__file__).resolve().parent.parent
    folder = package / "data" if (package / "data").is_dir() else package.parent / "data"
    return folder / "storyboard.yaml"


def read_storyboard(path: Path) -> Storyboard:
    """Read and check a storyboard; raises `StoryboardError` with every fault and where it is."""
    try:
        return Storyboard.model_validate(read_yaml(path.read_bytes()))
    except DocumentError as error:
        raise StoryboardError(f"{path} is not YAML: {error}") from error
    except OSError as error:
        raise StoryboardError(f"cannot read the storyboard {path}: {error.strerror}") from error
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc'])) or 'storyboard'}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        ]
        raise StoryboardError(f"{path} cannot be filmed: {'; '.join(faults)}") from error
