"""Teacher-forcing flow matching: every block is denoised beside the clean video that came before it, in one pass.

This is the method that learns from real long takes. The sequence is [clean | noisy]; the mask gives each noisy block
exactly what the cache will hold when that block is sampled. (As Causal-Forcing's first stage and LongLive 2.0's AR
stage.) A prompt switch needs nothing of its own: the batch brings a target under one caption, and the context is read
under that caption, which is what a stream's memory holds after a recache.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.methods.flow import bell_weight, block_index, draw_levels, tokens_per_frame, velocity_loss
from pipelines.longtune.methods.method import LatentBatch, Loss, Method, Tools
from pipelines.longtune.methods.options import TeacherForcingOptions
from pipelines.longtune.methods.recycling import ErrorRecycler
from pipelines.longtune.model.masks import teacher_forcing_mask
from pipelines.longtune.model.rope import training_positions
from pipelines.longtune.noise import TIMESTEPS, noised


class TeacherForcing(Method):
    """Mean squared error of the velocity on the noisy half."""

    def __init__(self, tools: Tools, options: TeacherForcingOptions) -> None:
        super().__init__(tools)
        self._options = options
        self._recycler = ErrorRecycler(options.recycling) if options.recycling is not None else None

    def losses(self, batch: LatentBatch, step: int, rng: torch.Generator) -> dict[str, Loss]:
        layout, model, shift = self.tools.layout, self.tools.generator, self.tools.shift
        clean = batch.latents
        levels = draw_levels(batch, layout.block, shift, rng).to(clean.device)
        noise = torch.randn(clean.shape, generator=rng).to(clean)
        context = latents = clean
        index = block_index(batch.frames.cpu(), layout.block)
        if self._recycler is not None:
            context, latents, noise = self._recycler.inject(clean, noise, levels, index, step, rng)
        noisy, text = noised(latents, noise, levels), self.tools.embed(batch.captions)
        velocity, wanted = forced_velocity(model, context, noisy, levels, text, batch.frames, layout), noise - clean
        weight = bell_weight(levels, shift) if self._options.weight == "bell" else None
        loss = velocity_loss(velocity, wanted, batch.target, weight)
        if self._recycler is None:
            return {"generator": loss}
        # Of the clean estimate (noisy - sigma * velocity): what was put in is no mistake of the model, so that none
        # feeds on itself. Without injection this is the estimate less the clean latents.
        mistakes = levels[:, None, :, None, None] * (wanted - velocity.detach())
        self._recycler.collect(mistakes, levels, index, batch.target)
        facts = {"recycled": float(len(self._recycler)), "recycled_mb": self._recycler.nbytes / 1e6}
        return {"generator": Loss(loss.value, loss.by_sample, facts)}

    def state_dict(self) -> dict[str, Any]:
        return self._recycler.state_dict() if self._recycler is not None else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self._recycler is None:
            super().load_state_dict(state)
        else:
            self._recycler.load_state_dict(state)


def forced_velocity(
    model: Any, context: Tensor, noisy: Tensor, levels: Tensor, text: Tensor, frames: Tensor, layout: CausalConfig
) -> Tensor:
    """The velocity of every block beside the clean context before it.

    Args:
        model: the generator.
        context: clean latents, shape (batch, channels, frames, height, width).
        noisy: the same frames, noised.
        levels: their noise levels, shape (batch, frames).
        text: embeddings, shape (batch, text tokens, text channels).
        frames: their numbers, shape (frames,).
        layout: block, window and sink.

    Returns:
        Shaped as `noisy`.
    """
    velocity, _ = model(
        torch.cat([context, noisy], dim=2),
        torch.cat([torch.zeros_like(levels), levels * TIMESTEPS], dim=1),
        text,
        # Both copies of a frame stand at the same place in time, where a stream would see them.
        positions=training_positions(frames.repeat(2), layout),
        mask=teacher_forcing_mask(frames, tokens_per_frame(model, context), layout),
    )
    return velocity[:, :, context.shape[2] :]
