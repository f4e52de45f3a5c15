"""Video to latents as it comes: a picture, then four at a time, with the VAE's own memory of those before.

A take of any length is encoded in the memory of four pictures, and each latent is that of an encoding of the whole.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

GROUP = 4
"""Pictures of a latent, but for the first, which is of one: the temporal stride of Wan's VAE."""


class StreamingEncoder:
    """Encodes a take from its start; equal to `vae.encode` of the whole.

    Args:
        vae: an `AutoencoderKLWan`.

    Raises:
        ValueError: the VAE is of another layout.
    """

    def __init__(self, vae: Any) -> None:
        from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

        if vae.config.patch_size is not None or vae.use_tiling:
            raise ValueError("this VAE patchifies pixels (Wan2.2) or tiles them; only Wan2.1's layout is supported")
        self._vae = vae
        self._features: list[Any] = [None] * sum(isinstance(m, WanCausalConv3d) for m in vae.encoder.modules())
        self._waiting: list[Tensor] = []
        self._started = False

    @torch.no_grad()
    def push(self, picture: Tensor) -> Tensor | None:
        """Add the next picture.

        Args:
            picture: -1..1, shape (batch, 3, 1, height, width).

        Returns:
            The posterior's mode, not normalised, shape (batch, channels, 1, height / 8, width / 8), once the picture
            completes a latent.
        """
        self._waiting.append(picture)
        if self._started and len(self._waiting) < GROUP:
            return None
        group, self._waiting, self._started = torch.cat(self._waiting, dim=2), [], True
        moments = self._vae.quant_conv(self._vae.encoder(group, feat_cache=self._features, feat_idx=[0]))
        return moments.chunk(2, dim=1)[0]  # mean and log-variance; a Gaussian's mode is its mean

    @property
    def waiting(self) -> int:
        """Pictures that have no latent yet."""
        return len(self._waiting)
