"""Noise levels: how much noise a block gets in training, and the way down from noise when it is sampled.

A level sigma runs from 0 (clean) to 1 (noise); the model's timestep is 1000 sigma; a noised latent is
(1 - sigma) * clean + sigma * noise (rectified flow), whose velocity, noise - clean, is what the model predicts.
"""

from __future__ import annotations

import torch
from torch import Tensor

TIMESTEPS = 1000


def shifted(sigma: Tensor, shift: float) -> Tensor:
    """Pull levels towards noise: shift * s / (1 + (shift - 1) * s) (Esser et al. 2024, as Wan uses it)."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def block_levels(batch: int, blocks: int, block: int, shift: float, generator: torch.Generator) -> Tensor:
    """A level for each frame: drawn anew for each block and shared inside it. Shape (batch, blocks * block)."""
    levels = shifted(torch.rand(batch, blocks, generator=generator), shift)
    return levels.repeat_interleave(block, dim=1)


def schedule(steps: int, shift: float) -> Tensor:
    """Levels from 1 down to 0, shape (steps + 1,)."""
    return shifted(torch.linspace(1, 0, steps + 1), shift)


def noised(clean: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
    """Mix (batch, channels, frames, height, width) latents with noise at levels of shape (batch, frames)."""
    sigma = levels[:, None, :, None, None]
    return (1 - sigma) * clean + sigma * noise
