"""A running average of trained weights: what is sampled and exported, while the optimiser goes on with the raw ones.

Only weights that are trained are averaged, in float32 and sharded as they are; a library that copies whole modules
would double a frozen base and gather what FSDP2 splits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from pipelines.longtune.config import EmaConfig


class Ema:
    """The average of a network's trainable parameters, by name in `shadow`."""

    def __init__(self, network: nn.Module, config: EmaConfig) -> None:
        self._config = config
        self._trained = {name: value for name, value in network.named_parameters() if value.requires_grad}
        self.shadow = {name: value.detach().float().clone() for name, value in self._trained.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights in after optimiser step `step` (from 1); before the start the shadow is a copy of them."""
        for name, value in self._trained.items():
            if step <= self._config.start:
                self.shadow[name].copy_(value)
            else:
                self.shadow[name].lerp_(value.float(), 1 - self._config.decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network runs on the average inside the block, on the raw weights after it."""
        raw = {name: value.detach().clone() for name, value in self._trained.items()}
        self._put(self.shadow)
        try:
            yield
        finally:
            self._put(raw)

    @torch.no_grad()
    def _put(self, values: dict[str, torch.Tensor]) -> None:
        for name, value in self._trained.items():
            value.copy_(values[name])
