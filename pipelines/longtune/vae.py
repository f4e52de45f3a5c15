"""Frames to latents and back. Between pixels (uint8) and the transformer stand the VAE and a per-channel normalisation.

Encoding takes a whole window; decoding streams, one latent at a time, so a long video never has to fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from torch import Tensor

from pipelines.longtune.config_data import FRAMES_PER_LATENT

Network = Any  # an AutoencoderKLWan: mypy cannot see that diffusers' models are nn.Modules


def to_pixels(video: Tensor) -> Tensor:
    """uint8 0..255 to float -1..1, any shape."""
    return video.float() / 127.5 - 1


def to_bytes(pixels: Tensor) -> Tensor:
    """float -1..1 to uint8 0..255, any shape."""
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def _scale(vae: Network, like: Tensor) -> tuple[Tensor, Tensor]:
    mean = torch.tensor(vae.config.latents_mean).to(like).view(1, -1, 1, 1, 1)
    std = torch.tensor(vae.config.latents_std).to(like).view(1, -1, 1, 1, 1)
    return mean, std


@torch.no_grad()
def encode(vae: Network, pixels: Tensor) -> Tensor:
    """Normalised latents of whole windows: the posterior's mode, (z - mean) / std.

    Args:
        vae: the VAE; `latents_mean` and `latents_std` of its config are used.
        pixels: -1..1, shape (batch, 3, 4k+1, height, width).

    Returns:
        Shape (batch, channels, k+1, height / 8, width / 8).

    Raises:
        ValueError: the frame count is not 4k+1 (the VAE would drop the tail in silence).
    """
    if (pixels.shape[2] - 1) % FRAMES_PER_LATENT:
        raise ValueError(f"a window needs 4k+1 frames for the VAE; this one has {pixels.shape[2]}")
    mean, std = _scale(vae, pixels)
    return (vae.encode(pixels).latent_dist.mode() - mean) / std


@torch.no_grad()
def measure_scale(vae: Network, windows: Iterable[Tensor]) -> None:
    """Estimate each latent channel's mean and deviation on pixels (as in `encode`); store them in the VAE's config."""
    latents = torch.cat([vae.encode(pixels).latent_dist.mode().transpose(0, 1).flatten(1) for pixels in windows], dim=1)
    std = latents.std(dim=1).clamp_min(1e-4)  # a dead channel must not blow up
    vae.register_to_config(latents_mean=latents.mean(dim=1).tolist(), latents_std=std.tolist())


class StreamingDecoder:
    """Decodes latent after latent with the VAE's own feature cache; equal to `vae.decode` of the whole."""

    def __init__(self, vae: Network) -> None:
        if vae.config.patch_size is not None:
            raise ValueError("this VAE patchifies pixels (Wan2.2); only Wan2.1's layout is supported")
        self._vae = vae
        self._features: list[Tensor | None] = [None] * sum(
            isinstance(module, WanCausalConv3d) for module in vae.decoder.modules()
        )
        self._started = False

    def unclamped(self, latent: Tensor) -> Tensor:
        """Pixels of one raw (not normalised) latent frame, shape (batch, 3, 1 or 4, height, width)."""
        first, self._started = not self._started, True
        states = self._vae.post_quant_conv(latent)
        return self._vae.decoder(states, feat_cache=self._features, feat_idx=[0], first_chunk=first)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Pixels, -1..1, of the next normalised latents (batch, channels, frames, height, width)."""
        mean, std = _scale(self._vae, latents)
        raw = latents * std + mean
        return torch.cat([self.unclamped(latent) for latent in raw.split(1, dim=2)], dim=2).clamp(-1, 1)
