"""The trainer's configuration: one frozen model, read from YAML, with a reason for every default.

`load_config` is the first thing `curate train` does; the same object is written to the run's `config.yaml` and into its
checkpoint, so that a generator always knows the frame rate, size and causal layout it was trained with.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipelines.longtune.errors import UsageError
from pipelines.longtune.methods.options import MethodOptions, TeacherForcingOptions

# Wan2.1: one latent for the first frame, then one for every 4; a latent covers 8x8 pixels, a token 2x2 latents.
FRAMES_PER_LATENT = 4
PIXELS_PER_TOKEN = 16


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class DataConfig(_Part):
    """How windows are cut from the takes."""

    frames: int = Field(default=81, ge=1, description="Frames in a window, 4k+1: 81 is Wan2.1's length (21 latents).")
    fps: float = Field(
        default=16, gt=0, le=120, description="Frames a second, sampled by time: Wan2.1 was trained at 16."
    )
    height: int = Field(default=480, ge=16, multiple_of=PIXELS_PER_TOKEN, description="Pixels; Wan2.1's 480p bucket.")
    width: int = Field(default=832, ge=16, multiple_of=PIXELS_PER_TOKEN, description="Pixels; Wan2.1's 480p bucket.")
    batch_size: int = Field(default=1, ge=1, description="Windows in a step; one of 480p is 65,520 tokens already.")
    num_workers: int = Field(
        default=4, ge=0, description="Decoding processes, at most one a shard; 0 decodes between steps."
    )
    shuffle_buffer: int = Field(
        default=16,
        ge=1,
        description="Takes held to be drawn from at random: a held take is a whole mp4, so few, by worker.",
    )
    on_bad_sample: Literal["skip", "error"] = Field(
        default="skip", description="A broken take is skipped, counted and named, or stops the run."
    )

    @property
    def latents(self) -> int:
        """Latent frames in a window."""
        return (self.frames - 1) // FRAMES_PER_LATENT + 1

    @property
    def window_s(self) -> float:
        """Seconds from the first frame of a window to its last."""
        return (self.frames - 1) / self.fps

    @model_validator(mode="after")
    def _whole_latents(self) -> Self:
        if (self.frames - 1) % FRAMES_PER_LATENT:
            # AutoencoderKLWan.encode drops the tail in silence otherwise.
            low = (self.frames - 1) // FRAMES_PER_LATENT * FRAMES_PER_LATENT + 1
            raise ValueError(f"frames must be 4k+1 for the VAE; {self.frames} is not, {low} and {low + 4} are")
        return self


class TinyConfig(_Part):
    """A generator of the real classes at toy size, made from random weights; it needs no download."""

    layers: int = Field(
        default=2, ge=1, description="Transformer blocks: two are the least in which context travels twice."
    )
    heads: int = Field(default=2, ge=1, description="Attention heads.")
    head_dim: int = Field(default=24, ge=6, description="Channels of a head; 3-axis rotary positions need even thirds.")
    ffn_dim: int = Field(
        default=96, ge=1, description="Hidden channels of the feed-forward part: twice the 48 of 2 x 24."
    )
    latent_channels: int = Field(default=4, ge=1, description="Channels of a latent (Wan2.1: 16).")
    vae_dim: int = Field(default=8, ge=1, description="Base channels of the VAE (Wan2.1: 96).")
    text_dim: int = Field(default=16, ge=2, multiple_of=2, description="Channels of the text encoder (UMT5-XXL: 4096).")

    @model_validator(mode="after")
    def _thirds(self) -> Self:
        if self.head_dim % 6:
            raise ValueError(f"head_dim must be a multiple of 6 for 3-axis rotary positions; {self.head_dim} is not")
        return self


class ModelConfig(_Part):
    """Where the weights come from: exactly one of `from` and `tiny`."""

    source: str | None = Field(
        default=None,
        alias="from",
        description="A local folder or hub id in diffusers' layout, e.g. Wan-AI/Wan2.1-T2V-1.3B-Diffusers.",
    )
    tiny: TinyConfig | None = Field(default=None, description="Make a toy generator instead.")
    text_tokens: int = Field(
        default=512, ge=1, description="Tokens a caption is cut or padded to; Wan2.1 was trained with 512."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.source is None) == (self.tiny is None):
            raise ValueError("give exactly one of 'from' (weights to start from) and 'tiny' (a toy generator)")
        return self


class CausalConfig(_Part):
    """What a latent frame may look at. Lengths are in latent frames."""

    block: int = Field(default=3, ge=1, description="Frames made together; 3 as in Self-Forcing and LongLive.")
    window: int = Field(
        default=12,
        description="Latest frames seen, the block's own among them; 12 as in LongLive, -1 for all of the past.",
    )
    sink: int = Field(
        default=3, ge=0, description="First frames that stay in sight beside the window; 3 as in LongLive."
    )

    @model_validator(mode="after")
    def _window_holds_block(self) -> Self:
        if self.window != -1 and self.window < self.block:
            raise ValueError(f"window ({self.window}) must be -1 or at least the block ({self.block})")
        return self


class TrainConfig(_Part):
    """The optimisation."""

    steps: int = Field(
        default=600, ge=1, description="Optimiser steps of the transformer; 600 as in LongLive 2.0's AR stage."
    )
    lr: float = Field(default=1e-5, gt=0, description="AdamW's learning rate; 1e-5 as in LongLive 2.0's AR stage.")
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW's weight decay: PyTorch's default.")
    grad_clip: float = Field(default=1.0, gt=0, description="Largest gradient norm; 1.0 as in FAR.")
    flow_shift: float = Field(
        default=5.0,
        gt=0,
        description="Pulls noise levels towards 1; causal Wan trainers use 5, diffusers' 480p sampler 3.",
    )
    vae_steps: int = Field(
        default=0,
        ge=0,
        description="Reconstruction steps that train a tiny VAE first; it has no released weights to start from.",
    )
    vae_lr: float = Field(default=2e-3, gt=0, description="AdamW's learning rate in the VAE's steps; not tuned.")
    checkpoint_every: int = Field(
        default=100, ge=1, description="Steps between checkpoints: what a kill can cost at most."
    )
    seed: int = Field(default=0, ge=0, description="Seeds weights, windows, shuffling and noise.")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto takes a GPU where there is one.")


class SampleConfig(_Part):
    """The video made at the end of the run, and the sampler's defaults."""

    prompt: str = Field(default="a long take", description="Text of the sample.")
    seconds: float = Field(default=5.0, gt=0, description="Length; 5 s is the length Wan2.1 knows.")
    steps: int = Field(
        default=20, ge=1, description="Euler steps a block; flow matching without distillation needs some 20."
    )
    seed: int = Field(default=0, ge=0, description="Seeds the sample's noise.")


class Config(_Part):
    """A whole training run."""

    model: ModelConfig
    data: DataConfig = Field(default_factory=lambda: DataConfig())
    causal: CausalConfig = Field(default_factory=lambda: CausalConfig())
    method: MethodOptions = Field(default_factory=lambda: TeacherForcingOptions())
    train: TrainConfig = Field(default_factory=lambda: TrainConfig())
    sample: SampleConfig = Field(default_factory=lambda: SampleConfig())

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.data.latents % self.causal.block:
            raise ValueError(
                f"data.frames={self.data.frames} gives {self.data.latents} latents, which causal.block="
                f"{self.causal.block} does not divide"
            )
        if self.model.tiny is not None and not self.train.vae_steps:
            raise ValueError("model.tiny starts from random weights: train.vae_steps must be above 0")
        if self.model.source is not None and self.train.vae_steps:
            raise ValueError("train.vae_steps is for model.tiny; the VAE of model.from stays as it is")
        return self

    def to_json(self) -> dict[str, Any]:
        """The config as plain values, in the spelling of the YAML file."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @property
    def digest(self) -> str:
        """A hash of every value: two runs with one digest do the same work."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]


def bundled() -> list[str]:
    """Names of the configs that ship with the package."""
    folder = resources.files("pipelines.longtune") / "configs"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_config(name: str) -> Config:
    """Read a YAML path or a bundled name. Raises `UsageError` that names the file, the key and the cure."""
    path = Path(name)
    if name in bundled():
        text = (resources.files("pipelines.longtune") / "configs" / f"{name}.yaml").read_text()
    elif path.is_file():
        text = path.read_text()
    else:
        raise UsageError(f"{name}: no such config; give a YAML file or one of: {', '.join(bundled())}")
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{name}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{name}: a config is a mapping with the keys {', '.join(Config.model_fields)}")
    return parse_config(values, name)


def parse_config(values: dict[str, Any], name: str) -> Config:
    """Validate plain values; `name` is the file that errors speak of."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UsageError("\n".join(_explain(name, item) for item in error.errors())) from error


def _explain(name: str, item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] != "extra_forbidden":
        return f"{name}: {where + ': ' if where else ''}{item['msg'].removeprefix('Value error, ')}"
    keys = _keys_beside(item["loc"])
    close = difflib.get_close_matches(str(item["loc"][-1]), keys, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(keys)}"
    return f"{name}: unknown key {where}; {hint}"


def _keys_beside(location: tuple[Any, ...]) -> list[str]:
    sections: dict[str, type[BaseModel]] = {
        "": Config,
        "model": ModelConfig,
        "model.tiny": TinyConfig,
        "data": DataConfig,
        "causal": CausalConfig,
        "method": MethodOptions,
        "train": TrainConfig,
        "sample": SampleConfig,
    }
    section = sections[".".join(str(part) for part in location[:-1])]
    return [field.alias or key for key, field in section.model_fields.items()]
