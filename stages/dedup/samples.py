"""The hashed samples of all clips in one place: numbers by clip, thumbnails on disk so that memory stays bounded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from stages.hashes import CELLS

DUCKDB_MEMORY = "1GB"
"""What sorting may take in memory; the rest goes to the scratch folder."""
BATCH = 50_000


@dataclass(frozen=True)
class Samples:
    """Samples of clip n are those from `starts[n]` to `starts[n + 1]`, in time order."""

    starts: np.ndarray
    """(clips + 1,) int64."""
    times: np.ndarray
    """(samples,) float64, seconds in the source."""
    hashes: np.ndarray
    """(samples,) uint64; 0 in a flat picture."""
    flat: np.ndarray
    """(samples,) bool: a picture of one colour, whose hash says nothing."""
    thumbnails: np.ndarray
    """(samples, 256) uint8, in a file."""

    def of(self, clip: int) -> slice:
        return slice(int(self.starts[clip]), int(self.starts[clip + 1]))

    def clips(self) -> np.ndarray:
        """The clip of each sample, (samples,) int32."""
        return np.repeat(np.arange(len(self.starts) - 1, dtype=np.int32), np.diff(self.starts))


def gather(clips: pa.Table, series: ds.Dataset, scratch: Path) -> Samples:
    """The samples inside the clips (clip_id, source_id, start_s, end_s, in order)."""
    numbered = clips.append_column("clip", pa.array(np.arange(len(clips), dtype=np.int32)))
    with duckdb.connect(config={"memory_limit": DUCKDB_MEMORY, "temp_directory": str(scratch), "threads": 1}) as base:
        base.register("clips", numbered)
        base.register("series", series)
        inside = """from series join clips on series.source_id = clips.source_id
            and t_s >= start_s - 1e-9 and t_s < end_s - 1e-9"""
        count = int(base.sql(f"select count(*) {inside}").fetchall()[0][0])
        samples = Samples(
            np.zeros(len(clips) + 1, np.int64),
            np.empty(count),
            np.zeros(count, np.uint64),
            np.ones(count, bool),
            _on_disk(scratch / "thumbnails", count),
        )
        wanted = f"select clip, t_s, hash, thumbnail {inside} order by clip, t_s"
        owner = np.empty(count, np.int32)
        first = 0
        for batch in base.sql(wanted).to_arrow_reader(BATCH):
            here = slice(first, first + len(batch))
            owner[here] = batch["clip"]
            samples.times[here] = batch["t_s"]
            samples.flat[here] = batch["hash"].is_null().to_numpy(zero_copy_only=False)
            samples.hashes[here] = batch["hash"].fill_null(0)
            samples.thumbnails[here] = _bytes(batch["thumbnail"])
            first += len(batch)
    samples.starts[:] = np.searchsorted(owner, np.arange(len(clips) + 1))
    return samples


def _on_disk(path: Path, count: int) -> np.ndarray:
    shape = (count, CELLS * CELLS)
    return np.memmap(path, np.uint8, "w+", shape=shape) if count else np.empty(shape, np.uint8)


def _bytes(column: pa.Array) -> np.ndarray:
    """A column of equally long binaries as (rows, bytes) uint8."""
    plain = column.cast(pa.binary(CELLS * CELLS))
    values = np.frombuffer(memoryview(plain.buffers()[1] or b""), np.uint8)
    return values.reshape(-1, CELLS * CELLS)[plain.offset : plain.offset + len(plain)]
