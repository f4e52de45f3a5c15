"""`boundaries`: where one shot ends and the next begins, and where one might."""

import pyarrow as pa

from schemas import SOURCE_ID, Table, column

TABLE = Table(
    "boundaries",
    2,
    "A transition between two shots. start == end for a hard cut: the new shot's first frame; "
    "otherwise the transition covers the frames start..end-1. Rows that are not accepted are no boundaries, but the "
    "evidence against the take they lie in.",
    pa.schema(
        [
            SOURCE_ID,
            column("start_frame", pa.int64(), "first frame of the transition", False),
            column("end_frame", pa.int64(), "first frame of the new shot alone", False),
            column("start_pts", pa.int64(), "timestamp of start_frame, ticks", False),
            column(
                "end_pts", pa.int64(), "timestamp of end_frame, ticks; of the last frame where that is past it", False
            ),
            column("start_s", pa.float64(), "time of start_frame, seconds", False),
            column("end_s", pa.float64(), "time of end_frame, seconds", False),
            column(
                "kind",
                pa.string(),
                "cut; jump (within one scene); dissolve; fade (through black or white); wipe; gradual (unknown which); "
                "gap (packets were lost); end (of the source; `detector` names all who looked)",
                False,
            ),
            column("accepted", pa.bool_(), "it ends a shot", False),
            column("probability", pa.float32(), "how likely it is a transition, 0 to 1; null where nobody can say"),
            column("score", pa.float32(), "the detector's own score; null for a gap"),
            column("detector", pa.string(), "who decided", False),
            column("why", pa.string(), "why it is not accepted; null where it is"),
        ]
    ),
)
