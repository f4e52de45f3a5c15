"""Batches without end from a folder of shards, in an order that is a function of the seed alone, and can be resumed.

Every decoding process reads its own share of the shards (its role) and stamps each batch with its place in the stream.
To resume, the stream is replayed to that place without decoding, so a resumed run sees what it would have seen.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal

import torch
import webdataset as wds
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from pipelines.longtune.config import DataConfig
from pipelines.longtune.data.shards import BadTakeError, Take, read_shard
from pipelines.longtune.data.windows import ShortTakeError, read_window


@dataclass(frozen=True)
class Note:
    """A take or shard that was passed over: too short for a window, or bad."""

    kind: Literal["short", "bad"]
    name: str
    reason: str


@dataclass(frozen=True)
class Place:
    """How far the roles' streams have been used: role → (epoch, takes read in it); `last` is the latest role."""

    used: dict[int, tuple[int, int]] = field(default_factory=dict)
    last: int = -1

    def after(self, batch: Batch) -> Place:
        """The place once this batch is used."""
        return Place({**self.used, batch.role: batch.place}, batch.role)


@dataclass(frozen=True)
class Batch:
    """Windows and what was met on the way to them. Without windows (`video` None) it is a stream's last word."""

    video: Tensor | None  # uint8 RGB, (batch, 3, frames, height, width)
    captions: list[str]
    names: list[str]
    notes: list[Note]
    role: int
    place: tuple[int, int]


class TakeWindows(IterableDataset[Batch]):
    """One window from every take, epoch after epoch. A stream ends only if an epoch had no usable take."""

    def __init__(self, shards: list[Path], data: DataConfig, seed: int, start: Place) -> None:
        self._shards, self._data, self._seed, self._start = shards, data, seed, start

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        workers, index = (worker.num_workers, worker.id) if worker else (1, 0)
        # A DataLoader asks worker 0 first: after a resume that one must play the role whose turn it is.
        role = (self._start.last + 1 + index) % workers
        first_epoch, used = self._start.used.get(role, (0, 0))
        videos: list[Tensor] = []
        captions: list[str] = []
        names: list[str] = []
        notes: list[Note] = []
        for epoch in count(first_epoch):
            usable = epoch == first_epoch and used > 0
            for number, take in enumerate(self._takes(role, workers, epoch, notes), start=1):
                if epoch == first_epoch and number <= used:
                    continue
                try:
                    rng = random.Random(f"{self._seed}/{epoch}/{take.key}")  # noqa: S311 - a sample, not a secret
                    caption, window = take.caption, read_window(take.mp4, self._data, rng)
                except ShortTakeError as error:
                    notes.append(Note("short", take.name, str(error)))
                    continue
                except BadTakeError as error:
                    notes.append(Note("bad", take.name, str(error)))
                    continue
                usable = True
                videos.append(torch.from_numpy(window.video).permute(3, 0, 1, 2))
                captions.append(caption)
                names.append(take.name)
                if len(videos) == self._data.batch_size:
                    yield Batch(torch.stack(videos), captions, names, notes, role, (epoch, number))
                    videos, captions, names, notes = [], [], [], []
            if not usable:
                yield Batch(None, [], [], notes, role, (epoch, 0))
                return

    def _takes(self, role: int, workers: int, epoch: int, notes: list[Note]) -> Iterator[Take]:
        rng = random.Random(f"{self._seed}/{epoch}")  # noqa: S311 - an order, not a secret
        shards = self._shards[role::workers]
        rng.shuffle(shards)

        def problem(name: str, reason: str) -> None:
            notes.append(Note("bad", name, reason))

        stream = (take for shard in shards for take in read_shard(shard, problem))
        return wds.shuffle(self._data.shuffle_buffer, initial=self._data.shuffle_buffer, rng=rng)(stream)


def _as_is(batch: Any) -> Any:
    return batch


def open_batches(shards: list[Path], data: DataConfig, seed: int, start: Place) -> Iterator[Batch]:
    """Batches from `start` on, decoded in `data.num_workers` processes (at most one a shard)."""
    workers = min(data.num_workers, len(shards))
    dataset = TakeWindows(shards, data, seed, start)
    # Spawned, not forked: the parent has threads (OpenMP, a progress display) whose locks a fork would inherit.
    context = "spawn" if workers else None
    return iter(
        DataLoader(dataset, batch_size=None, num_workers=workers, collate_fn=_as_is, multiprocessing_context=context)
    )
