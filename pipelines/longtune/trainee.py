"""A network in training: its optimiser, warm-up, average, and what of them a checkpoint holds."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pipelines.longtune.adapters import trainable
from pipelines.longtune.config import EmaConfig, TrainConfig
from pipelines.longtune.ema import Ema
from pipelines.longtune.parallel import World

_SLOTS = ("exp_avg", "exp_avg_sq")  # AdamW's moments


class Trainee:
    """A network with an AdamW of its own.

    Args:
        name: as the method calls it.
        network: sharded already.
        lr: the learning rate after warm-up.
        train: the other settings of the optimiser.
        ema: the average to keep, if any.
        world: the ranks.
    """

    def __init__(
        self, name: str, network: nn.Module, lr: float, train: TrainConfig, ema: EmaConfig | None, world: World
    ) -> None:
        self.name, self.network = name, network
        self.trained = trainable(network)
        self._lr, self._train, self._world = lr, train, world
        self._optimizer = torch.optim.AdamW(
            self.trained.values(), lr=lr, betas=train.betas, weight_decay=train.weight_decay
        )
        self.ema = Ema(network, ema) if ema is not None else None

    def forget_gradients(self) -> None:
        """Drop all gradients."""
        self._optimizer.zero_grad(set_to_none=True)

    def gradient_norm(self) -> float:
        """Average the gradients over the ranks, clip them, and give the norm they had; the same on every rank."""
        self._world.average_gradients(self.trained.values())
        norm = nn.utils.clip_grad_norm_(self.trained.values(), self._train.grad_clip)
        return (norm.full_tensor() if isinstance(norm, DTensor) else norm).item()

    def step(self, step: int) -> float:
        """Take optimiser step `step` (from 0) and give its learning rate."""
        lr = self._lr * min(1.0, (step + 1) / max(1, self._train.warmup))
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()
        if self.ema is not None:
            self.ema.update(step + 1)
        return lr

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint keeps of this network, by name: weights, moments, step counts and average.

        What the optimiser has not made yet is zero, as it will be when it is made.
        """
        found: dict[str, Tensor] = {}
        for name, value in self.trained.items():
            state = self._optimizer.state.get(value, {})
            found[f"{self.name}/weight/{name}"] = value.detach()
            found[f"{self.name}/step/{name}"] = state.get("step", torch.tensor(0.0)).detach().clone()
            for slot in _SLOTS:
                found[f"{self.name}/{slot}/{name}"] = state.get(slot, torch.zeros_like(value.detach()))
            if self.ema is not None:
                found[f"{self.name}/ema/{name}"] = self.ema.shadow[name]
        return found

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from `tensors`, which are of this very network and sharding."""
        for name, value in self.trained.items():
            value.copy_(tensors[f"{self.name}/weight/{name}"])
            steps = tensors[f"{self.name}/step/{name}"]
            if steps > 0:
                moments = {slot: tensors[f"{self.name}/{slot}/{name}"] for slot in _SLOTS}
                self._optimizer.state[value] = {"step": steps, **moments}
            if self.ema is not None:
                self.ema.shadow[name].copy_(tensors[f"{self.name}/ema/{name}"])

    @property
    def size(self) -> int:
        """Trained numbers, over all ranks."""
        return sum(math.prod(value.shape) for value in self.trained.values())
