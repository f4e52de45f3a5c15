"""What a step is fed: this rank's share of the next batch, with the data's place and what was passed over."""

from __future__ import annotations

import time
from dataclasses import replace

from pipelines.longtune.checkpoint import TrainState
from pipelines.longtune.config import Config
from pipelines.longtune.data.index import Index, check_latents
from pipelines.longtune.data.loader import Batch, Cursor, open_batches
from pipelines.longtune.errors import TuneError
from pipelines.longtune.parallel import World
from pipelines.longtune.progress import Reporter


class Feed:
    """Batches without end; `state.cursor` and `state.skipped` follow them.

    Args:
        index: of the shards.
        config: the run's.
        world: the ranks, which share each batch.
        state: where the run stands.
        report: is told of each bad take once.

    Raises:
        TuneError: nothing in the shards can be used, or they hold latents of another VAE.
    """

    def __init__(self, index: Index, config: Config, world: World, state: TrainState, report: Reporter) -> None:
        self._state, self._report = state, report
        data = config.data
        if data.input == "latents" and config.model.source is not None:
            check_latents(index, data, config.model.source)
        try:
            cursor = Cursor() if state.cursor is None else Cursor.from_json(state.cursor)
        except (ValueError, LookupError, TypeError) as error:
            raise TuneError(
                f"the checkpoint's place in the data cannot be read ({error}); resume from another"
            ) from error
        self._batches = open_batches(
            index, data, config.causal, seed=config.train.seed, cursor=cursor, rank=world.rank, world=world.size
        )
        self.waited = 0.0

    def next(self) -> Batch:
        """This rank's share of the next batch; the time it took is left in `waited`, seconds."""
        started = time.perf_counter()
        batch = next(self._batches)
        self.waited = time.perf_counter() - started
        for note in batch.notes:
            if note.kind == "bad" and note.name not in self._state.skipped["bad"]:
                self._report.say(f"skipped {note.name}: {note.reason}")
            self._state.skipped[note.kind][note.name] = note.reason
        self._state.cursor = batch.cursor.to_json()
        return batch


def rows(batch: Batch, first: int, end: int) -> Batch:
    """Some of a batch's rows."""
    part = slice(first, end)
    return replace(
        batch,
        video=None if batch.video is None else batch.video[part],
        latents=None if batch.latents is None else batch.latents[part],
        target=batch.target[part],
        captions=batch.captions[part],
        timelines=batch.timelines[part],
        keys=batch.keys[part],
    )
