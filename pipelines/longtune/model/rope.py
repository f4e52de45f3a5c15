"""Rotary positions for frames at any place in time: diffusers' tables, looked up by a frame's place.

Keys are cached without rotation and turned when they are read, so that a frame's place can change while it is kept.
Rotary attention knows only the distance of two places. With `positions: absolute` a frame's place is its number. With
`relative` (LongLive's cache-relative positions) the window has true distances and the sink stands right before it, at
0, 1, …: no distance ever exceeds sink + window, however long the video. A stream and a training pass get the same
distances, also where a training window lies far behind its sink.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.errors import TuneError

Angles = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Places:
    """Places in time of a pass over many blocks, each of which has the sink at a distance of its own.

    Attributes:
        near: place of each frame as a key, and as a query of frames outside the sink, shape (frames,).
        far: place of each frame as a query of the sink's frames, shape (frames,).
        sink: which frames are of the sink, shape (frames,), bool.
    """

    near: Tensor
    far: Tensor
    sink: Tensor


def angles(rope: Any, positions: Tensor, height: int, width: int) -> Angles:
    """Cosines and sines of a grid of tokens, each of shape (1, frames * height * width, 1, head_dim).

    Args:
        rope: the model's `WanRotaryPosEmbed`, whose tables are used as they are.
        positions: place in time of each frame, shape (frames,).
        height: tokens down a frame.
        width: tokens across a frame.

    Raises:
        TuneError: a position lies beyond the table (1024 latents, 256 s, in Wan2.1).
    """
    limit = rope.freqs_cos.shape[0]
    if positions.numel() and int(positions.max()) >= limit:
        raise TuneError(
            f"frame position {int(positions.max())} is beyond the rotary table of {limit} latents; "
            "causal.positions: relative has no such limit"
        )
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


def stream_positions(frames: Tensor, end: int, layout: CausalConfig) -> Tensor:
    """Places in time of the frames that one block reads, the block's own among them.

    Args:
        frames: their numbers.
        end: number of the frame after the block.
        layout: window, sink and the kind of positions.
    """
    return torch.where(frames < layout.sink, frames, frames - _gap(torch.tensor(end), layout).to(frames.device))


def training_positions(frames: Tensor, layout: CausalConfig, looks_as: Tensor | None = None) -> Tensor | Places:
    """Places in time for one pass over many blocks, at the distances that each of them has when it is streamed.

    Args:
        frames: their numbers in any order, repeats allowed (a clean and a noisy copy), shape (frames,).
        layout: block, window, sink and the kind of positions.
        looks_as: number of a frame whose block's distance to the sink each frame has, shape (frames,); by default its
            own. A rolling window looks as its first block.

    Returns:
        What `CausalWanTransformer3DModel.forward` takes: one place a frame where that is enough.
    """
    end = ((frames if looks_as is None else looks_as) // layout.block + 1) * layout.block
    gap = _gap(end, layout)
    if not gap.any():
        return frames
    near, sink = _squeezed(frames, layout), frames < layout.sink
    return Places(near, frames - gap, sink) if sink.any() else near


def _gap(end: Tensor, layout: CausalConfig) -> Tensor:
    """Frames between the sink and the window of blocks that end at `end`: what relative positions leave out."""
    if layout.positions == "absolute" or layout.window < 0:
        return torch.zeros_like(end)
    return (end - layout.window - layout.sink).clamp_min(0)


def _squeezed(frames: Tensor, layout: CausalConfig) -> Tensor:
    """Numbers with every gap behind the sink cut down to the window, across which only the sink is seen: so a take's
    late windows stay inside the rotary table."""
    numbers, back = frames.unique(return_inverse=True)
    steps = torch.cat([numbers[:1], numbers.diff()])
    return torch.where(numbers < layout.sink, steps, steps.clamp_max(layout.window)).cumsum(0)[back]
