"""What is proved, and what a proof says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.model.cache import KeyValue
from pipelines.longtune.model.masks import causal_mask, teacher_forcing_mask
from pipelines.longtune.model.rope import training_positions
from pipelines.longtune.noise import TIMESTEPS
from pipelines.longtune.stream import CausalStream

# Two ways to the same sums differ by rounding: at most 1e-6 of the result in float32 with 2 layers, 2e-6 with 30 of 768
# channels (random weights; trained ones are less even, hence the room). A frame too many or too few in a mask shows at
# 3e-2 (2 layers): the canary measures it on the very generator, and must find ten times the bound.
ROUNDING = 5e-5
_ROWS, _COLUMNS = 2, 3  # tokens of a frame
_TEXT_TOKENS = 7
NOISY = 0.7  # a noise level between the ends


@dataclass(frozen=True)
class Proof:
    """One property, measured.

    Attributes:
        name: the property, in words.
        measured: what was found.
        tolerance: the bound it was held to.
        holds: "at most" or "at least" the bound.
        detail: on what it was measured; or why it failed or could not be measured.
        result: "pass", "fail", or "skip" where a generator cannot have the property by its config.
    """

    name: str
    measured: float | None
    tolerance: float
    detail: str
    holds: Literal["at most", "at least"] = "at most"
    skipped: bool = False

    @property
    def result(self) -> Literal["pass", "fail", "skip"]:
        """Not a number is a failure."""
        if self.skipped:
            return "skip"
        if self.measured is None:
            return "fail"
        good = self.measured <= self.tolerance if self.holds == "at most" else self.measured >= self.tolerance
        return "pass" if good else "fail"


@dataclass(frozen=True)
class Subject:
    """A generator in float32, in eval mode and frozen; everything else is drawn at random with fixed seeds.

    Attributes:
        model: a `CausalWanTransformer3DModel`.
        vae: an `AutoencoderKLWan`.
        layout: its own block, window, sink and positions.
        span: latent frames in a clip of training.
        far: the latent frame to which the flatness of memory is followed.
    """

    model: Any
    vae: Any
    layout: CausalConfig
    span: int
    far: int

    @property
    def device(self) -> torch.device:
        """Where the generator is."""
        return next(self.model.parameters()).device

    def latents(self, frames: int, *, batch: int = 1, seed: int = 0, tokens: tuple[int, int] | None = None) -> Tensor:
        """Random latents of `tokens` rows and columns of tokens."""
        rows, columns = tokens or (_ROWS, _COLUMNS)
        _, patch_h, patch_w = self.model.config.patch_size
        shape = (batch, self.model.config.in_channels, frames, rows * patch_h, columns * patch_w)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(self.device)

    def text(self, *, batch: int = 1, seed: int = 100) -> Tensor:
        """Random text embeddings: nowhere zero, so that cross-attention takes part."""
        shape = (batch, _TEXT_TOKENS, self.model.config.text_dim)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(self.device)

    def enough(self, layout: CausalConfig) -> int:
        """Frames after which a layout's window has moved away from its sink by two blocks and more."""
        seen = layout.sink + max(layout.window, 2 * layout.block)
        return (-(-seen // layout.block) + 2) * layout.block

    @torch.no_grad()
    def masked(
        self, video: Tensor, text: Tensor, layout: CausalConfig, frames: Tensor | None = None
    ) -> tuple[Tensor, list[KeyValue]]:
        """The velocity of clean frames, and their keys and values, in one pass under the causal mask."""
        frames = torch.arange(video.shape[2], device=self.device) if frames is None else frames
        return self.model(
            video,
            torch.zeros(len(video), len(frames), device=self.device),
            text,
            positions=training_positions(frames, layout),
            mask=causal_mask(frames, self.tokens(video), layout),
            collect=True,
        )

    @torch.no_grad()
    def teacher_forced(self, clean: Tensor, noisy: Tensor, text: Tensor, layout: CausalConfig) -> Tensor:
        """The velocity of noisy frames beside the clean ones, in one pass as in training."""
        frames = torch.arange(clean.shape[2], device=self.device)
        zeros = torch.zeros(len(clean), len(frames), device=self.device)
        velocity, _ = self.model(
            torch.cat([clean, noisy], dim=2),
            torch.cat([zeros, zeros + NOISY * TIMESTEPS], dim=1),
            text,
            positions=training_positions(frames.repeat(2), layout),
            mask=teacher_forcing_mask(frames, self.tokens(clean), layout),
        )
        return velocity[:, :, len(frames) :]

    def streamed(self, clean: Tensor, asked: Tensor, level: float, text: Tensor, layout: CausalConfig) -> Tensor:
        """The velocity of each block of `asked` beside a cache of the blocks of `clean` before it."""
        stream, made = CausalStream(self.model, text, layout), []
        for block, question in zip(clean.split(layout.block, dim=2), asked.split(layout.block, dim=2), strict=True):
            with torch.no_grad():
                made.append(stream.velocity(question, level))
            stream.commit(block)
        return torch.cat(made, dim=2)

    def filled(self, video: Tensor, text: Tensor, layout: CausalConfig) -> CausalStream:
        """A stream that has committed all blocks of a video."""
        stream = CausalStream(self.model, text, layout)
        for block in video.split(layout.block, dim=2):
            stream.commit(block)
        return stream

    def tokens(self, video: Tensor) -> int:
        """Tokens of a frame."""
        _, patch_h, patch_w = self.model.config.patch_size
        return (video.shape[3] // patch_h) * (video.shape[4] // patch_w)


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference of two results, as a share of the second's root mean square; infinite if shapes differ."""
    if one.shape != other.shape:
        return float("inf")
    return float((one - other).abs().max() / other.square().mean().sqrt())
