"""Concept balancing: clips fall into clusters of near meaning, and each cluster has a quota that its best clips fill.

Without it a crawl has a thousand talking heads for each coral reef. VidGen, Open-Sora and HunyuanVideo resample by
k-means clusters; here a clip is marked, and `select` decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pydantic import Field

from curate.stage import TableStage, Workspace
from schemas import Table, balance
from stages.clusters import assigned, centres, embedded
from stages.dedup.chosen import chosen


class Balance(TableStage):
    """Marks the clips within their cluster's quota. Copies that dedup found take none of it."""

    name: ClassVar[str] = "balance"
    writes: ClassVar[Table] = balance.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "sources": ("source_id", "width", "height", "bytes", "duration_s"),
        "clips": ("clip_id", "source_id", "start_s", "end_s", "long_enough"),
        "embeddings": ("clip_id", "model", "vector"),
    }
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "screening": ("clip_id", "kept"),
        "quality": ("clip_id", "sharpness", "border_share"),
        "duplicates": ("clip_id", "unique"),
    }

    clusters: int | None = Field(None, ge=1, le=1_000_000)
    """Concepts to tell apart. None: the square root of the clips, 1000 for a million. HunyuanVideo 1.0 has 10 000."""
    most: int | None = Field(None, ge=1)
    """Most clips of a cluster within the quota."""
    share: float = Field(2.0, gt=0)
    """Most clips of a cluster, in mean cluster sizes, where `most` is not given: a common concept may be twice as
    frequent as it would be if all were equally so."""

    def run(self, inputs: Mapping[str, ds.Dataset], work: Workspace) -> Iterator[pa.Table]:
        clips, ranks = chosen(inputs, work.scratch)
        looked = clips["looked"].to_numpy()
        counted, copies = looked.copy(), np.zeros(len(clips), bool)
        if "duplicates" in inputs:
            doubled = inputs["duplicates"].to_table(columns=["clip_id"], filter=~pc.field("unique"))["clip_id"]
            copies = looked & pc.is_in(clips["clip_id"], value_set=doubled).to_numpy(zero_copy_only=False)
            counted &= ~copies
        quality = np.empty(len(clips), np.int64)
        quality[looked] = ranks
        numbers = np.flatnonzero(counted)
        vectors = embedded(clips["clip_id"].filter(pa.array(counted)), inputs["embeddings"], work.scratch)
        names = np.full(len(clips), None, object)
        place, size = np.zeros(len(clips), np.int64), np.zeros(len(clips), np.int64)
        within = np.zeros(len(clips), bool)
        for model, (mine, found) in enumerate(vectors.models):
            if not len(mine):
                continue
            count = min(len(mine), self.clusters or math.isqrt(len(mine)))
            cluster = assigned(found, centres(found, count), 1)[:, 0]
            rows = numbers[mine]
            order = np.lexsort((quality[rows], cluster))
            sizes = np.bincount(cluster, minlength=count)
            firsts = np.cumsum(sizes) - sizes
            place[rows[order]] = np.arange(len(rows)) - firsts[cluster[order]]
            size[rows] = sizes[cluster]
            quota = self.most or max(1, round(self.share * len(rows) / count))
            within[rows] = place[rows] < quota
            names[rows] = [f"{model}-{n}" for n in cluster.tolist()]
        known = names != None  # noqa: E711 - of each element
        why = np.where(looked, "it has no embedding", clips["why_not"].to_numpy(zero_copy_only=False))
        why = np.where(copies, "a copy of another clip", why)
        columns = (names, place, size, within)
        yield pa.table(
            {
                "clip_id": clips["clip_id"],
                "source_id": clips["source_id"],
                **{
                    name: pa.array(values, balance.TABLE.schema.field(name).type, mask=~known)
                    for name, values in zip(("cluster", "rank", "size", "within_quota"), columns, strict=True)
                },
                "unmeasured": pa.array(why.tolist(), pa.string(), mask=known),
            },
            schema=balance.TABLE.schema,
        )
