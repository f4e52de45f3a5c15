"""Streams latents block by block: denoise beside the cache, commit the clean block to it, hand it out, forget the rest.

Time and memory of a block do not depend on how many came before it.

`CausalStream` serves sampling and training alike. Its cache is an input that is only read: `velocity` builds a graph
if the caller has gradients enabled, and that graph ends at the block it was given, since what the cache holds was
written by `commit`, without gradients. A roll-out whose newest clip alone is trained takes, for each block, `velocity`
under `torch.no_grad()` down to the exit step, `velocity` with gradients there, and `commit`; nothing is to be cleared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count, pairwise
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.model.cache import KeyValue, SinkWindowCache
from pipelines.longtune.model.rope import stream_positions
from pipelines.longtune.noise import TIMESTEPS, noised, schedule


class CausalStream:
    """The transformer with its memory of one video, or of a batch of videos that advance together.

    Args:
        model: a `CausalWanTransformer3DModel`. While it is in eval mode its weights are taken to stay as they are, and
            a prompt's keys and values are kept until the next `switch`.
        text: embeddings of the prompts, shape (batch, text tokens, text channels).
        layout: block, window, sink and the kind of positions.
        rng: the CPU generator that `stream_blocks` draws noise from; part of the state. Its seed is the video's.
        guidance: classifier-free guidance; above 1 a second cache is filled for `dropped`.
        dropped: embeddings of the empty caption, shape (1, text tokens, text channels); needed if guidance is above 1.
        context_timestep: at which finished blocks are put into the memory: how the past looked in training, as the
            options of the method say. Above 0 they are noised to it; -1 is FAR's marker of a clean frame.

    Attributes:
        cache: keys and values of the frames in sight; with guidance, those of the dropped text are the batch's
            second half.
        kept: latents of the same frames, shape (batch, channels, frames, height, width): what a prompt switch needs.
        frame: number of the next frame.
    """

    def __init__(
        self,
        model: Any,
        text: Tensor,
        layout: CausalConfig,
        *,
        rng: torch.Generator | None = None,
        guidance: float = 1.0,
        dropped: Tensor | None = None,
        context_timestep: float = 0.0,
    ) -> None:
        if (guidance > 1) != (dropped is not None):
            raise ValueError("guidance above 1 goes with the empty caption's embeddings, and these with guidance")
        self._model, self._layout, self._guidance, self._dropped = model, layout, guidance, dropped
        self._context = context_timestep / TIMESTEPS
        self.rng = torch.Generator() if rng is None else rng
        self.cache = SinkWindowCache(layout)
        self.kept: Tensor | None = None
        self.device = text.device
        self.frame = 0
        self._say(text)

    def velocity(self, block: Tensor, level: float | Tensor) -> Tensor:
        """Velocity of the next frames beside the cache, which is only read.

        Args:
            block: noisy latents, shape (batch, channels, frames, height, width). Frames beyond one block see, and are
                seen by, all others: a rolling window that is denoised together.
            level: noise level, 0 to 1; or one for each frame, shape (batch, frames).

        Returns:
            Shaped as `block`; with a graph through it if gradients are enabled.
        """
        levels = torch.as_tensor(level, dtype=torch.float32, device=block.device).expand(len(block), block.shape[2])
        numbers = tuple(range(self.frame, self.frame + block.shape[2]))
        if self._dropped is None:
            return self._forward(block, levels, numbers, collect=False)[0]
        both = self._forward(torch.cat([block, block]), torch.cat([levels, levels]), numbers, collect=False)[0]
        told, untold = both.chunk(2)
        return untold + self._guidance * (told - untold)

    @property
    def text(self) -> Tensor:
        """Embeddings of the prompts in force."""
        return self._text

    @torch.no_grad()
    def commit(self, block: Tensor) -> None:
        """Put the next finished block into the memory, by a pass at the context's timestep, and go on to the next."""
        if block.shape[2] != self._layout.block:
            raise ValueError(f"commit a block of {self._layout.block} frames; this one has {block.shape[2]}")
        self._write(block.detach(), tuple(range(self.frame, self.frame + self._layout.block)))
        self.frame += self._layout.block

    @torch.no_grad()
    def switch(self, text: Tensor) -> None:
        """Change the prompt from the next block on, and the memory with it (LongLive's KV-recache).

        The frames in sight are committed anew under the new text, block by block, from their latents, at their old
        places. While no frame has left the sight, this is what a stream under the new text from its start would hold,
        bit for bit; later it is a recomputation of the kept frames alone, which do not remember those that left.
        """
        frames, latents = self.cache.frames, self.kept
        self._say(text)
        self.cache, self.kept = SinkWindowCache(self._layout), None
        if latents is None:
            return
        blocks = torch.tensor(frames) // self._layout.block
        for number in blocks.unique().tolist():
            part = (blocks == number).nonzero()[:, 0]
            self._write(latents[:, :, part.to(latents.device)], tuple(frames[index] for index in part.tolist()))

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers from which `load_state_dict` goes on bit-equal. Its size does not grow.

        Keys and values are in it, not only latents: after an optimiser step they could not be computed again.
        """
        state: dict[str, Any] = {"frame": self.frame, "frames": list(self.cache.frames), "text": self._text}
        state["rng"] = self.rng.get_state()
        if self.kept is not None:
            state["kept"] = self.kept
        for index, (keys, values) in enumerate(self.cache.layers):
            state |= {f"keys.{index}": keys, f"values.{index}": values}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave, of a stream of the same model, layout and guidance."""
        layers = sum(key.startswith("keys.") for key in state)
        pairs = [(state[f"keys.{index}"], state[f"values.{index}"]) for index in range(layers)]
        moved = tuple((keys.to(self.device), values.to(self.device)) for keys, values in pairs)
        self.cache = SinkWindowCache(self._layout, tuple(state["frames"]), moved)
        self.kept = state["kept"].to(self.device) if "kept" in state else None
        self.frame = int(state["frame"])
        self.rng.set_state(state["rng"])
        self._say(state["text"].to(self.device))

    def _say(self, text: Tensor) -> None:
        self._text = text
        self._both = text if self._dropped is None else torch.cat([text, self._dropped.expand_as(text)])
        self._memory: list[KeyValue] = []

    def _write(self, block: Tensor, numbers: tuple[int, ...]) -> None:
        """Commit frames with these numbers, all of one block."""
        shown, levels = block, torch.full((len(block), len(numbers)), self._context, device=block.device)
        if self._context > 0:
            shown = noised(block, torch.randn(block.shape, generator=self.rng).to(block), levels)
        latents = shown if self._dropped is None else torch.cat([shown, shown])
        levels = levels if self._dropped is None else torch.cat([levels, levels])
        _, fresh = self._forward(latents, levels, numbers, collect=True)
        seen = dict(zip(self.cache.frames + numbers, self._frames(self.kept) + self._frames(block), strict=True))
        self.cache = self.cache.commit(numbers, fresh)
        self.kept = torch.cat([seen[number] for number in self.cache.frames], dim=2) if self.cache.frames else None

    @staticmethod
    def _frames(latents: Tensor | None) -> tuple[Tensor, ...]:
        return () if latents is None else latents.split(1, dim=2)

    def _forward(
        self, latents: Tensor, levels: Tensor, numbers: tuple[int, ...], *, collect: bool
    ) -> tuple[Tensor, list[KeyValue]]:
        held = len(self.cache.frames)
        end = (numbers[0] // self._layout.block + 1) * self._layout.block
        frames = torch.tensor(self.cache.frames + numbers, device=latents.device)
        places = stream_positions(frames, end, self._layout)
        # In training mode the next optimiser step would leave a prompt's keys and values behind.
        remember = not self._model.training and not torch.is_grad_enabled()
        return self._model(
            latents,
            levels * TIMESTEPS,
            self._both,
            positions=places[held:],
            cache=self.cache,
            cache_positions=places[:held],
            collect=collect,
            text_memory=self._memory if remember else None,
        )


class Stream(Protocol):
    """What blocks can be streamed from: a video that goes on from its own past."""

    rng: torch.Generator
    device: torch.device

    def velocity(self, block: Tensor, level: float) -> Tensor:
        """Velocity of the next block at a noise level."""

    def commit(self, block: Tensor) -> None:
        """Remember the finished block."""


@torch.no_grad()
def stream_blocks(
    stream: Stream,
    shape: tuple[int, ...],
    steps: int,
    shift: float,
    solver: Literal["euler", "renoise"] = "euler",
) -> Iterator[Tensor]:
    """Clean blocks without end, down the noise levels; a prompt may be switched between two of them.

    Args:
        stream: where to go on from; its `rng` gives the noise, the same on every device.
        shape: of a block, (batch, channels, block, height, width).
        steps: steps a block.
        shift: of the noise levels, as in training.
        solver: see `SampleConfig.solver`.
    """
    levels = schedule(steps, shift).tolist()

    def noise() -> Tensor:
        return torch.randn(shape, generator=stream.rng).to(stream.device)

    for _ in count():
        block = noise()
        for level, following in pairwise(levels):
            velocity = stream.velocity(block, level)
            if solver == "euler":
                block = block + (following - level) * velocity
            else:
                clean = block - level * velocity
                at = torch.full((shape[0], shape[2]), following, device=clean.device)
                block = noised(clean, noise(), at) if following > 0 else clean
        stream.commit(block)
        yield block
