"""That the VAE's streaming encoder and decoder are the VAE."""

from __future__ import annotations

import torch

from pipelines.longtune.proofs.subject import ROUNDING, Proof, Subject, apart
from pipelines.longtune.vae import StreamingDecoder
from stages.latents.encode import GROUP, StreamingEncoder

_LATENTS, _SIDE = 5, 4  # frames, and latents down and across: 17 frames of 32 x 32 pixels


@torch.no_grad()
def decoded_in_parts(subject: Subject) -> Proof:
    """Latents decoded one by one against all at once."""
    vae = subject.vae
    shape = (1, vae.config.z_dim, _LATENTS, _SIDE, _SIDE)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(subject.device)
    decoder = StreamingDecoder(vae)
    parts = torch.cat([decoder.decode(part) for part in latents.split([1, 3, 1], dim=2)], dim=2)
    mean, std = (
        torch.tensor(value).to(latents).view(1, -1, 1, 1, 1)
        for value in (vae.config.latents_mean, vae.config.latents_std)
    )
    whole = vae.decode(latents * std + mean).sample
    return Proof("VAE decodes a stream as the whole", apart(parts, whole), ROUNDING, f"{parts.shape[2]} frames")


@torch.no_grad()
def encoded_in_parts(subject: Subject) -> Proof:
    """A video encoded as it comes, four pictures at a time, against all at once."""
    vae, frames = subject.vae, GROUP * (_LATENTS - 1) + 1
    shape = (1, 3, frames, _SIDE * vae.spatial_compression_ratio, _SIDE * vae.spatial_compression_ratio)
    video = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1).to(subject.device)
    encoder = StreamingEncoder(vae)
    parts = [part for picture in video.split(1, dim=2) if (part := encoder.push(picture)) is not None]
    whole = vae.encode(video).latent_dist.mode()
    return Proof(
        "VAE encodes a stream as the whole", apart(torch.cat(parts, dim=2), whole), ROUNDING, f"{frames} frames"
    )
