"""`losses`: what a trainer found of each clip, beside the scores, so that rules can use it.

`curate train feedback RUN DATASET` puts this stage into a dataset's recipe; the numbers are a run's `losses.parquet`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pydantic import Field

from curate.stage import TableStage, Workspace
from schemas import Table, losses

_COLUMNS = ("key", "count", "sum", "sum_squares", "last_step")
_WANTED = """
with trained as (
    -- A sample's key is shard:clip, and a clip may have been in two shards.
    select split_part(key, ':', -1) as clip_id, sum(count) as steps, sum(sum) as total,
        sum(sum_squares) as squares, max(last_step) as last_step
    from sums group by 1
)
select clip_id, c.source_id, total / steps as mean,
    sqrt(greatest(squares / steps - (total / steps) ** 2, 0)) as deviation,
    coalesce(steps, 0)::bigint as steps, last_step::bigint as last_step,
    case when steps is null then 'not trained on' end as unmeasured
from clips c left join trained using (clip_id)
order by c.source_id, clip_id
"""


class Losses(TableStage):
    """Copies a run's losses beside the clips that they are of."""

    name: ClassVar[str] = "losses"
    writes: ClassVar[Table] = losses.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"clips": ("clip_id", "source_id")}

    file: str
    """The run's `losses.parquet`."""
    digest: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of that file: other losses are another table."""

    def run(self, inputs: Mapping[str, ds.Dataset], work: Workspace) -> Iterator[pa.Table]:
        """One row a clip.

        Raises:
            ValueError: the file is gone, is another by now, or is none of a trainer's.
        """
        again = "run `curate train feedback RUN DATASET` again"
        try:
            data = Path(self.file).read_bytes()
        except OSError as error:
            raise ValueError(f"{self.file}: cannot be read ({error.strerror}); {again}") from error
        if hashlib.sha256(data).hexdigest() != self.digest:
            raise ValueError(f"{self.file}: has changed since it was put beside this dataset; {again}")
        try:
            sums = pq.read_table(pa.BufferReader(data), columns=list(_COLUMNS))
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{self.file}: is no losses.parquet of `curate train`: {error}") from error
        with duckdb.connect() as database:
            database.register("sums", sums)
            database.register("clips", inputs["clips"])
            yield database.sql(_WANTED).to_arrow_table().cast(self.writes.schema)
