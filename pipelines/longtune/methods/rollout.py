"""A video that grows over training steps: one new clip each, made from the model's own past, block by block.

What is kept between two steps is the stream (its cache, prompt and random state) and the last latents, which the next
clip overlaps. All of it can be saved and restored bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipelines.longtune.noise import noised
from pipelines.longtune.stream import CausalStream


@dataclass
class Rollout:
    """Videos under way, one for each sample of the batch that started them.

    Attributes:
        stream: the generator with its memory.
        following: embeddings of what each video shows after the switch, shape (batch, text tokens, text channels); kept
            as tensors, since they may come with the shards, from batches that are long gone.
        switch_at: number of the frame at which all videos go over to it; beyond the end if they never do.
        switched: whether they have.
        counts: False for a video that only fills the place of a bad sample, shape (batch,).
        shape: of a block, (batch, channels, block, height, width).
        recent: the last latents, shape (batch, channels, at most the overlap and its lead, height, width).
    """

    stream: CausalStream
    following: Tensor
    switch_at: int
    switched: bool
    counts: Tensor
    shape: tuple[int, ...]
    recent: Tensor

    def extend(self, blocks: int, levels: Sequence[float], last: int, *, graph: bool) -> Tensor:
        """The next clip's new frames, shape (batch, channels, blocks * block, height, width).

        Each block is denoised down `levels` to the one at index `last`, whose estimate of the clean block is taken (as
        in Self-Forcing). Only that pass has a graph, and it ends at the block: what came before is read from the cache.

        Args:
            blocks: how many.
            levels: noise levels, falling; the first is 1.
            last: index of the last one used.
            graph: whether the estimates carry gradients.
        """
        if self.stream.frame >= self.switch_at and not self.switched:
            self.switched = True
            self.stream.switch(self.following)
        made = []
        for _ in range(blocks):
            block = self._noise()
            for index, level in enumerate(levels[: last + 1]):
                with torch.set_grad_enabled(graph and index == last):
                    clean = block - level * self.stream.velocity(block, level)
                if index < last:
                    at = torch.full((self.shape[0], self.shape[2]), levels[index + 1], device=clean.device)
                    block = noised(clean, self._noise(), at)
            self.stream.commit(clean)
            made.append(clean)
        return torch.cat(made, dim=2)

    def remember(self, latents: Tensor, most: int) -> None:
        """Keep the last `most` frames of the video that now ends with `latents`."""
        self.recent = torch.cat([self.recent, latents.detach()], dim=2)[:, :, -most:]

    def _noise(self) -> Tensor:
        return torch.randn(self.shape, generator=self.stream.rng).to(self.stream.device)

    def state_dict(self) -> dict[str, Any]:
        """All of it as tensors and plain values."""
        return {
            "stream": self.stream.state_dict(),
            "following": self.following,
            "switch_at": self.switch_at,
            "switched": self.switched,
            "counts": self.counts,
            "shape": list(self.shape),
            "recent": self.recent,
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any], stream: CausalStream) -> Rollout:
        """The videos that `state_dict` gave, on a new stream of the same model and layout."""
        stream.load_state_dict(state["stream"])
        return cls(
            stream,
            state["following"].to(stream.device),
            int(state["switch_at"]),
            bool(state["switched"]),
            state["counts"].to(stream.device),
            tuple(state["shape"]),
            state["recent"].to(stream.device),
        )
