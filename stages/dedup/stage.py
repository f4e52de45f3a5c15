"""Dedup: which clips show what another one shows already, in the same footage or in near meaning; the best is kept.

Clips are numbered by id, so the order of the rows that come in changes nothing, and two clips are the same footage or
not by themselves alone, whatever else is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from pydantic import Field

from curate.stage import TableStage, Workspace
from schemas import Table, duplicates
from stages.clusters import embedded, near_pairs
from stages.dedup.chosen import chosen
from stages.dedup.footage import Footage
from stages.dedup.keep import Copy, kept
from stages.dedup.samples import gather

BATCH = 50_000


class Dedup(TableStage):
    """Finds copies among the clips that screening keeps, or among those long enough where nothing screens.

    The best of several copies is the one with the most pixels inside its borders, then the sharpest, the longest, the
    one with the highest bit rate, and at last the first by id. A clip that holds another and is not held by it
    is kept whatever its quality.
    """

    name: ClassVar[str] = "dedup"
    writes: ClassVar[Table] = duplicates.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "sources": ("source_id", "width", "height", "bytes", "duration_s"),
        "clips": ("clip_id", "source_id", "start_s", "end_s", "long_enough"),
        "hash_series": ("source_id", "t_s", "hash", "thumbnail"),
    }
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "screening": ("clip_id", "kept"),
        "quality": ("clip_id", "sharpness", "border_share"),
        "embeddings": ("clip_id", "model", "vector"),
    }

    similar: float = Field(0.7, gt=0, le=1)
    """Least mean correlation of two clips' aligned thumbnails: re-encoded copies have 0.99, those cropped in an unusual
    way 0.75; other footage reaches 0.5."""
    still_similar: float = Field(0.97, gt=0, le=1)
    """The same where nothing moves in either, so that the picture is all there is to tell them apart by."""
    moves_alike: float = Field(0.5, gt=0, le=1)
    """Least correlation of what changes in them, so that two takes of one place, or two hours of one surveillance
    camera, are not copies of each other. Over 5 s and more those reach 0.46; copies have 0.9, and 0.52 where a dancer
    was sampled just between the original's samples."""
    share: float = Field(0.8, gt=0, le=1)
    """Share of a clip that the other must show for it to be a copy: with less of it, too much would be lost."""
    overlap_s: float = Field(3.0, gt=0)
    """Shortest overlap that proves anything, seconds: over 2 s, two hours of one camera reach 0.51."""
    near_meaning: float | None = Field(0.99, gt=0, le=1)
    """Least cosine of two clips' embeddings that makes them copies in meaning: SemDeDup's epsilon (Abbas et al.,
    arXiv:2303.09540) of 0.01, as NeMo Curator and cosmos-curate have it. None: only the same footage counts."""

    def run(self, inputs: Mapping[str, ds.Dataset], work: Workspace) -> Iterator[pa.Table]:
        clips, ranks = chosen(inputs, work.scratch)
        looked = clips.filter(clips["looked"])
        samples = gather(looked, inputs["hash_series"], work.scratch)
        hashed = np.diff(np.append(0, np.cumsum(~samples.flat))[samples.starts]) > 1
        limits = self.similar, self.still_similar, self.moves_alike, self.share, self.overlap_s
        copies = Footage(samples, *limits).kept(ranks)
        known = hashed
        if "embeddings" in inputs:
            vectors = embedded(looked["clip_id"], inputs["embeddings"], work.scratch)
            known = hashed | vectors.there
            if self.near_meaning is not None:
                copies = _with_meaning(copies, ranks, near_pairs(vectors, self.near_meaning))
        yield from _rows(clips, looked, known, np.diff(samples.starts), copies)


def _with_meaning(
    copies: dict[int, Copy], ranks: np.ndarray, near: Iterator[tuple[int, int, float]]
) -> dict[int, Copy]:
    """Copies in meaning of what is unique so far; what was a copy of such a clip is one of the clip kept instead."""
    pairs = [pair for pair in near if pair[0] not in copies and pair[1] not in copies]
    both = [Copy(*ends, "near meaning", cosine) for a, b, cosine in pairs for ends in ((a, b), (b, a))]
    meant = kept(ranks, both)
    moved = {
        number: Copy(number, meant[copy.of].of, "near meaning", meant[copy.of].similarity)
        for number, copy in copies.items()
        if copy.of in meant
    }
    return copies | moved | meant


def _rows(
    clips: pa.Table, looked: pa.Table, known: np.ndarray, counts: np.ndarray, copies: dict[int, Copy]
) -> Iterator[pa.Table]:
    ids = looked["clip_id"].to_pylist()
    numbers = np.full(len(clips), -1)
    numbers[clips["looked"].to_numpy()] = np.arange(len(looked))
    copied = np.bincount([copy.of for copy in copies.values()], minlength=max(1, len(ids)))
    for first in range(0, len(clips), BATCH):
        rows = []
        part = clips.slice(first, BATCH)
        for clip, number in zip(part.to_pylist(), numbers[first : first + BATCH].tolist(), strict=True):
            row = {"clip_id": clip["clip_id"], "source_id": clip["source_id"]}
            copy = copies.get(number)
            if number < 0:
                row["unmeasured"] = clip["why_not"]
            elif not known[number]:
                row["unmeasured"] = (
                    "of one colour, so that it has no hash" if counts[number] > 1 else "too short for two hashes"
                )
            elif copy is None:
                row |= {"unique": True, "cluster": ids[number], "copies": int(copied[number])}
            else:
                row |= {"unique": False, "copy_of": ids[copy.of], "cluster": ids[copy.of], "copies": 0}
                row |= {"kind": copy.kind, "similarity": copy.similarity, "mirrored": copy.mirrored}
                row |= {"speed": copy.speed, "start_s": copy.start_s, "end_s": copy.end_s}
            rows.append(row)
        yield pa.Table.from_pylist(rows, duplicates.TABLE.schema)
