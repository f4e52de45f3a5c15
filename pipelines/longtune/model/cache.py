"""The streaming memory: keys and values of the frames still in sight, as a value that is never changed in place.

Denoising only reads it; a clean pass over a finished block yields the next cache. Nothing that carries a gradient is
ever stored, so no graph can leak from one block to the next, and its size stops growing once the window is full.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.model.masks import visible

KeyValue = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class SinkWindowCache:
    """Un-rotated keys, and values, of the frames that the next block may see.

    Attributes:
        layout: block, window and sink.
        frames: numbers of the frames held, rising.
        layers: for each layer (keys, values), each of shape (batch, len(frames) * tokens, heads, head_dim).
    """

    layout: CausalConfig
    frames: tuple[int, ...] = ()
    layers: tuple[KeyValue, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes held by all layers."""
        return sum(tensor.nbytes for layer in self.layers for tensor in layer)

    def commit(self, block: tuple[int, ...], fresh: list[KeyValue]) -> SinkWindowCache:
        """The cache after a finished block, without the frames that no later block can see.

        Args:
            block: numbers of the block's frames; a part of them where the others are out of sight (a recache).
            fresh: the block's (keys, values) for each layer, from a pass at timestep 0.

        Raises:
            ValueError: a tensor carries a gradient, or the block does not follow the frames held.
        """
        if any(tensor.requires_grad for layer in fresh for tensor in layer):
            raise ValueError("commit a block under torch.no_grad(): the cache must not hold a graph")
        if self.frames and block[0] <= self.frames[-1]:
            raise ValueError(f"block {block} does not follow the cached frames {self.frames}")
        numbers = torch.tensor(self.frames + block)
        upcoming = torch.tensor([(block[-1] // self.layout.block + 1) * self.layout.block])
        keep = visible(upcoming, numbers, self.layout, own_block=False)[0].nonzero()[:, 0]
        old = self.layers or tuple((keys[:, :0], values[:, :0]) for keys, values in fresh)
        layers = tuple(
            (self._select(held[0], new[0], keep, len(numbers)), self._select(held[1], new[1], keep, len(numbers)))
            for held, new in zip(old, fresh, strict=True)
        )
        return SinkWindowCache(self.layout, tuple(numbers[keep].tolist()), layers)

    @staticmethod
    def _select(held: Tensor, new: Tensor, keep: Tensor, frames: int) -> Tensor:
        by_frame = torch.cat([held, new], dim=1).unflatten(1, (frames, -1))
        return by_frame[:, keep.to(by_frame.device)].flatten(1, 2)
