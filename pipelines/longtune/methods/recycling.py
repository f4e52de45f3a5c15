"""Error recycling: a model that is shown its own mistakes in training is not thrown by them when it streams.

A teacher-forced model sees clean video before each block, but when it is sampled it sees its own. Here what it got
wrong in earlier steps is kept, and added to the video it is shown; what it should answer stays the clean velocity.
(Stable Video Infinity's error-recycling fine-tuning, with the probabilities of LongLive 2.0.)

Ours: mistakes are kept by block rather than by clip, in fp16, within a bound of bytes, and clips of several sizes can
share the buffer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pipelines.longtune.errors import TuneError
from pipelines.longtune.methods.options import RecyclingOptions

_MEGABYTE = 1_000_000
_Ring = tuple[str, int]  # the shape of a block's mistake, and its bucket


class ErrorRecycler:
    """A ring buffer of mistakes for each range of noise levels, and what they are put into."""

    def __init__(self, options: RecyclingOptions) -> None:
        self._options = options
        self._rings: dict[_Ring, deque[Tensor]] = {}
        self.nbytes = 0

    def __len__(self) -> int:
        return sum(len(ring) for ring in self._rings.values())

    def inject(
        self, clean: Tensor, noise: Tensor, levels: Tensor, index: Tensor, step: int, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The clean context, the latents to be noised and the noise, each with mistakes in some blocks.

        Args:
            clean: latents, shape (batch, channels, frames, height, width).
            noise: the same shape.
            levels: of each frame, shape (batch, frames).
            index: block of each frame, shape (frames,).
            step: from 0; nothing is put in before the warm-up is over.
            rng: a CPU generator.
        """
        options = self._options
        spared = torch.rand(len(clean), generator=rng) < options.clean
        chances = torch.tensor([options.context, options.latent, options.noise])
        blocks = int(index[-1]) + 1
        coins = torch.rand(len(clean), blocks, 3, generator=rng) < chances
        shown = [clean, clean, noise]
        if step < options.warm_up or not len(self) or not options.scale:
            return clean, clean, noise
        for sample, block, what in (coins & ~spared[:, None, None]).nonzero().tolist():
            frames = (index == block).nonzero()[:, 0].to(clean.device)
            part = clean[sample][:, frames]
            # A context may come from any step of a block's making; what is being made is at its own level.
            bucket = None if what == 0 else self._bucket(float(levels[sample, int(frames[0])]))
            mistake = self._draw(_shape(part), bucket, rng)
            if mistake is None:
                continue
            if shown[what] is clean or shown[what] is noise:
                shown[what] = shown[what].clone()
            shown[what][sample][:, frames] += options.scale * mistake.to(part)
        return shown[0], shown[1], shown[2]

    @torch.no_grad()
    def collect(self, mistakes: Tensor, levels: Tensor, index: Tensor, target: Tensor) -> None:
        """Keep the mistakes of the blocks that count wholly.

        Args:
            mistakes: predicted less wanted clean latents, shape (batch, channels, frames, height, width).
            levels: at which they were made, shape (batch, frames).
            index: block of each frame, shape (frames,).
            target: frames that count, shape (batch, frames).
        """
        for block in range(int(index[-1]) + 1):
            frames = (index == block).nonzero()[:, 0].to(mistakes.device)
            parts = mistakes[:, :, frames].to("cpu", torch.float16)
            for sample in range(len(mistakes)):
                part = parts[sample].clone()
                # Of fp16's range, and of a loss gone wrong, nothing may come back.
                if bool(target[sample, frames].all()) and bool(part.isfinite().all()):
                    self._keep((_shape(part), self._bucket(float(levels[sample, int(frames[0])]))), part)

    def state_dict(self) -> dict[str, Any]:
        """Tensors only: for each shape the mistakes, oldest first in each bucket, and their buckets."""
        state: dict[str, Any] = {}
        for shape in sorted({shape for shape, _ in self._rings}):
            rings = [(bucket, ring) for (of, bucket), ring in sorted(self._rings.items()) if of == shape]
            state[f"{shape}.mistakes"] = torch.stack([part for _, ring in rings for part in ring])
            state[f"{shape}.buckets"] = torch.tensor([bucket for bucket, ring in rings for _ in ring])
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Hold just what `state_dict` gave."""
        self._rings, self.nbytes = {}, 0
        for name in sorted(state):
            shape, _, kind = name.rpartition(".")
            if kind == "mistakes":
                for part, bucket in zip(state[name], state[f"{shape}.buckets"].tolist(), strict=True):
                    self._keep((shape, bucket), part.clone())

    def _bucket(self, level: float) -> int:
        return min(int(level * self._options.buckets), self._options.buckets - 1)

    def _draw(self, shape: str, bucket: int | None, rng: torch.Generator) -> Tensor | None:
        rings = [self._rings[ring] for ring in sorted(self._rings) if ring[0] == shape and bucket in (None, ring[1])]
        if not rings:
            return None
        ring = rings[int(torch.randint(len(rings), (1,), generator=rng))]
        return ring[int(torch.randint(len(ring), (1,), generator=rng))]

    def _keep(self, place: _Ring, part: Tensor) -> None:
        if part.nbytes > self._options.megabytes * _MEGABYTE:
            raise TuneError(
                f"one block's mistake has {part.nbytes / _MEGABYTE:.1f} MB; raise method.recycling.megabytes above that"
            )
        ring = self._rings.setdefault(place, deque())
        ring.append(part)
        self.nbytes += part.nbytes
        if len(ring) > self._options.size:
            self._drop(place)
        while self.nbytes > self._options.megabytes * _MEGABYTE:
            self._drop(max(self._rings, key=self._size_of))

    def _size_of(self, place: _Ring) -> tuple[int, _Ring]:
        ring = self._rings[place]
        return len(ring) * ring[0].nbytes, place  # the place makes equals an order

    def _drop(self, place: _Ring) -> None:
        self.nbytes -= self._rings[place].popleft().nbytes
        if not self._rings[place]:
            del self._rings[place]


def _shape(part: Tensor) -> str:
    return "x".join(str(size) for size in part.shape)
