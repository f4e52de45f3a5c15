"""`errors`: what failed, where and why. A failure belongs to its source or clip; the rest of the job goes on."""

import pyarrow as pa

from schemas import SOURCE_ID, Table, column

TABLE = Table(
    "errors",
    1,
    "A failure of one stage on one source or clip.",
    pa.schema(
        [
            SOURCE_ID,
            column("clip_id", pa.string(), "the clip that failed; null where the whole source did"),
            column("path", pa.string(), "the source's path, for people"),
            column("stage", pa.string(), "the stage that failed", False),
            column("error", pa.string(), "the exception's class", False),
            column("message", pa.string(), "what was wrong and what to do", False),
            column("traceback", pa.string(), "the Python traceback, where there was one"),
        ]
    ),
)
