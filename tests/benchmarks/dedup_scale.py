"""How long `dedup` takes for a million hashes, and how much memory, with copies planted among them.

`python tests/benchmarks/dedup_scale.py [--clips 50000] [--samples 20]`. The thumbnails are drawn with the spectrum of
natural pictures (amplitude falls with frequency, Field 1987): a scene a clip, in which something moves. One clip in
twenty is a copy of another: graded with an encoder's noise, mirrored, cropped by a tenth, or a sub-span off the grid.
"""

from __future__ import annotations

import argparse
import re
import resource
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from curate.dataset import to_arrow
from schemas import clips, hashes, sources
from stages.dedup.stage import Dedup
from stages.dedup.views import VIEWS, mirrored
from stages.hashes import CELLS, FLAT, hashed

FPS = 4
COPIES = 20
"""One clip in so many is a copy."""
KINDS = ("graded", "mirrored", "cropped", "sub-span")
BLOCK = 2_000


@dataclass(frozen=True)
class Work:
    scratch: Path


def spectrum() -> np.ndarray:
    """Patterns (255, 256) whose random sum looks like a natural picture's luma."""
    cells = (np.arange(CELLS) + 0.5) * np.pi / CELLS
    waves = np.cos(np.arange(CELLS)[:, None] * cells[None])
    at = [(u, v) for u in range(CELLS) for v in range(CELLS) if u or v]
    return np.stack([np.outer(waves[u], waves[v]).ravel() / np.hypot(u, v) for u, v in at]).astype(np.float32)


def clip(random: np.random.Generator, patterns: np.ndarray, samples: int) -> np.ndarray:
    """(samples, 256) float32: a scene, and a change that wanders over a tenth to all of its strength."""
    scene = random.standard_normal(len(patterns))
    steps = random.standard_normal((samples, len(patterns))) * 0.5
    wandering = np.cumsum(steps, 0) * random.uniform(0.1, 1.0)
    pictures = (scene + wandering).astype(np.float32) @ patterns
    return 120 + pictures * random.uniform(15, 40)


def changed(random: np.random.Generator, pictures: np.ndarray, kind: str) -> np.ndarray:
    """A copy of a clip."""
    if kind == "mirrored":
        pictures = mirrored(pictures)
    elif kind == "cropped":
        pictures = pictures @ VIEWS[random.integers(1, len(VIEWS))].T
    elif kind == "sub-span":
        shift, first = random.uniform(0, 1), int(random.integers(0, len(pictures) // 4))
        pictures = (pictures[:-1] * (1 - shift) + pictures[1:] * shift)[first : first + len(pictures) * 7 // 10]
    noise = random.standard_normal(pictures.shape) * 1.5
    return pictures * random.uniform(0.8, 1.2) + random.uniform(-10, 10) + noise


def write(folder: Path, count: int, samples: int) -> dict[str, tuple[str, str]]:
    """The tables that dedup reads. Returns each planted copy's original and kind, by clip id."""
    random = np.random.default_rng(7)
    patterns = spectrum()
    planted: dict[str, tuple[str, str]] = {}
    zeros = {f.name: 0 for f in clips.TABLE.schema if not f.nullable} | {"detectors": "", "still": []}
    rows, box = [], pq.ParquetWriter(folder / "hash_series.parquet", hashes.TABLE.schema)
    for first in range(0, count, BLOCK):
        pictures = []
        for n in range(first, first + BLOCK):
            at = n - first
            kind = KINDS[n // COPIES % len(KINDS)]
            copied = at % COPIES == COPIES - 1
            pictures.append(changed(random, pictures[at - 10], kind) if copied else clip(random, patterns, samples))
            name = f"{n:016d}-0000000-0000100"
            if copied:
                planted[name] = (f"{n - 10:016d}-0000000-0000100", kind)
            span = {"start_s": 0.0, "end_s": len(pictures[-1]) / FPS, "long_enough": True}
            rows.append(zeros | {"clip_id": name, "source_id": f"{n:032d}"} | span)
        box.write_table(_series(first, pictures))
    box.close()
    pq.write_table(to_arrow(clips.TABLE, rows), folder / "clips.parquet")
    facts = [
        {"source_id": row["source_id"], "path": "", "paths": [], "user": "{}", "width": 640, "height": 360, "bytes": 1}
        | {"duration_s": row["end_s"]}
        for row in rows
    ]
    pq.write_table(to_arrow(sources.SOURCES, facts), folder / "sources.parquet")
    return planted


def _series(first: int, pictures: list[np.ndarray]) -> pa.Table:
    whole = np.clip(np.rint(np.concatenate(pictures)), 0, 255).astype(np.uint8)
    lengths = [len(each) for each in pictures]
    numbers = np.concatenate([np.arange(length) for length in lengths])
    contrast = whole.std(1)
    owners = np.repeat(np.arange(first, first + len(pictures)), lengths)
    return pa.table(
        {
            "source_id": [f"{n:032d}" for n in owners.tolist()],
            "frame": numbers,
            "pts": numbers,
            "t_s": numbers / FPS,
            "hash": pa.array(hashed(whole), mask=contrast < FLAT),
            "thumbnail": pa.array([row.tobytes() for row in whole], pa.binary(CELLS * CELLS)),
            "contrast": contrast.astype(np.float32),
        },
        schema=hashes.TABLE.schema,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--clips", type=int, default=50_000)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where the tables are written and, once there, read again")
    given = parser.parse_args()
    with nullcontext(str(given.folder)) if given.folder else tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.mkdir(exist_ok=True)
        planted = write(folder, given.clips, given.samples)
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        inputs = {table: ds.dataset(folder / f"{table}.parquet") for table in ("clips", "sources", "hash_series")}
        with tempfile.TemporaryDirectory() as scratch:
            wall, used = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
            found = pa.concat_tables(Dedup().run(inputs, Work(Path(scratch))))
            wall, now = time.monotonic() - wall, resource.getrusage(resource.RUSAGE_SELF)
        cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        samples = inputs["hash_series"].count_rows()
        assert peak is not None
        print(f"{samples} hashes of {given.clips} clips: {wall:.1f} s, {cpu:.1f} CPU-s, {int(peak[1]) / 2**20:.2f} GiB")
    copies = {row["clip_id"]: row["copy_of"] for row in found.to_pylist() if row["copy_of"]}
    for kind in KINDS:
        mine = {clip: of for clip, (of, its) in planted.items() if its == kind}
        right = sum(copies.get(a) == b or copies.get(b) == a for a, b in mine.items())
        print(f"{kind:10} {right} of {len(mine)} found ({right / len(mine):.4f})")
    pairs = {frozenset((a, b)) for a, (b, _) in planted.items()}
    wrong = sum(frozenset(pair) not in pairs for pair in copies.items())
    print(f"precision {1 - wrong / max(1, len(copies)):.4f}")


if __name__ == "__main__":
    main()
