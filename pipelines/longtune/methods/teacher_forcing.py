"""Teacher-forcing flow matching: every block is denoised beside the clean video that came before it, in one pass.

This is the method that learns from real long takes. The sequence is [clean | noisy]; the mask gives each noisy block
exactly what the cache will hold when that block is sampled.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.longtune.methods.method import LatentBatch, Loss, Method, Tools
from pipelines.longtune.methods.options import TeacherForcingOptions
from pipelines.longtune.model.masks import teacher_forcing_mask
from pipelines.longtune.noise import TIMESTEPS, block_levels, noised


class TeacherForcing(Method):
    """Mean squared error of the velocity on the noisy half.

    Every level counts alike (weight 1): the bell-shaped weight of the Self-Forcing family is tuned to 14B teachers'
    timesteps, and an unweighted loss can be compared between runs.
    """

    def __init__(self, tools: Tools, options: TeacherForcingOptions) -> None:
        super().__init__(tools)
        self._options = options

    def losses(self, batch: LatentBatch, step: int, rng: torch.Generator) -> dict[str, Loss]:
        layout, model = self.tools.layout, self.tools.generator
        clean = batch.latents
        size, _, frames, height, width = clean.shape
        levels = block_levels(size, frames // layout.block, layout.block, self.tools.shift, rng).to(clean.device)
        noise = torch.randn(clean.shape, generator=rng).to(clean.device)
        sequence = torch.cat([clean, noised(clean, noise, levels)], dim=2)
        timestep = torch.cat([torch.zeros_like(levels), levels * TIMESTEPS], dim=1)
        _, patch_h, patch_w = model.config.patch_size
        mask = teacher_forcing_mask(batch.frames, (height // patch_h) * (width // patch_w), layout).to(clean.device)
        # Both copies of a frame stand at the same place in time.
        positions = batch.frames.repeat(2)
        text = self.tools.embed(batch.captions)
        velocity, _ = model(sequence, timestep, text, positions=positions, mask=mask)
        return {"generator": velocity_loss(velocity[:, :, frames:], noise - clean, batch.target)}


def velocity_loss(velocity: Tensor, wanted: Tensor, target: Tensor) -> Loss:
    """Mean squared error over the target frames: of each sample, then over the samples.

    Args:
        velocity: predicted, shape (batch, channels, frames, height, width).
        wanted: the same shape.
        target: frames that count, shape (batch, frames); at least one a sample.
    """
    by_frame = torch.nn.functional.mse_loss(velocity.float(), wanted.float(), reduction="none").mean(dim=(1, 3, 4))
    weight = target.to(by_frame) / target.sum(dim=1, keepdim=True)
    by_sample = (by_frame * weight).sum(dim=1)
    return Loss(by_sample.mean(), by_sample.detach())
