"""Who may look at whom, in latent frames: the one definition that training masks and the streaming cache both follow.

A block of frames is made together. It sees itself, the `window` latest frames (its own among them) and the `sink`
first frames. Masks are dense and boolean (True: may attend), for `scaled_dot_product_attention`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.longtune.config import CausalConfig


def visible(query: Tensor, key: Tensor, layout: CausalConfig, *, own_block: bool) -> Tensor:
    """Which frames of clean video each frame sees.

    Args:
        query: frame numbers, shape (Q,).
        key: frame numbers of the clean past, shape (K,).
        layout: block, window and sink, in latent frames.
        own_block: whether the clean copy of the query's own block may be seen.

    Returns:
        Boolean, shape (Q, K).
    """
    end = (query // layout.block + 1) * layout.block
    end, key = end[:, None], key[None, :]
    past = key < (end if own_block else end - layout.block)
    if layout.window < 0:
        return past
    return past & ((key >= end - layout.window) | (key < layout.sink))


def teacher_forcing_mask(index: Tensor, tokens_per_frame: int, layout: CausalConfig) -> Tensor:
    """Mask of the sequence [clean | noisy] of frames with the numbers `index`, shape (frames,).

    Clean sees clean as a cache would be filled; noisy sees the clean frames of strictly earlier blocks, and the noisy
    frames of its own block, just as a block sees the cache when it is sampled. (Teacher forcing as in Self-Forcing's
    `CausalDiffusion` and Causal-Forcing's stage 1.)
    """
    own = index[:, None] // layout.block == index[None, :] // layout.block
    clean_rows = torch.cat([visible(index, index, layout, own_block=True), torch.zeros_like(own)], dim=1)
    noisy_rows = torch.cat([visible(index, index, layout, own_block=False), own], dim=1)
    return _per_token(torch.cat([clean_rows, noisy_rows]), tokens_per_frame)


def _per_token(mask: Tensor, tokens: int) -> Tensor:
    return mask.repeat_interleave(tokens, dim=0).repeat_interleave(tokens, dim=1)
