"""Distribution matching: two diffusion models judge a clip, and their difference is the way to make it likelier.

The teacher knows what real clips look like, the critic what the generator's do. Where their estimates of the clean clip
differ, the generator's clips are off, and the difference is the gradient of the divergence between the two. (Yin et al.
2024, DMD; as in Self-Forcing and LongLive.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipelines.longtune.methods.method import Loss
from pipelines.longtune.noise import TIMESTEPS, noised, shifted


def draw_judged(batch: int, shift: float, least: float, most: float, rng: torch.Generator) -> Tensor:
    """One level for each clip, shifted and kept away from both ends, shape (batch, 1)."""
    return shifted(torch.rand(batch, 1, generator=rng), shift).clamp(least, most)


def clean_estimate(model: Any, noisy: Tensor, level: Tensor, text: Tensor) -> Tensor:
    """A model's estimate of the clean clip, all frames seeing all: noisy - level * velocity.

    Args:
        model: a `CausalWanTransformer3DModel`, used as the bidirectional model it was made of.
        noisy: shape (batch, channels, frames, height, width).
        level: of each clip, shape (batch, 1).
        text: embeddings, shape (batch, text tokens, text channels).
    """
    return noisy - level[:, None, :, None, None] * clip_velocity(model, noisy, level, text)


def clip_velocity(model: Any, noisy: Tensor, level: Tensor, text: Tensor) -> Tensor:
    """The velocity of a clip as a whole; arguments as for `clean_estimate`."""
    frames = noisy.shape[2]
    timestep = (level * TIMESTEPS).expand(-1, frames)
    return model(noisy, timestep, text, positions=torch.arange(frames, device=noisy.device))[0]


@torch.no_grad()
def dmd_gradient(clip: Tensor, fake: Tensor, real: Tensor) -> Tensor:
    """The way down: (fake - real) / mean |clip - real|, the mean being each clip's.

    Args:
        clip: made by the generator, shape (batch, channels, frames, height, width).
        fake: the critic's estimate of the clean clip.
        real: the teacher's.
    """
    size = (clip - real).abs().mean(dim=(1, 2, 3, 4), keepdim=True)
    return torch.nan_to_num((fake - real) / size)


def dmd_loss(clip: Tensor, gradient: Tensor, scored: Tensor) -> Loss:
    """A loss whose gradient in `clip` is `gradient`, over the number of values scored.

    Args:
        clip: with a graph, shape (batch, channels, frames, height, width).
        gradient: the same shape.
        scored: frames that count, shape (batch, frames).
    """
    aim = (clip.float() - gradient.float()).detach()
    by_frame = 0.5 * (clip.float() - aim).square().mean(dim=(1, 3, 4))
    share = scored.to(by_frame)
    by_sample = (by_frame * share).sum(dim=1)
    value = by_sample.sum() / share.sum().clamp_min(1)
    return Loss(value, (by_sample / share.sum(dim=1).clamp_min(1)).detach())


def judge(
    clip: Tensor,
    scored: Tensor,
    *,
    critic: Any,
    teacher: Any,
    text: Tensor,
    negative: Tensor,
    guidance: float,
    level: Tensor,
    noise: Tensor,
) -> Loss:
    """The generator's loss. Both judges see the same noisy clip; neither gets a gradient.

    Args:
        clip: with a graph, shape (batch, channels, frames, height, width).
        scored: frames that count, shape (batch, frames).
        critic: knows the generator's clips.
        teacher: knows real ones.
        text: embeddings of the prompts, shape (batch, text tokens, text channels).
        negative: of what the teacher's guidance leads away from, the same shape.
        guidance: told + guidance * (told - untold), as Self-Forcing writes it; 0 asks the teacher but once.
        level: of each clip, shape (batch, 1).
        noise: shaped as `clip`.
    """
    with torch.no_grad():
        noisy = noised(clip.detach(), noise, level)
        fake = clean_estimate(critic, noisy, level, text)
        real = clean_estimate(teacher, noisy, level, text)
        if guidance:
            real = real + guidance * (real - clean_estimate(teacher, noisy, level, negative))
        gradient = dmd_gradient(clip.detach(), fake, real)
    loss = dmd_loss(clip, gradient, scored)
    return Loss(loss.value, loss.by_sample, {"dmd_gradient": float(gradient.abs().mean())})
