"""Teacher-forcing flow matching: every block is denoised beside the clean video that came before it, in one pass.

This is the method that learns from real long takes. The sequence is [clean | noisy]; the mask gives each noisy block
exactly what the cache will hold when that block is sampled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.model.masks import teacher_forcing_mask
from pipelines.longtune.noise import TIMESTEPS, block_levels, noised


def teacher_forcing_loss(
    model: Any,
    clean: Tensor,
    text: Tensor,
    layout: CausalConfig,
    shift: float,
    generator: torch.Generator,
) -> Tensor:
    """Mean squared error of the velocity on the noisy half.

    Every level counts alike (weight 1): the bell-shaped weight of the Self-Forcing family is tuned to 14B teachers'
    timesteps, and an unweighted loss can be compared between runs.

    Args:
        model: a `CausalWanTransformer3DModel`.
        clean: normalised latents, shape (batch, channels, frames, height, width); the block divides the frames.
        text: embeddings, shape (batch, text tokens, text channels).
        layout: block, window and sink.
        shift: the noise levels' shift.
        generator: a CPU generator: draws levels, then noise, the same on every device.

    Returns:
        A scalar with a gradient.
    """
    batch, _, frames, height, width = clean.shape
    levels = block_levels(batch, frames // layout.block, layout.block, shift, generator).to(clean.device)
    noise = torch.randn(clean.shape, generator=generator).to(clean.device)
    sequence = torch.cat([clean, noised(clean, noise, levels)], dim=2)
    timestep = torch.cat([torch.zeros_like(levels), levels * TIMESTEPS], dim=1)
    _, patch_h, patch_w = model.config.patch_size
    mask = teacher_forcing_mask(frames, (height // patch_h) * (width // patch_w), layout).to(clean.device)
    # Both copies of a frame stand at the same place in time.
    positions = torch.arange(frames, device=clean.device).repeat(2)
    velocity, _ = model(sequence, timestep, text, positions=positions, mask=mask)
    return torch.nn.functional.mse_loss(velocity[:, :, frames:], noise - clean)
