"""The clips that dedup looks at, and their order of quality."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from stages.dedup.samples import DUCKDB_MEMORY


def chosen(inputs: Mapping[str, ds.Dataset], scratch: Path) -> tuple[pa.Table, np.ndarray]:
    """All clips in order of their source and id, and the places in the order of quality of those looked at.

    Returns:
        A table with clip_id, source_id, start_s, end_s, `looked` and `why_not`; and (looked at,) int64, 0 the best.
    """
    screened, scored = "screening" in inputs, "quality" in inputs
    looked = "coalesce(screening.kept, false)" if screened else "clips.long_enough"
    why_not = "screening turned the clip down" if screened else "shorter than a long take"
    borders, sharpness = ("coalesce(border_share, 0)", "sharpness") if scored else ("0", "null")
    query = f"""
        select clip_id, clips.source_id, start_s, end_s, {looked} as looked, 'not looked at: {why_not}' as why_not,
            row_number() over (
                partition by {looked}
                order by width::double * height * (1 - {borders}) desc nulls last, {sharpness} desc nulls last,
                    end_s - start_s desc, bytes / nullif(sources.duration_s, 0) desc nulls last, clip_id
            ) - 1 as rank
        from clips left join sources on sources.source_id = clips.source_id
            {"left join quality using (clip_id)" if scored else ""}
            {"left join screening using (clip_id)" if screened else ""}
        order by clips.source_id, clip_id
    """  # noqa: S608 - everything spliced in is one of the constants above
    with duckdb.connect(config={"memory_limit": DUCKDB_MEMORY, "temp_directory": str(scratch)}) as base:
        for table in ("clips", "sources", "quality", "screening"):
            if table in inputs:
                base.register(table, inputs[table])
        clips = base.sql(query).to_arrow_table()
    ranks = clips.filter(clips["looked"])["rank"].to_numpy()
    return clips.drop_columns("rank"), ranks
