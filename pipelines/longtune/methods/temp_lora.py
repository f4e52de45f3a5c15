"""Temporal LoRA: while a long video is made, a small adapter learns each finished window, and so remembers it.

What has left the sink and the window is gone from the cache; in the adapter's weights a trace of it stays. (Hong et al.
2024, SlowFast-VGen's fast learning: after each chunk, gradient steps of the diffusion loss on what was just made.) The
base weights are never touched, and without the adapter the generator is what it was, bit for bit.

Ours: the loss is the causal one that the generator was trained with, teacher forcing over the window; and after the
weights have changed, the memory is made anew by them (a recache), for no key may be older than the weights that read
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.methods.far import FarStream
from pipelines.longtune.methods.options import TempLoraOptions
from pipelines.longtune.methods.teacher_forcing import forced_velocity
from pipelines.longtune.noise import noised, shifted
from pipelines.longtune.stream import CausalStream

_NAME = "temp_lora"
_TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]  # of self- and cross-attention


class TempLora:
    """An adapter on a generator for as long as the context lasts.

    Args:
        model: a `CausalWanTransformer3DModel`, whose other adapters, if any, are merged.
        options: of the adapter and its learning.
        layout: block, window and sink.
        shift: of the noise levels, as in training.
        seed: of the adapter's start and of the noise that it learns with.
    """

    def __init__(self, model: Any, options: TempLoraOptions, layout: CausalConfig, shift: float, seed: int) -> None:
        self._model, self._options, self._layout, self._shift = model, options, layout, shift
        self._rng = torch.Generator().manual_seed(seed)
        self._recent: list[Tensor] = []
        self._fresh = 0

    def __enter__(self) -> Self:
        if any(isinstance(module, LoraLayer) for module in self._model.modules()):
            raise ValueError("temporal LoRA needs a generator whose other adapters are merged")
        self._trained = {name: value.requires_grad for name, value in self._model.named_parameters()}
        self._model.requires_grad_(False)
        rank = self._options.rank
        # B starts as zeros, so that nothing changes before the first window is learnt.
        adapter = LoraConfig(r=rank, lora_alpha=rank, target_modules=_TARGETS, init_lora_weights=True)
        with torch.random.fork_rng():
            torch.manual_seed(self._rng.initial_seed())
            self._model.add_adapter(adapter, adapter_name=_NAME)
        self._weights = [value for value in self._model.parameters() if value.requires_grad]
        for value in self._weights:
            value.data = value.data.float()
        self._optimizer = torch.optim.AdamW(self._weights, lr=self._options.lr, weight_decay=0.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._model.unload_lora()
        for name, value in self._model.named_parameters():
            value.requires_grad_(self._trained[name])

    def blocks(self, blocks: Iterator[Tensor], stream: CausalStream | FarStream) -> Iterator[Tensor]:
        """Hand on `blocks`, which `stream` makes, and learn each window between two of them."""
        for block in blocks:
            self._recent = [*self._recent, block][-self._options.blocks :]
            self._fresh += 1
            if self._fresh == self._options.blocks:
                self._fresh = 0
                window = torch.cat(self._recent, dim=2)
                frames = torch.arange(stream.frame - window.shape[2], stream.frame, device=window.device)
                self.learn(window, frames, stream.text)
                stream.switch(stream.text)
            yield block

    def learn(self, window: Tensor, frames: Tensor, text: Tensor) -> list[float]:
        """Gradient steps on a window; gives the loss before each.

        Args:
            window: clean latents, shape (batch, channels, frames, height, width).
            frames: their numbers, shape (frames,).
            text: embeddings of what they show, shape (batch, text tokens, text channels).
        """
        losses = []
        for _ in range(self._options.steps):
            with torch.enable_grad():
                loss = self.loss(window, frames, text, self._rng)
                self._optimizer.zero_grad(set_to_none=True)
                loss.backward()
            self._optimizer.step()
            losses.append(loss.item())
        self._optimizer.zero_grad(set_to_none=True)
        return losses

    def loss(self, window: Tensor, frames: Tensor, text: Tensor, rng: torch.Generator) -> Tensor:
        """The teacher-forcing loss on a window, with noise from `rng`."""
        block = self._layout.block
        levels = shifted(torch.rand(len(window), len(frames) // block, generator=rng), self._shift)
        levels = levels.repeat_interleave(block, dim=1).to(window)
        noise = torch.randn(window.shape, generator=rng).to(window)
        noisy = noised(window, noise, levels)
        velocity = forced_velocity(self._model, window, noisy, levels, text, frames, self._layout)
        return torch.nn.functional.mse_loss(velocity.float(), (noise - window).float())
