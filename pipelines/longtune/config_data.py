"""The section `data` of a run's configuration: which windows are cut from the takes, and what is said of them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

# Wan2.1: one latent for the first frame, then one for every 4; a latent covers 8x8 pixels, a token 2x2 latents.
FRAMES_PER_LATENT = 4
PIXELS_PER_TOKEN = 16


class Part(BaseModel):
    """A section, frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class BucketConfig(Part):
    """A shape that windows come in."""

    frames: int = Field(ge=1, description="Frames in a window, 4k+1.")
    height: int = Field(ge=16, multiple_of=PIXELS_PER_TOKEN, description="Pixels.")
    width: int = Field(ge=16, multiple_of=PIXELS_PER_TOKEN, description="Pixels.")

    @property
    def latents(self) -> int:
        """Latent frames in a window."""
        return (self.frames - 1) // FRAMES_PER_LATENT + 1

    @model_validator(mode="after")
    def _whole_latents(self) -> Self:
        if (self.frames - 1) % FRAMES_PER_LATENT:
            # AutoencoderKLWan.encode drops the tail in silence otherwise.
            low = (self.frames - 1) // FRAMES_PER_LATENT * FRAMES_PER_LATENT + 1
            raise ValueError(f"frames must be 4k+1 for the VAE; {self.frames} is not, {low} and {low + 4} are")
        return self


class CaptionsConfig(Part):
    """What is said of a window."""

    level: Literal["text", "clip", "shot", "event", "story"] = Field(
        default="text",
        description="text is the sample's .txt, one caption for the whole take, which every WebDataset has; the others "
        "are levels of the caption tree in our .json: clip changes every few seconds.",
    )
    switches: bool = Field(
        default=True,
        description="A window may hold several captions, each from a block on, and one of them is trained; else the "
        "one in force longest stands for all of the window.",
    )
    drop: float = Field(
        default=0.1, ge=0, le=1, description="Share of windows trained without text, for guidance; 0.1 as in AnyFlow."
    )


def losses_file(given: str) -> Path:
    """A run's folder, or the file itself, as the file."""
    path = Path(given).expanduser()
    return path / "losses.parquet" if path.is_dir() else path


class DataConfig(BucketConfig):
    """How windows are cut from the takes."""

    frames: int = Field(default=81, ge=1, description="Frames in a window, 4k+1: 81 is Wan2.1's length (21 latents).")
    fps: float = Field(
        default=16, gt=0, le=120, description="Frames a second, sampled by time: Wan2.1 was trained at 16."
    )
    height: int = Field(default=480, ge=16, multiple_of=PIXELS_PER_TOKEN, description="Pixels; Wan2.1's 480p bucket.")
    width: int = Field(default=832, ge=16, multiple_of=PIXELS_PER_TOKEN, description="Pixels; Wan2.1's 480p bucket.")
    buckets: tuple[BucketConfig, ...] = Field(
        default=(),
        description="Shapes beside frames x height x width. A take goes to the nearest in aspect, and of these to the "
        "longest that it fills; a batch is of one bucket.",
    )
    windows: Literal["take", "length"] = Field(
        default="take",
        description="Windows of a take in a pass: one, so that takes count alike, or as many as fit side by side, "
        "so that seconds do.",
    )
    input: Literal["video", "latents"] = Field(
        default="video",
        description="Decode and encode windows on the way, or read the latents that the stage `latents` made.",
    )
    captions: CaptionsConfig = Field(default_factory=lambda: CaptionsConfig())
    losses: str | None = Field(
        default=None,
        description="An earlier run's folder or losses.parquet: what was hard there is drawn more often here, once a "
        "pass for each time its mean loss holds the median's, rounded. What cannot be learnt at all, `select` drops.",
    )
    most_draws: int = Field(
        default=4, ge=1, description="Draws of a take in a pass by `losses`, at most: ours, so that no few take all."
    )
    losses_sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        validate_default=True,
        description="Of the losses; filled in when the config is read, so that a run does not go on by others.",
    )
    batch_size: int = Field(
        default=1,
        ge=1,
        description="Windows in a step, over all ranks, so that a run is the same on any number of them; one window of "
        "480p is 65,520 tokens already.",
    )
    num_workers: int = Field(default=4, ge=0, description="Decoding processes of a rank; 0 decodes between steps.")
    on_bad_sample: Literal["skip", "error"] = Field(
        default="skip", description="A broken take is skipped, counted and named, or stops the run."
    )

    @property
    def shapes(self) -> tuple[BucketConfig, ...]:
        """Every bucket, the main one first."""
        return (BucketConfig(frames=self.frames, height=self.height, width=self.width), *self.buckets)

    @property
    def window_s(self) -> float:
        """Seconds from the first frame of a window to its last."""
        return (self.frames - 1) / self.fps

    @property
    def losses_file(self) -> Path | None:
        """The file that `losses` means."""
        return losses_file(self.losses) if self.losses is not None else None

    @field_validator("losses_sha256")
    @classmethod
    def _digest(cls, given: str | None, info: ValidationInfo) -> str | None:
        losses = info.data.get("losses")
        if losses is None or given is not None:
            return given if losses is not None else None
        try:
            return hashlib.sha256(losses_file(losses).read_bytes()).hexdigest()
        except OSError as error:
            raise ValueError(
                f"losses: {losses} cannot be read ({error.strerror}); give the folder that `curate train -o` wrote"
            ) from error

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.shapes)) < len(self.shapes):
            raise ValueError("buckets holds a shape twice; frames x height x width is one already")
        return self
