"""Clips by meaning: their embeddings on disk, k-means on them, and the pairs inside a cluster that are nearly the same.

After SemDeDup (Abbas et al., arXiv:2303.09540): pairs are sought only within clusters, so that the work grows with
clips times cluster size instead of the square of the clips. For `dedup` and `balance`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

PER_CLUSTER = 256
"""Vectors a centre is fitted on at most, faiss's own limit: more of them do not move it."""
STEPS = 20
"""Steps of k-means, Lloyd's: as many as SemDeDup's implementations take."""
BLOCK = 16_384
"""Vectors compared with all centres, or with each other, at once."""
NEAREST = 2
"""Clusters that a vector is sought in: a near pair that a border parts is found in the second."""


@dataclass(frozen=True)
class Vectors:
    """Embeddings of clips by number."""

    there: np.ndarray
    """(clips,) bool."""
    models: list[tuple[np.ndarray, np.ndarray]]
    """For each network: the clips' numbers, in order, and their unit vectors (n, dimensions) float32, on disk."""


def embedded(clip_ids: pa.ChunkedArray, embeddings: ds.Dataset, scratch: Path) -> Vectors:
    """The clips' embeddings, each network's apart; null, NaN and zero vectors are none."""
    ids = clip_ids.combine_chunks() if isinstance(clip_ids, pa.ChunkedArray) else clip_ids
    where: dict[tuple[str, int], list[tuple[np.ndarray, Path]]] = {}
    there = np.zeros(len(ids), bool)
    count = 0
    for batch in embeddings.to_batches(columns=["clip_id", "model", "vector"], batch_size=BLOCK):
        numbers = pc.index_in(batch["clip_id"], value_set=ids)
        for (model, size), chosen in _kinds(batch, numbers).items():
            values = pc.list_flatten(batch["vector"].take(pa.array(chosen)))
            vectors = values.to_numpy(zero_copy_only=False).reshape(len(chosen), size).astype(np.float32)
            lengths = np.linalg.norm(vectors, axis=1)
            sound = np.isfinite(lengths) & (lengths > 1e-6)
            mine = numbers.to_numpy(zero_copy_only=False)[chosen][sound].astype(np.int64)
            there[mine] = True
            path = scratch / f"vectors-{count}.npy"
            count += 1
            np.save(path, vectors[sound] / lengths[sound, None])
            where.setdefault((model, size), []).append((mine, path))
    return Vectors(there, [_joined(where[key], scratch / f"model-{n}") for n, key in enumerate(sorted(where))])


def _kinds(batch: pa.RecordBatch, numbers: pa.Array) -> dict[tuple[str, int], np.ndarray]:
    """Rows of each network and number of dimensions."""
    sizes = pc.list_value_length(batch["vector"]).fill_null(0).to_numpy()
    models = [model or "" for model in batch["model"].to_pylist()]
    wanted = (sizes > 0) & numbers.is_valid().to_numpy(zero_copy_only=False)
    found: dict[tuple[str, int], list[int]] = {}
    for row in np.flatnonzero(wanted).tolist():
        found.setdefault((models[row], int(sizes[row])), []).append(row)
    return {key: np.array(rows) for key, rows in found.items()}


def _joined(parts: list[tuple[np.ndarray, Path]], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """All vectors of a network in the order of their clips' numbers, in one file."""
    numbers = np.concatenate([mine for mine, _ in parts])
    place = np.empty(len(numbers), np.int64)
    place[np.argsort(numbers, kind="stable")] = np.arange(len(numbers))
    size = np.load(parts[0][1], mmap_mode="r").shape[1]
    if not len(numbers):
        return numbers, np.empty((0, size), np.float32)
    whole = np.memmap(path, np.float32, "w+", shape=(len(numbers), size))
    first = 0
    for mine, file in parts:
        whole[place[first : first + len(mine)]] = np.load(file)
        first += len(mine)
        file.unlink()
    return np.sort(numbers), whole


def centres(vectors: np.ndarray, count: int) -> np.ndarray:
    """Unit-length centres, (count, dimensions), of spherical k-means; the same for the same vectors in order."""
    random = np.random.default_rng(0)
    chosen = np.sort(random.permutation(len(vectors))[: PER_CLUSTER * count])
    sample = np.asarray(vectors[chosen])
    found = sample[np.sort(random.permutation(len(sample))[:count])].copy()
    for _ in range(STEPS):
        nearest = assigned(sample, found, 1)[:, 0]
        sums = np.zeros_like(found)
        order = np.argsort(nearest, kind="stable")
        starts = np.flatnonzero(np.append(True, np.diff(nearest[order]) != 0))
        sums[nearest[order][starts]] = np.add.reduceat(sample[order], starts, axis=0)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        found = np.where(lengths > 1e-6, sums / np.maximum(lengths, 1e-6), found)
    return found


def assigned(vectors: np.ndarray, found: np.ndarray, nearest: int) -> np.ndarray:
    """The nearest centres of each vector, the nearest first: (vectors, nearest) int64."""
    nearest = min(nearest, len(found))
    parts = []
    for first in range(0, len(vectors), BLOCK):
        cosines = np.asarray(vectors[first : first + BLOCK]) @ found.T
        top = np.argpartition(-cosines, nearest - 1, axis=1)[:, :nearest] if nearest < len(found) else None
        if top is None:
            top = np.broadcast_to(np.arange(len(found)), cosines.shape)
        order = np.argsort(-np.take_along_axis(cosines, top, 1), axis=1, kind="stable")
        parts.append(np.take_along_axis(top, order, 1))
    return np.concatenate(parts) if parts else np.empty((0, nearest), np.int64)


def near_pairs(vectors: Vectors, least: float) -> Iterator[tuple[int, int, float]]:
    """(a, b, cosine), a < b, of clips whose embeddings by the same network have at least that cosine."""
    for numbers, found in vectors.models:
        count = max(1, math.isqrt(len(found)))
        nearest = assigned(found, centres(found, count), NEAREST)
        order = np.argsort(nearest.ravel(), kind="stable")
        starts = np.searchsorted(nearest.ravel()[order], np.arange(count + 1))
        seen: set[tuple[int, int]] = set()
        for cluster in range(count):
            members = order[starts[cluster] : starts[cluster + 1]] // nearest.shape[1]
            for a, b, cosine in _close(np.asarray(found[members]), least):
                pair = int(numbers[members[a]]), int(numbers[members[b]])
                if pair not in seen:
                    seen.add(pair)
                    yield *pair, cosine


def _close(vectors: np.ndarray, least: float) -> Iterator[tuple[int, int, float]]:
    for first in range(0, len(vectors), BLOCK // 16):
        block = vectors[first : first + BLOCK // 16]
        for second in range(first, len(vectors), BLOCK // 16):
            cosines = block @ vectors[second : second + BLOCK // 16].T
            rows, columns = np.nonzero(cosines >= least)
            for a, b in zip(rows.tolist(), columns.tolist(), strict=True):
                if first + a < second + b:
                    yield first + a, second + b, float(cosines[a, b])
