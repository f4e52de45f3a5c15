"""What the methods that learn from real takes share: noise levels by block, and the loss of a predicted velocity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipelines.longtune.methods.method import LatentBatch, Loss
from pipelines.longtune.noise import TIMESTEPS, shifted


def block_index(frames: Tensor, block: int) -> Tensor:
    """Which of the batch's blocks each frame is in, from 0, shape (frames,); a block may be cut, as a sink is."""
    return torch.unique_consecutive(frames // block, return_inverse=True)[1]


def draw_levels(batch: LatentBatch, block: int, shift: float, rng: torch.Generator) -> Tensor:
    """A shifted level for each frame, drawn anew for each block and shared in it: (batch, frames), on the CPU."""
    index = block_index(batch.frames.cpu(), block)
    return shifted(torch.rand(len(batch.latents), int(index[-1]) + 1, generator=rng), shift)[:, index]


def tokens_per_frame(model: Any, latents: Tensor) -> int:
    """Tokens that a frame of (batch, channels, frames, height, width) latents becomes."""
    _, down, across = model.config.patch_size
    return (latents.shape[3] // down) * (latents.shape[4] // across)


def bell_weight(levels: Tensor, shift: float) -> Tensor:
    """Weight of each level: exp(-2 (t - 1/2)²) less its least, with mean 1 over the shifted levels that are drawn.

    Self-Forcing's family and LongLive 2.0 weigh their flow matching so: the middle, where structure is decided, counts
    most, and pure noise and the nearly clean least.
    """
    grid = shifted(torch.linspace(1 / TIMESTEPS, 1, TIMESTEPS, device=levels.device), shift)

    def bell(at: Tensor) -> Tensor:
        return torch.exp(-2 * (at - 0.5) ** 2)

    least = bell(grid).min()
    return (bell(levels) - least).clamp_min(0) / (bell(grid) - least).mean()


def velocity_loss(velocity: Tensor, wanted: Tensor, target: Tensor, weight: Tensor | None = None) -> Loss:
    """Mean squared error over the target frames: of each sample, then over the samples that have any.

    Args:
        velocity: predicted, shape (batch, channels, frames, height, width).
        wanted: the same shape.
        target: frames that count, shape (batch, frames). Without any in the batch the loss is 0, with a graph.
        weight: of each frame, shape (batch, frames); all alike without.
    """
    by_frame = torch.nn.functional.mse_loss(velocity.float(), wanted.float(), reduction="none").mean(dim=(1, 3, 4))
    if weight is not None:
        by_frame = by_frame * weight
    share = target.to(by_frame) / target.sum(dim=1, keepdim=True).clamp_min(1)
    by_sample = (by_frame * share).sum(dim=1)
    counting = target.any(dim=1)
    if bool(counting.all()):
        return Loss(by_sample.mean(), by_sample.detach())
    return Loss(by_sample.sum() / counting.sum().clamp_min(1), by_sample.detach())
