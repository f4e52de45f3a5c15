"""The loop: batches to losses to optimiser steps, for any number of networks and ranks.

All that a step draws at random is a function of the seed, the step and the window's row in it, never of what was
drawn before. So no generator's state is to be kept for any rank, and ranks can be traded for
accumulation.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pipelines.longtune.checkpoint import TrainState
from pipelines.longtune.config import TrainConfig
from pipelines.longtune.config_data import FRAMES_PER_LATENT
from pipelines.longtune.data.loader import Batch
from pipelines.longtune.errors import TuneError, UsageError
from pipelines.longtune.feed import Feed, rows
from pipelines.longtune.losses import SampleLosses
from pipelines.longtune.methods.method import Loss
from pipelines.longtune.parallel import World
from pipelines.longtune.trainee import Trainee

_SKIPS_IN_A_ROW = 10  # steps; by then it is the weights that are broken, not a sample


@dataclass(frozen=True)
class Stage:
    """A part of a run.

    Attributes:
        name: "vae" or "transformer".
        steps: in all.
        trainees: by the name that losses go by.
        main: the one whose loss is the run's.
        losses: of a batch at a step, drawn with a generator.
    """

    name: str
    steps: int
    trainees: Mapping[str, Trainee]
    main: str
    losses: Callable[[Batch, int, torch.Generator], dict[str, Loss]]


class Loop:
    """Takes the steps of a stage.

    Args:
        train: the optimisation's settings.
        world: the ranks.
        feed: batches.
        state: where the run stands; kept up to date.
        losses: each sample's, over all ranks once `settle` was called.
    """

    def __init__(self, train: TrainConfig, world: World, feed: Feed, state: TrainState, losses: SampleLosses) -> None:
        self._train, self._world, self._feed, self._state = train, world, feed, state
        self._losses, self._fresh = losses, SampleLosses()
        self._bf16 = train.precision == "bf16" or (train.precision == "auto" and world.device.type == "cuda")
        self._skips = 0

    def steps(self, stage: Stage) -> Iterator[dict[str, Any]]:
        """Take the steps that are left of a stage, and give each one's row of metrics; the same on every rank."""
        while self._state.step < stage.steps:
            yield self._step(stage)

    def settle(self) -> None:
        """Bring what the ranks know of samples together, before it is written."""
        self._losses.merge(self._world.gather(self._fresh))
        self._fresh = SampleLosses()
        for theirs in self._world.gather(self._state.skipped):
            for kind, names in theirs.items():
                self._state.skipped[kind] |= names

    def _step(self, stage: Stage) -> dict[str, Any]:
        started, self._feed.waited = time.perf_counter(), 0.0
        for trainee in stage.trainees.values():
            trainee.forget_gradients()
        batch = self._feed.next()
        share = len(batch.keys)
        at_once = self._train.micro_batch or share
        if share % at_once:
            raise UsageError(
                f"train.micro_batch ({at_once}) must divide a rank's share of data.batch_size, which is {share} windows"
            )
        totals: dict[str, float] = {}
        broken: list[str] = []
        for first in range(0, share, at_once):
            part = rows(batch, first, first + at_once)
            losses = self._losses_of(stage, part, self._world.rank * share + first)
            faulty = _not_finite(losses, part)
            # Every rank goes without the backward pass, or none does: a sharded one needs them all.
            if self._world.any(bool(faulty)):
                broken += [key for theirs in self._world.gather(faulty) for key in theirs]
                continue
            weight = at_once / share
            (torch.stack([loss.value.float() for loss in losses.values()]).sum() * weight).backward()
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0.0) + loss.value.item() * weight
                for fact, value in loss.facts.items():
                    totals[f"{name}.{fact}"] = totals.get(f"{name}.{fact}", 0.0) + value * weight
            self._note(losses, stage.main, part)
        row: dict[str, Any] = {"stage": stage.name, "step": self._state.step + 1, "loss": None}
        stepped = [stage.trainees[name] for name in totals if name in stage.trainees]
        norms = {} if broken else {trainee.name: trainee.gradient_norm() for trainee in stepped}
        if not all(math.isfinite(norm) for norm in norms.values()):
            broken = [key for theirs in self._world.gather(batch.keys) for key in theirs]
        if broken:
            row |= self._without(stage, broken)
        else:
            self._skips = 0
            row["lr"] = {trainee.name: trainee.step(self._state.step) for trainee in stepped}.get(stage.main)
            row |= self._means(totals, stage.main)
            row |= {"grad_norm" if name == stage.main else f"grad_norm_{name}": norms[name] for name in norms}
        self._state.step += 1
        pictures = (len(batch.frames) - 1) * FRAMES_PER_LATENT + 1
        return row | self._pace(share * pictures, time.perf_counter() - started)

    def _losses_of(self, stage: Stage, batch: Batch, row: int) -> dict[str, Loss]:
        place = f"{self._train.seed}/{stage.name}/{self._state.step}/{row}"
        seed = int.from_bytes(hashlib.sha256(place.encode()).digest()[:7], "big")
        torch.manual_seed(seed)  # for what a network draws itself
        with torch.autocast(self._world.device.type, torch.bfloat16, enabled=self._bf16):
            return stage.losses(batch, self._state.step, torch.Generator().manual_seed(seed))

    def _note(self, losses: Mapping[str, Loss], main: str, batch: Batch) -> None:
        by_sample = losses[main].by_sample if main in losses else None
        if by_sample is not None:
            counts = batch.target.any(dim=1).tolist()
            for key, value, counted in zip(batch.keys, by_sample.tolist(), counts, strict=True):
                if counted:
                    self._fresh.add(key, value, self._state.step + 1)

    def _means(self, totals: Mapping[str, float], main: str) -> dict[str, float]:
        names = sorted(totals)
        sums = self._world.sum(totals[name] for name in names)
        means = {name: total / self._world.size for name, total in zip(names, sums, strict=True)}
        return {"loss" if name == main else f"loss_{name}" if "." not in name else name: means[name] for name in names}

    def _without(self, stage: Stage, broken: list[str]) -> dict[str, Any]:
        named = ", ".join(dict.fromkeys(broken))
        what = f"{stage.name} step {self._state.step + 1}: the loss or its gradient is not finite, on {named}"
        self._skips += 1
        if self._train.on_nan == "error":
            raise TuneError(
                f"{what}; look at the samples, lower the learning rate, or set train.on_nan: skip to go on without"
            )
        if self._skips == _SKIPS_IN_A_ROW:
            raise TuneError(f"{what}, and {_SKIPS_IN_A_ROW} steps in a row were so: the weights are broken; lower lr")
        self._state.nan_steps += 1
        return {"skipped": list(dict.fromkeys(broken))}

    def _pace(self, frames: int, seconds: float) -> dict[str, Any]:
        total, waited = self._world.sum([frames, self._feed.waited])
        return {
            "seconds": round(seconds, 4),
            "frames": int(total),
            "frames_per_s": round(total / seconds, 2),
            "data_wait": round(waited / self._world.size / seconds, 4),
        }


def _not_finite(losses: Mapping[str, Loss], batch: Batch) -> list[str]:
    """Keys of the samples whose loss is not finite; of all, where it cannot be told apart."""
    faulty: list[str] = []
    for loss in losses.values():
        if not math.isfinite(loss.value.item()):
            own = [0.0] * len(batch.keys) if loss.by_sample is None else loss.by_sample.tolist()
            named = [key for key, value in zip(batch.keys, own, strict=True) if not math.isfinite(value)]
            faulty += named or list(batch.keys)
    return faulty
