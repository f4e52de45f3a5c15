"""Batches without end from an index of shards, from any place in their order on, in any number of ranks and workers.

What a batch holds is a function of the seed and its place alone: `order` names its takes, and each take's window is
drawn from the seed, the pass, the place in it and the take's key. So a run resumes by starting its order at the place,
and replays nothing. A take that turns out bad leaves its row empty: shapes are the same on every rank whatever the data
is like.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipelines.longtune.config import BucketConfig, CausalConfig, DataConfig
from pipelines.longtune.data.captions import metadata, prompts, said, target
from pipelines.longtune.data.index import LATENTS, TEXT, Entry, Index, assign
from pipelines.longtune.data.latents import read_latents, read_text
from pipelines.longtune.data.order import Cursor, Draw, Order, Plan
from pipelines.longtune.data.places import window_frames
from pipelines.longtune.data.takes import BadTakeError, Note, ShortTakeError
from pipelines.longtune.data.tar import Tars
from pipelines.longtune.data.windows import read_window
from pipelines.longtune.errors import TuneError, UsageError
from pipelines.longtune.methods.method import Prompt

__all__ = ["Batch", "Cursor", "Note", "open_batches"]

_SPATIAL = 8  # pixels of a latent's side: Wan2.1's VAE


@dataclass(frozen=True)
class Batch:
    """A rank's share of a step. Rows whose `target` is all False are of bad takes, and zero.

    Attributes:
        video: uint8 RGB, shape (batch, 3, pictures, height, width); None if the input is latents.
        latents: normalised, float32, shape (batch, channels, frames, height / 8, width / 8); None if it is video.
        text: the embeddings that came with the latents: caption → valid rows, float32, shape (tokens, channels).
        frames: numbers of the latent frames, shape (frames,): from 0 for video, whose window is encoded as a take of
            its own; for latents as in their take, with the take's first frames before a gap.
        target: the latent frames that count, shape (batch, frames).
        captions: the one in force over the target, "" where it was dropped.
        timelines: the prompts from `frames`' zero to the take's end.
        keys: shard:key of each row.
        notes: takes and shards that were passed over on the way here.
        cursor: the place after this batch.
    """

    video: Tensor | None
    latents: Tensor | None
    text: Mapping[str, Tensor]
    frames: Tensor
    target: Tensor
    captions: list[str]
    timelines: list[list[Prompt]]
    keys: list[str]
    notes: list[Note]
    cursor: Cursor


def open_batches(
    index: Index,
    data: DataConfig,
    layout: CausalConfig,
    *,
    seed: int,
    cursor: Cursor,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """The rank's batches from `cursor` on, made in `data.num_workers` processes, without end.

    Args:
        index: of the shards; the same on every rank.
        data: the windows. `batch_size` is over all ranks.
        layout: captions are snapped to its blocks, and windows of latents hold its sink.
        seed: of the order and the windows.
        cursor: `Cursor()` to start, or a batch's, be it of another number of ranks or workers.
        rank: this process's.
        world: number of ranks.

    Raises:
        UsageError: `batch_size` cannot be shared among the ranks, or the cursor is of other data.
        TuneError: no take fits a bucket; no take of a whole pass could be read; a bad take where `on_bad_sample` is
            error; a decoding process died. Raised as the batches are drawn.
    """
    if data.batch_size % world:
        raise UsageError(
            f"data.batch_size ({data.batch_size}) counts windows over all ranks, and {world} ranks cannot share it; "
            f"set it to a multiple of {world}"
        )
    assigned = assign(index, data)
    plans = Order(assigned.buckets, seed).plans(cursor, data.batch_size)
    try:
        first = next(plans)  # the cursor is checked here, not in the middle of a step
    except ValueError as error:
        raise UsageError(f"{error}; give the same shards and config to resume, or another -o") from error
    return _batches(index, data, layout, seed, _shares(first, plans, rank, world), [*index.notes, *assigned.notes])


def _shares(first: Plan, plans: Iterator[Plan], rank: int, world: int) -> Iterator[tuple[Plan, Plan]]:
    for plan in [first]:
        yield plan, plan.part(rank, world)
    for plan in plans:
        yield plan, plan.part(rank, world)


def _batches(
    index: Index,
    data: DataConfig,
    layout: CausalConfig,
    seed: int,
    shares: Iterator[tuple[Plan, Plan]],
    notes: Sequence[Note],
) -> Iterator[Batch]:
    # Spawned, not forked: the parent has threads (OpenMP, a progress display) whose locks a fork would inherit.
    context = "spawn" if data.num_workers else None
    loader = DataLoader(
        _Windows(index, data, layout, seed),
        sampler=shares,  # type: ignore[arg-type] # any iterable will do
        batch_size=None,
        num_workers=data.num_workers,
        collate_fn=_as_is,
        multiprocessing_context=context,
    )
    lost = 0
    try:
        for batch in loader:
            batch = replace(batch, notes=[*notes, *batch.notes])
            notes = []
            _stop_at_bad(batch.notes, data)
            good = bool(batch.target.any())
            lost = 0 if good else lost + len(batch.keys)
            if lost >= len(index.takes):
                why = next((f"; {note.name} {note.reason}" for note in batch.notes), "")
                raise TuneError(f"none of the last {lost} takes could be read{why}")
            yield batch
    except RuntimeError as error:
        if not data.num_workers:
            raise
        raise TuneError(f"a decoding process died ({error}); data.num_workers: 0 shows where") from error


def _stop_at_bad(notes: Sequence[Note], data: DataConfig) -> None:
    bad = next((note for note in notes if note.kind == "bad"), None)
    if bad is not None and data.on_bad_sample == "error":
        raise TuneError(f"{bad.name}: {bad.reason}; repair it, or set data.on_bad_sample: skip")


def _as_is(batch: Any) -> Any:
    return batch


@dataclass(frozen=True)
class _Row:
    picture: Tensor  # a row of Batch.video or Batch.latents
    target: list[bool]
    caption: str
    timeline: list[Prompt]
    text: Mapping[str, Tensor] = field(default_factory=dict)


class _Windows(Dataset[Batch]):
    """A plan's batch. Runs in the decoding processes; each opens the shards for itself."""

    def __init__(self, index: Index, data: DataConfig, layout: CausalConfig, seed: int) -> None:
        self._index, self._data, self._layout, self._seed = index, data, layout, seed
        self._tars: Tars | None = None

    def __getitem__(self, shares: tuple[Plan, Plan]) -> Batch:  # type: ignore[override]
        whole, share = shares
        self._tars = self._tars or Tars()
        shape = self._data.shapes[share.bucket]
        frames, counts = self._frames(whole, shape)
        rows: list[_Row | None] = []
        notes: list[Note] = []
        for draw in share.draws:
            name = self._index.name(draw.take)
            try:
                rows.append(self._row(draw, shape, frames, counts, self._tars))
                continue
            except ShortTakeError as error:
                notes.append(Note("short", name, str(error)))
            except BadTakeError as error:
                notes.append(Note("bad", name, str(error)))
            except OSError as error:
                notes.append(Note("bad", name, f"cannot be read: {error}"))
            rows.append(None)
        empty = _Row(self._nothing(shape, len(frames), share), [False] * len(frames), "", [Prompt(0, "")])
        made = [row or empty for row in rows]
        pictures = torch.stack([row.picture for row in made])
        latents = self._data.input == "latents"
        return Batch(
            video=None if latents else pictures,
            latents=pictures if latents else None,
            text={caption: rows for row in made for caption, rows in row.text.items()},
            frames=torch.tensor(frames),
            target=torch.tensor([row.target for row in made]),
            captions=[row.caption for row in made],
            timelines=[row.timeline for row in made],
            keys=[self._index.name(draw.take) for draw in share.draws],
            notes=notes,
            cursor=share.cursor,
        )

    def _frames(self, plan: Plan, shape: BucketConfig) -> tuple[list[int], list[bool]]:
        """The latent frames of a batch and which of them may count, alike on every rank."""
        if self._data.input == "video":
            return list(range(shape.latents)), [True] * shape.latents
        headers = [self._index.takes[draw.take].latents for draw in plan.draws]
        longest = min(header.frames for header in headers if header is not None)
        rng = random.Random(f"{self._seed}/{plan.cursor.used}")  # noqa: S311 - a sample, not a secret
        return window_frames(longest, shape.latents, self._layout, rng)

    def _nothing(self, shape: BucketConfig, frames: int, plan: Plan) -> Tensor:
        if self._data.input == "video":
            return torch.zeros(3, shape.frames, shape.height, shape.width, dtype=torch.uint8)
        header = self._index.takes[plan.draws[0].take].latents
        channels = header.channels if header is not None else 0
        return torch.zeros(channels, frames, shape.height // _SPATIAL, shape.width // _SPATIAL)

    def _row(self, draw: Draw, shape: BucketConfig, frames: list[int], counts: list[bool], tars: Tars) -> _Row:
        entry, config = self._index.takes[draw.take], self._data.captions
        path, members = self._index.shards[entry.shard], entry.members
        name = self._index.name(draw.take)
        rng = random.Random(f"{self._seed}/{draw.epoch}/{draw.place}/{name}")  # noqa: S311 - a sample, not a secret
        values = metadata(tars.read(path, members["json"])) if "json" in members else {}
        text = tars.read(path, members["txt"]) if "txt" in members else None
        captions = said(values, text, config.level)
        start_s = 0.0
        embeddings: dict[str, Tensor] = {}
        if self._data.input == "video":
            window = read_window(tars.open(path, members["mp4"]), shape, self._data.fps, rng)
            picture, start_s = torch.from_numpy(window.video).permute(3, 0, 1, 2), float(window.start_s)
        else:
            picture = read_latents(tars.open(path, members[LATENTS]), frames)
            self._check_shape(picture, entry, shape)
        timeline = prompts(captions, start_s, self._data.fps, self._layout.block)
        able = [frame for frame, count in zip(frames, counts, strict=True) if count]
        caption, active, timeline = target(timeline, able, config, rng)
        chosen = {frame for frame, count in zip(able, active, strict=True) if count}
        if TEXT in members and self._data.input == "latents":
            stored = read_text(tars.read(path, members[TEXT]))
            wanted = {caption, *(prompt.text for prompt in timeline)}
            embeddings = {text: rows for text, rows in stored.items() if text in wanted}
        return _Row(picture, [frame in chosen for frame in frames], caption, timeline, embeddings)

    @staticmethod
    def _check_shape(picture: Tensor, entry: Entry, shape: BucketConfig) -> None:
        if picture.shape[2:] != (shape.height // _SPATIAL, shape.width // _SPATIAL):
            size = "x".join(map(str, picture.shape[2:]))
            raise BadTakeError(f"has latents of {size}, which are not those of {shape.height}x{shape.width} pixels")
