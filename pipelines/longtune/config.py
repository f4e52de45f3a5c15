"""The trainer's configuration: one frozen model, read from YAML, with a reason for every default.

`load_config` is the first thing `curate train` does; the same object is written to the run's `config.yaml` and into its
checkpoint, so that a generator always knows the frame rate, size and causal layout it was trained with.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from curate.documents import DocumentError, read_yaml
from pipelines.longtune.config_data import (
    BucketConfig,
    CaptionsConfig,
    DataConfig,
    Part,
)
from pipelines.longtune.errors import UsageError
from pipelines.longtune.methods.options import (
    METHODS,
    MethodOptions,
    RecyclingOptions,
    TeacherForcingOptions,
    TempLoraOptions,
)


class TinyConfig(Part):
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


class ModelConfig(Part):
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


class CausalConfig(Part):
    """What a latent frame may look at. Lengths are in latent frames."""

    block: int = Field(
        default=3, ge=1, le=8, description="Frames made together; 3 as in Self-Forcing and LongLive, 8 in LongLive 2."
    )
    window: int = Field(
        default=12,
        description="Latest frames seen, the block's own among them; 12 as in LongLive, -1 for all of the past.",
    )
    sink: int = Field(
        default=3, ge=0, description="First frames that stay in sight beside the window; 3 as in LongLive."
    )
    positions: Literal["relative", "absolute"] = Field(
        default="relative",
        description="Rotary positions. relative: the sink stands right before the window, so no distance exceeds what "
        "was trained and a video has no longest length; absolute: frame numbers, up to the model's 1024 latents.",
    )

    @model_validator(mode="after")
    def _window_holds_block(self) -> Self:
        if self.window != -1 and self.window < self.block:
            raise ValueError(f"window ({self.window}) must be -1 or at least the block ({self.block})")
        return self


class LoraConfig(Part):
    """Low-rank adapters beside frozen weights (peft). Without this section all weights are tuned."""

    rank: int = Field(default=128, ge=1, description="Rank; 128 as in LongLive 2.0, 256 in LongLive 1 and AnyFlow.")
    alpha: int = Field(default=128, ge=1, description="Scale times rank; equal to the rank as in LongLive.")
    targets: tuple[str, ...] = Field(
        default=("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"),
        min_length=1,
        description="Ends of the adapted modules' names; every Linear of a block, as in LongLive.",
    )


class EmaConfig(Part):
    """A running average of the trained weights, which is what is sampled and exported. Off without this section."""

    decay: float = Field(default=0.99, ge=0, lt=1, description="Of a step; 0.99 as in LongLive and Self-Forcing.")
    start: int = Field(
        default=200, ge=0, description="Steps before it begins, as in LongLive; until then it is a copy."
    )


class TrainConfig(Part):
    """The optimisation."""

    steps: int = Field(
        default=600, ge=1, description="Optimiser steps of the transformer; 600 as in LongLive 2.0's AR stage."
    )
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        description="Windows a rank computes at once, gradients summed over its share of data.batch_size; all of the "
        "share where unset. The same number makes the same noise on any number of ranks.",
    )
    lr: float = Field(default=1e-5, gt=0, description="AdamW's learning rate; 1e-5 as in LongLive 2.0's AR stage.")
    critic_lr: float | None = Field(
        default=None,
        gt=0,
        description="Learning rate of networks beside the generator; a fifth of lr where unset, as in LongLive.",
    )
    betas: tuple[float, float] = Field(
        default=(0.9, 0.999), description="AdamW's: PyTorch's default; the DMD methods are published with (0, 0.999)."
    )
    warmup: int = Field(
        default=0, ge=0, description="Steps of linear warm-up; LongLive and Self-Forcing tune without one."
    )
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW's weight decay: PyTorch's default.")
    grad_clip: float = Field(default=1.0, gt=0, description="Largest gradient norm; 1.0 as in FAR.")
    on_nan: Literal["error", "skip"] = Field(
        default="error",
        description="A loss or gradient that is not finite stops the run with the samples' names, or its step is "
        "skipped and counted.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="bf16 is autocast over fp32 weights; auto takes it on a GPU, fp32 on a CPU."
    )
    gradient_checkpointing: bool = Field(
        default=True,
        description="Blocks are run again in the backward pass: a 480p window fits no GPU without (see --estimate).",
    )
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
    keep: int = Field(default=2, ge=1, description="Checkpoints kept; two, so that a bad last one is no loss.")
    seed: int = Field(default=0, ge=0, description="Seeds weights, windows, shuffling and noise.")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto takes a GPU where there is one.")

    @field_validator("betas")
    @classmethod
    def _below_one(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"each of the two must be at least 0 and below 1; they are {betas[0]:g} and {betas[1]:g}")
        return betas


class SampleConfig(Part):
    """The videos made in the course of the run and at its end, and the sampler's defaults."""

    prompt: str = Field(default="a long take", description="Text of the sample.")
    seconds: float = Field(default=5.0, gt=0, description="Length; 5 s is the length Wan2.1 knows.")
    every: int = Field(
        default=0,
        ge=0,
        description="Training steps between samples; 0 makes one at the end alone: it takes time.",
    )
    steps: int = Field(default=20, ge=1, description="Steps a block; flow matching without distillation needs some 20.")
    solver: Literal["euler", "renoise"] = Field(
        default="euler",
        description="euler follows the velocity; renoise predicts the clean block and noises it anew at each step, as "
        "few-step generators distilled with DMD are trained to be sampled.",
    )
    guidance: float = Field(
        default=1.0,
        ge=1,
        le=20,
        description="Classifier-free guidance against an empty caption; 1 is off (half the time and cache), Wan2.1 "
        "itself is sampled at 5.",
    )
    seed: int = Field(default=0, ge=0, description="Seeds the sample's noise.")
    temp_lora: TempLoraOptions | None = Field(
        default=None,
        description="`curate generate` learns each finished window while sampling (SlowFast-VGen); `{}` takes the "
        "defaults. Off by default: a gradient step costs as much as several blocks. A run's own samples go without.",
    )


class Config(Part):
    """A whole training run."""

    model: ModelConfig
    data: DataConfig = Field(default_factory=lambda: DataConfig())
    causal: CausalConfig = Field(default_factory=lambda: CausalConfig())
    method: MethodOptions = Field(default_factory=lambda: TeacherForcingOptions())
    lora: LoraConfig | None = None
    ema: EmaConfig | None = None
    train: TrainConfig = Field(default_factory=lambda: TrainConfig())
    sample: SampleConfig = Field(default_factory=lambda: SampleConfig())

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for bucket in self.data.shapes:
            if bucket.latents % self.causal.block:
                raise ValueError(
                    f"data: frames={bucket.frames} gives {bucket.latents} latents, which causal.block="
                    f"{self.causal.block} does not divide"
                )
        if self.model.tiny is not None and not self.train.vae_steps:
            raise ValueError("model.tiny starts from random weights: train.vae_steps must be above 0")
        if self.model.source is not None and self.train.vae_steps:
            raise ValueError("train.vae_steps is for model.tiny; the VAE of model.from stays as it is")
        if self.model.tiny is not None and self.data.input == "latents":
            raise ValueError("data.input: latents are of a released VAE: give model.from, the model that encoded them")
        self.method.check(self)
        return self

    def to_json(self) -> dict[str, Any]:
        """The config as plain values, in the spelling of the YAML file."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @property
    def digest(self) -> str:
        """A hash of every value: two runs with one digest do the same work."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]


def differences(theirs: Config, ours: Config) -> list[str]:
    """What two configs do not share, key by key, for an error message."""

    def flat(prefix: str, values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        for key, value in values.items():
            if isinstance(value, dict):
                yield from flat(f"{prefix}{key}.", value)
            else:
                yield prefix + key, value

    before, now = dict(flat("", theirs.to_json())), dict(flat("", ours.to_json()))
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    return [f"{key} is {before.get(key, 'unset')} there, {now.get(key, 'unset')} here" for key in keys]


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
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{name}: cannot be read as a config: {error}") from error
    else:
        raise UsageError(f"{name}: no such config; give a YAML file or one of: {', '.join(bundled())}")
    try:
        values = read_yaml(text)
    except DocumentError as error:
        raise UsageError(f"{name}: not YAML: {error}") from error
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
    place = list(item["loc"])
    if place[:1] == ["method"] and len(place) > 2:
        del place[1]  # the method's name is no key of the YAML
    where = ".".join(str(part) for part in place)
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
        "data.captions": CaptionsConfig,
        "causal": CausalConfig,
        **{f"method.{name}": options for name, options in METHODS.items()},
        "method.teacher_forcing.recycling": RecyclingOptions,
        "lora": LoraConfig,
        "ema": EmaConfig,
        "train": TrainConfig,
        "sample": SampleConfig,
        "sample.temp_lora": TempLoraOptions,
    }
    if location[:2] == ("data", "buckets"):
        return list(BucketConfig.model_fields)
    section = sections[".".join(str(part) for part in location[:-1])]
    return [field.alias or key for key, field in section.model_fields.items()]
