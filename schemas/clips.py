"""`clips`: the takes found, each a span of one source without a boundary inside, with its certificate."""

import pyarrow as pa

from schemas import CLIP_ID, SOURCE_ID, Table, column

STRETCH = pa.struct([("start_s", pa.float64()), ("end_s", pa.float64()), ("kind", pa.string())])

TABLE = Table(
    "clips",
    2,
    "A take. Shots shorter than the minimum are rows too (`long_enough` false), so that every second is accounted for. "
    "From `detectors` on, the take's certificate: what speaks for and against its being one take.",
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
            column("detectors", pa.string(), "who looked for boundaries in this source", False),
            column(
                "confidence",
                pa.float32(),
                "probability that no boundary lies inside: of the doubts of 0.1 and more, that all are wrong; 0 to 1",
            ),
            column(
                "doubt", pa.float32(), "probability of the likeliest boundary inside that was not accepted; 0: none"
            ),
            column("doubt_kind", pa.string(), "its kind"),
            column("doubt_frame", pa.int64(), "its first frame"),
            column("doubt_s", pa.float64(), "its time, seconds"),
            column("doubt_why", pa.string(), "why it was not accepted"),
            column(
                "longest_frame_s",
                pa.float64(),
                "longest time that one picture stands, seconds: pictures may be lost there",
                False,
            ),
            column(
                "scan",
                pa.string(),
                "progressive, interlaced or telecine, by the combing of moving pictures; null: not measured",
            ),
            column(
                "still",
                pa.list_(STRETCH),
                "stretches of at least a second that are frozen (the same picture) or still (no motion)",
                False,
            ),
        ]
    ),
)
