"""`clips`: the takes found, each a span of one source without a boundary inside."""

import pyarrow as pa

from schemas import CLIP_ID, SOURCE_ID, Table, column

TABLE = Table(
    "clips",
    1,
    "A take. Shots shorter than the minimum are rows too (`long_enough` false), so that every second is accounted for.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column("start_frame", pa.int64(), "first frame of the take", False),
            column("end_frame", pa.int64(), "one past its last frame", False),
            column("start_pts", pa.int64(), "timestamp of the first frame, ticks", False),
            column("end_pts", pa.int64(), "timestamp at which the last frame's display ends, ticks", False),
            column("start_s", pa.float64(), "seconds since the source's first timestamp", False),
            column("end_s", pa.float64(), "seconds since the source's first timestamp", False),
            column("duration_s", pa.float64(), "end_s - start_s", False),
            column("frames", pa.int64(), "end_frame - start_frame", False),
            column("long_enough", pa.bool_(), "duration_s reaches the recipe's minimum", False),
        ]
    ),
)
