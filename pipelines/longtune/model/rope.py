"""Rotary positions for frames at any place in time: diffusers' tables, looked up by frame number.

Keys are cached without rotation and turned when they are read, so that a frame's place can change while it is kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipelines.longtune.config import CausalConfig

Angles = tuple[Tensor, Tensor]


def angles(rope: Any, positions: Tensor, height: int, width: int) -> Angles:
    """Cosines and sines of a grid of tokens, each of shape (1, frames * height * width, 1, head_dim).

    Args:
        rope: the model's `WanRotaryPosEmbed`, whose tables are used as they are.
        positions: place in time of each frame, shape (frames,).
        height: tokens down a frame.
        width: tokens across a frame.

    Raises:
        ValueError: a position lies beyond the table (1024 latents, 256 s, in Wan2.1).
    """
    limit = rope.freqs_cos.shape[0]
    if positions.numel() and int(positions.max()) >= limit:
        raise ValueError(f"frame position {int(positions.max())} is beyond the rotary table of {limit} latents")
    frames = positions.shape[0]

    def grid(table: Tensor) -> Tensor:
        time, down, across = table.split([rope.t_dim, rope.h_dim, rope.w_dim], dim=1)
        parts = [
            time[positions].view(frames, 1, 1, -1).expand(frames, height, width, -1),
            down[:height].view(1, height, 1, -1).expand(frames, height, width, -1),
            across[:width].view(1, 1, width, -1).expand(frames, height, width, -1),
        ]
        return torch.cat(parts, dim=-1).reshape(1, frames * height * width, 1, -1)

    return grid(rope.freqs_cos), grid(rope.freqs_sin)


def rotate(states: Tensor, by: Angles) -> Tensor:
    """Turn states of shape (batch, tokens, heads, head_dim); the arithmetic is that of diffusers' Wan."""
    cos, sin = by[0][..., 0::2], by[1][..., 1::2]
    first, second = states.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.empty_like(states)
    turned[..., 0::2] = first * cos - second * sin
    turned[..., 1::2] = first * sin + second * cos
    return turned.type_as(states)


def stream_positions(frames: Tensor, end: int, span: int, layout: CausalConfig) -> Tensor:
    """Places in time of the frames a block reads, never outside the `span` the model was trained on.

    Up to `span` a frame's place is its number, so a stream equals a masked forward. Past it, the window stays at the
    end of the span and the sink at its start: only the gap between them is shortened (as LongLive's cache-relative
    positions), and the rotary table is never overrun. With an unlimited window every place is a frame's number.
    """
    if layout.window < 0:
        return frames
    shift = max(0, end - max(span, layout.sink + layout.window))
    return torch.where(frames < layout.sink, frames, frames - shift)
