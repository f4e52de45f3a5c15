"""The contract between the training loop and a training method.

The loop owns data, optimisers, precision, sharding, averaging and checkpoints; a method owns what a step computes.
A method is one file: a class that says which networks it trains and, for a batch, what each of them loses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.text import TextEmbedder


@dataclass(frozen=True)
class Prompt:
    """What a take shows from a latent frame on, until the next prompt."""

    frame: int
    text: str


@dataclass(frozen=True)
class LatentBatch:
    """Latents of some takes, and what is said of them.

    Attributes:
        latents: normalised, shape (batch, channels, frames, height, width).
        frames: number of each latent frame in its take, rising, shape (frames,). A gap is allowed behind the sink: a
            window from the middle of a take comes with the take's first frames before it.
        target: True where a frame counts in the loss, shape (batch, frames). All others are context,
            read under the target's caption: what a stream holds after a prompt switch and its recache. A row that is
            all False is a sample that does not count: it only fills a bad one's place.
        captions: the caption in force over the target, one a sample.
        timelines: each take's prompts from its start, rising; at least one.
        keys: the samples' keys in their shards.
    """

    latents: Tensor
    frames: Tensor
    target: Tensor
    captions: Sequence[str]
    timelines: Sequence[Sequence[Prompt]]
    keys: Sequence[str]


@dataclass(frozen=True)
class Loss:
    """What one network is to descend.

    Attributes:
        value: a scalar with a gradient.
        by_sample: each sample's own loss, without gradient, shape (batch,); None where a batch is no set of takes.
        facts: numbers worth a line in the log.
    """

    value: Tensor
    by_sample: Tensor | None = None
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Tools:
    """What every method may use.

    Attributes:
        generator: the `CausalWanTransformer3DModel` (adapters and all) that is trained and will be sampled.
        vae: frozen.
        embed: captions to text embeddings, shape (batch, text tokens, text channels).
        layout: block, window and sink, in latent frames.
        span: latent frames of a training window.
        shift: the noise levels' shift.
        device: where the networks are.
        seed: the run's, for `shared`.
    """

    generator: Any
    vae: Any
    embed: TextEmbedder
    layout: CausalConfig
    span: int
    shift: float
    device: torch.device
    seed: int = 0


class Method(ABC):
    """One way to train. Made once a run, after the networks are loaded and before they are sharded."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks that are trained, by name; each gets an optimiser of its own. `generator` is always one."""
        return {"generator": self.tools.generator}

    @property
    def frozen(self) -> dict[str, nn.Module]:
        """Networks that are only asked, by name: they never change, so no checkpoint holds them. May be sharded."""
        return {}

    @abstractmethod
    def losses(self, batch: LatentBatch, step: int, rng: torch.Generator) -> dict[str, Loss]:
        """The losses of the networks that are to be stepped now, by name; each has a graph of its own.

        Args:
            batch: takes on the device.
            step: from 0; the same on every rank.
            rng: a CPU generator that differs by rank; choices that all ranks must share are drawn from `shared`.
        """

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, other than the networks', that a resumed run needs: buffers, a stream's history.

        Each rank has its own, and is given it back.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state, but the checkpoint holds {sorted(state)}")


def shared(seed: int, step: int) -> torch.Generator:
    """A generator for the choices that every rank must make alike in a step (an exit step, a length, a coin)."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
