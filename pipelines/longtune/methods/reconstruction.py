"""Reconstruction: trains a VAE that has no weights yet, on the very clips the generator will learn from.

Runs before teacher forcing, and only for a tiny model; a released VAE is never touched.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.longtune.vae import Network, StreamingDecoder

_CLIP_FRAMES = 17  # 4k+1: the causal features of fewer latents drift when a longer video is decoded


def reconstruction_loss(vae: Network, video: Tensor, generator: torch.Generator) -> Tensor:
    """Mean squared error of encode-then-decode on a clip of each window, shorter so that a step costs less.

    Args:
        vae: the VAE, trainable.
        video: pixels in -1..1, shape (batch, 3, frames, height, width).
        generator: a CPU generator: draws the clip.
    """
    frames = min(_CLIP_FRAMES, video.shape[2])
    start = int(torch.randint(video.shape[2] - frames + 1, (1,), generator=generator))
    video = video[:, :, start : start + frames]
    latents = vae.encode(video).latent_dist.mode()
    decoder = StreamingDecoder(vae)
    # Not vae.decode: it clamps, and a clamped pixel has no gradient to come back with.
    restored = torch.cat([decoder.unclamped(latent) for latent in latents.split(1, dim=2)], dim=2)
    return torch.nn.functional.mse_loss(restored, video)
