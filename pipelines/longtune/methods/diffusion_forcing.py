"""Diffusion forcing: real takes noised throughout, each block to a level of its own; the past is seen as it is noised.

One copy of the clip, where teacher forcing needs two: half the tokens. (Chen et al. 2024; block-causal on a pretrained
Wan as in CausVid and FastVideo's DFSFT.) What it learns is to go on from a past of any level, so at sampling a block
may be remembered clean, or at the small level `context_noise`; the options' `context_timestep` tells a sampler which.
"""

from __future__ import annotations

import torch

from pipelines.longtune.methods.flow import draw_levels, tokens_per_frame, velocity_loss
from pipelines.longtune.methods.method import LatentBatch, Loss, Method, Tools
from pipelines.longtune.methods.options import DiffusionForcingOptions
from pipelines.longtune.model.masks import causal_mask
from pipelines.longtune.model.rope import training_positions
from pipelines.longtune.noise import TIMESTEPS, noised


class DiffusionForcing(Method):
    """Mean squared error of the velocity, under the block-causal mask with window and sink."""

    def __init__(self, tools: Tools, options: DiffusionForcingOptions) -> None:
        super().__init__(tools)
        self._options = options

    def losses(self, batch: LatentBatch, step: int, rng: torch.Generator) -> dict[str, Loss]:
        layout, model, clean = self.tools.layout, self.tools.generator, batch.latents
        # A level a frame is a level a block of one frame.
        levels = draw_levels(batch, 1 if self._options.per_frame else layout.block, self.tools.shift, rng).to(clean)
        noise = torch.randn(clean.shape, generator=rng).to(clean)
        velocity, _ = model(
            noised(clean, noise, levels),
            levels * TIMESTEPS,
            self.tools.embed(batch.captions),
            positions=training_positions(batch.frames, layout),
            mask=causal_mask(batch.frames, tokens_per_frame(model, clean), layout),
        )
        return {"generator": velocity_loss(velocity, noise - clean, batch.target)}
