"""SEINE's random frame masks: some frames are given, and the others are made from them.

Given the first frames it is prediction, the first and the last a transition, frames here and there interpolation, none
plain generation: one model learns all four. (Chen et al. 2023.)

Ours: SEINE hands the mask and the given frames to the network in extra channels; here a given frame stands in its place
with timestep 0, as a clean frame does everywhere in this trainer, so that the stock weights need no new channel.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.methods.flow import draw_levels, tokens_per_frame, velocity_loss
from pipelines.longtune.methods.method import LatentBatch, Loss, Method, Tools
from pipelines.longtune.methods.options import RandomMasksOptions
from pipelines.longtune.model.masks import Mask, token_mask, visible
from pipelines.longtune.model.rope import Places, training_positions
from pipelines.longtune.noise import TIMESTEPS, noised, schedule, shifted

KINDS = ("prediction", "transition", "interpolation", "nothing")


class RandomMasks(Method):
    """Mean squared error of the velocity on the frames that are not given. One set of given frames for a batch."""

    def __init__(self, tools: Tools, options: RandomMasksOptions) -> None:
        super().__init__(tools)
        self._options = options

    def losses(self, batch: LatentBatch, step: int, rng: torch.Generator) -> dict[str, Loss]:
        options, model, clean = self._options, self.tools.generator, batch.latents
        weights = torch.tensor([getattr(options, kind) for kind in KINDS])
        kind = KINDS[int(torch.multinomial(weights, 1, generator=rng))]
        given = draw_given(kind, clean.shape[2], options.most, rng)
        if options.attention == "bidirectional":
            # The frames are made together, so at one level.
            levels = shifted(torch.rand(len(clean), 1, generator=rng), self.tools.shift).expand(-1, len(given))
        else:
            levels = draw_levels(batch, self.tools.layout.block, self.tools.shift, rng)
        noise = torch.randn(clean.shape, generator=rng).to(clean)
        # What is context already is as good as given.
        known = given.to(clean.device) | ~batch.target
        levels = torch.where(known, 0, levels.to(clean))
        velocity, _ = model(
            noised(clean, noise, levels),
            levels * TIMESTEPS,
            self.tools.embed(batch.captions),
            positions=clip_positions(batch.frames, self.tools.layout, options.attention),
            mask=given_mask(batch.frames, given, tokens_per_frame(model, clean), self.tools.layout, options.attention),
        )
        loss = velocity_loss(velocity, noise - clean, ~known)
        return {"generator": Loss(loss.value, loss.by_sample, {"given": float(given.sum())})}


def draw_given(kind: str, frames: int, most: float, rng: torch.Generator) -> Tensor:
    """Which frames are given, shape (frames,): never more than the share `most`, except that a kind has its least."""
    given = torch.zeros(frames, dtype=torch.bool)
    limit = int(frames * most)
    if kind == "nothing" or frames < 3:
        return given
    if kind == "prediction":
        given[: _between(1, limit, rng)] = True
    elif kind == "transition":
        count = _between(2, limit, rng)
        first = _between(1, count - 1, rng)
        given[:first] = True
        given[frames - (count - first) :] = True
    else:
        given[torch.randperm(frames, generator=rng)[: _between(1, limit, rng)]] = True
    return given


def given_mask(
    frames: Tensor,
    given: Tensor,
    tokens: int,
    layout: CausalConfig,
    attention: str,
) -> Mask | None:
    """None where all see all; else each sees the given frames and, block by block, its past.

    The given frames see each other alone: they are known before all else, and can be put into a cache first.
    """
    if attention == "bidirectional":
        return None
    given = given.to(frames.device)
    seen = visible(frames, frames, layout, own_block=True) | given[None, :]
    return token_mask(torch.where(given[:, None], given[None, :], seen), tokens)


def clip_positions(frames: Tensor, layout: CausalConfig, attention: str) -> Tensor | Places:
    """Places in time: where a stream has them, or one a frame where all see all."""
    places = training_positions(frames, layout)
    return places.near if isinstance(places, Places) and attention == "bidirectional" else places


@torch.no_grad()
def fill(
    model: Any,
    latents: Tensor,
    given: Tensor,
    text: Tensor,
    layout: CausalConfig,
    options: RandomMasksOptions,
    steps: int,
    shift: float,
    rng: torch.Generator,
) -> Tensor:
    """Make the frames of a clip that are not given.

    Args:
        model: the generator.
        latents: the given frames in their places, anything in the others, (batch, channels, frames, height, width).
        given: shape (frames,).
        text: embeddings, shape (batch, text tokens, text channels).
        layout: block, window and sink.
        options: as in training.
        steps: Euler steps.
        shift: of the noise levels, as in training.
        rng: a CPU generator.

    Returns:
        The whole clip; the given frames are returned as they came.
    """
    frames = torch.arange(latents.shape[2], device=latents.device)
    mask = given_mask(frames, given, tokens_per_frame(model, latents), layout, options.attention)
    positions = clip_positions(frames, layout, options.attention)
    keep = given.to(latents.device)[None, None, :, None, None]
    clip = torch.where(keep, latents, torch.randn(latents.shape, generator=rng).to(latents))
    for level, following in pairwise(schedule(steps, shift).tolist()):
        timestep = torch.where(given.to(latents.device), 0.0, level * TIMESTEPS).expand(len(latents), -1)
        velocity, _ = model(clip, timestep, text, positions=positions, mask=mask)
        clip = torch.where(keep, clip, clip + (following - level) * velocity)
    return clip


def _between(least: int, most: int, rng: torch.Generator) -> int:
    return int(torch.randint(least, max(least, most) + 1, (1,), generator=rng))
