"""`captions`: what happens in a span of video, at four time scales."""

import pyarrow as pa

from schemas import SOURCE_ID, Table, column

TABLE = Table(
    "captions",
    1,
    "A node of a source's caption tree.",
    pa.schema(
        [
            SOURCE_ID,
            column("clip_id", pa.string(), "the clip it describes; null above the clip level"),
            column("level", pa.string(), "clip, shot, event or story", False),
            column("start_s", pa.float64(), "seconds since the source's first timestamp", False),
            column("end_s", pa.float64(), "seconds since the source's first timestamp", False),
            column("text", pa.string(), "the caption", False),
            column("facts", pa.string(), "JSON object of the measured facts that the text was built from", False),
            column("model", pa.string(), "which captioner wrote it", False),
        ]
    ),
)
