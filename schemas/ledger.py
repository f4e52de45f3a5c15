"""`ledger`: the one state in which each source and each clip stands at the end of a run."""

import pyarrow as pa

from schemas import SOURCE_ID, Table, column

TABLE = Table(
    "ledger",
    1,
    "A source or a clip and its state. The run refuses to end well while any is in none or in two.",
    pa.schema(
        [
            column("kind", pa.string(), "source or clip", False),
            SOURCE_ID,
            column("clip_id", pa.string(), "the clip; null for a source's row"),
            column("path", pa.string(), "the source's path", False),
            column("state", pa.string(), "kept, rejected or failed", False),
            column("stage", pa.string(), "the stage that rejected it or failed on it; null when kept"),
            column("reason", pa.string(), "why; null when kept"),
            column("duration_s", pa.float64(), "seconds of video; null where it could not be known"),
        ]
    ),
)
