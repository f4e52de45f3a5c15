"""`boundaries`: where one shot ends and the next begins."""

import pyarrow as pa

from schemas import SOURCE_ID, Table, column

TABLE = Table(
    "boundaries",
    1,
    "A transition between two shots. start == end for a hard cut: the new shot's first frame; "
    "otherwise the transition covers the frames start..end-1.",
    pa.schema(
        [
            SOURCE_ID,
            column("start_frame", pa.int64(), "first frame of the transition", False),
            column("end_frame", pa.int64(), "first frame of the new shot alone", False),
            column("start_s", pa.float64(), "time of start_frame, seconds", False),
            column("end_s", pa.float64(), "time of end_frame, seconds", False),
            column(
                "kind",
                pa.string(),
                "cut; fade (through black or white); gradual (other); gap (packets were lost)",
                False,
            ),
            column("score", pa.float32(), "the detector's own score; null for a gap"),
            column("detector", pa.string(), "which detector says so", False),
        ]
    ),
)
