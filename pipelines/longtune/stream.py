"""Streams latents block by block: denoise beside the cache, commit the clean block to it, hand it out, forget the rest.

Time and memory of a block do not depend on how many came before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, pairwise
from typing import Any

import torch
from torch import Tensor

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.model.cache import KeyValue, SinkWindowCache
from pipelines.longtune.model.rope import stream_positions
from pipelines.longtune.noise import TIMESTEPS, schedule


class CausalStream:
    """The transformer with its memory of one video.

    Args:
        model: a `CausalWanTransformer3DModel`.
        text: embeddings of the prompt, shape (batch, text tokens, text channels).
        layout: block, window and sink.
        span: latent frames the model was trained on at once; positions never leave it.
    """

    def __init__(self, model: Any, text: Tensor, layout: CausalConfig, span: int) -> None:
        self._model, self._text, self._layout, self._span = model, text, layout, span
        self.cache = SinkWindowCache(layout)
        self.device = text.device
        self._next = 0

    @torch.no_grad()
    def velocity(self, block: Tensor, level: float) -> Tensor:
        """Velocity of the next block at a noise level; reads the cache only. Shapes (batch, channels, block, h, w)."""
        return self._forward(block, level * TIMESTEPS, collect=False)[0]

    @torch.no_grad()
    def commit(self, block: Tensor) -> None:
        """Put the finished block into the memory, by a pass at timestep 0, and go on to the next."""
        _, fresh = self._forward(block, 0.0, collect=True)
        self.cache = self.cache.commit(self._numbers(), fresh)
        self._next += self._layout.block

    def _numbers(self) -> tuple[int, ...]:
        return tuple(range(self._next, self._next + self._layout.block))

    def _forward(self, block: Tensor, timestep: float, *, collect: bool) -> tuple[Tensor, list[KeyValue]]:
        numbers = torch.tensor(self.cache.frames + self._numbers(), device=block.device)
        places = stream_positions(numbers, self._next + self._layout.block, self._span, self._layout)
        held = len(self.cache.frames)
        return self._model(
            block,
            torch.full((block.shape[0], block.shape[2]), timestep, device=block.device),
            self._text,
            positions=places[held:],
            cache=self.cache,
            cache_positions=places[:held],
            collect=collect,
        )


@torch.no_grad()
def stream_blocks(
    stream: CausalStream, shape: tuple[int, ...], steps: int, shift: float, generator: torch.Generator
) -> Iterator[Tensor]:
    """Clean blocks without end, by Euler steps down the noise levels.

    Args:
        stream: a fresh stream.
        shape: of a block, (batch, channels, block, height, width).
        steps: Euler steps a block.
        shift: of the noise levels, as in training.
        generator: a CPU generator for the noise, the same on every device.
    """
    levels = schedule(steps, shift).tolist()
    for _ in count():
        block = torch.randn(shape, generator=generator).to(stream.device)
        for level, following in pairwise(levels):
            block = block + (following - level) * stream.velocity(block, level)
        stream.commit(block)
        yield block
