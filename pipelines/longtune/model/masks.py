"""Who may look at whom, in latent frames: the one definition that training masks and the streaming cache both follow.

A block of frames is made together. It sees itself, the `window` latest frames (its own among them) and the `sink`
first frames. A rule is a table of frames by frames (True: may attend). `token_mask` makes of it what attention takes:
a dense tensor for `scaled_dot_product_attention`, or on CUDA a `BlockMask` for flex_attention, which skips the unseen.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from pipelines.longtune.config import CausalConfig

Mask = Tensor | BlockMask
_TILE = 128  # tokens; flex_attention's default


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


def causal_mask(frames: Tensor, tokens_per_frame: int, layout: CausalConfig) -> Mask:
    """Mask of clean frames with the numbers `frames`, shape (frames,): how a cache is filled."""
    return token_mask(visible(frames, frames, layout, own_block=True), tokens_per_frame)


def teacher_forcing_mask(frames: Tensor, tokens_per_frame: int, layout: CausalConfig) -> Mask:
    """Mask of the sequence [clean | noisy] of frames with the numbers `frames`, shape (frames,).

    Clean sees clean as a cache would be filled; noisy sees the clean frames of strictly earlier blocks, and the noisy
    frames of its own block, just as a block sees the cache when it is sampled. (Teacher forcing as in Self-Forcing's
    `CausalDiffusion` and Causal-Forcing's stage 1.)
    """
    own = frames[:, None] // layout.block == frames[None, :] // layout.block
    clean_rows = torch.cat([visible(frames, frames, layout, own_block=True), torch.zeros_like(own)], dim=1)
    noisy_rows = torch.cat([visible(frames, frames, layout, own_block=False), own], dim=1)
    return token_mask(torch.cat([clean_rows, noisy_rows]), tokens_per_frame)


def token_mask(table: Tensor, tokens_per_frame: int, *, flex: bool | None = None) -> Mask:
    """A rule over frames as a mask over tokens.

    Args:
        table: who sees whom, bool, shape (frames, frames).
        tokens_per_frame: tokens of a frame.
        flex: a `BlockMask` if True, dense if False; by default a `BlockMask` where the table is on CUDA. On a CPU
            flex_attention has no backward pass (PyTorch 2.14), so a `BlockMask` serves there to compare with only.
    """
    if table.device.type == "cuda" if flex is None else flex:
        return _block_mask(table, tokens_per_frame)
    return table.repeat_interleave(tokens_per_frame, dim=0).repeat_interleave(tokens_per_frame, dim=1)


def _block_mask(table: Tensor, tokens: int) -> BlockMask:
    """Tiles counted from the table, without ever holding a mask of tokens (4 GB for 81 frames of 480p)."""

    def mask_mod(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return table[query // tokens, key // tokens]

    rows, columns = table.shape
    left, right = _overlap(rows, tokens, table.device), _overlap(columns, tokens, table.device)
    seen = left @ table.to(left) @ right.T  # token pairs of each tile that may attend, exact in float64
    full = seen == _TILE * _TILE
    partial = (seen > 0) & ~full
    return BlockMask.from_kv_blocks(
        *_ordered(partial),
        *_ordered(full),
        BLOCK_SIZE=_TILE,
        mask_mod=mask_mod,
        seq_lengths=(rows * tokens, columns * tokens),
    )


def _overlap(frames: int, tokens: int, device: torch.device) -> Tensor:
    """Tokens that each tile shares with each frame, shape (tiles, frames)."""
    tile = torch.arange(-(-frames * tokens // _TILE), device=device, dtype=torch.float64)[:, None] * _TILE
    frame = torch.arange(frames, device=device, dtype=torch.float64)[None, :] * tokens
    return F.relu(torch.minimum(tile + _TILE, frame + tokens) - torch.maximum(tile, frame))


def _ordered(tiles: Tensor) -> tuple[Tensor, Tensor]:
    """Counts and indices of the True tiles of each row, as `BlockMask` keeps them."""
    indices = tiles.int().argsort(dim=1, descending=True, stable=True)
    return tiles.sum(dim=1).int()[None, None], indices.int()[None, None]
