"""`stills`: pictures kept from the shared decode, for every stage that looks at single pictures and for people."""

import pyarrow as pa

from schemas import FRAME, PTS, SOURCE_ID, T_S, Table, column

TABLE = Table(
    "stills",
    1,
    "A picture of a source at a time, so that no stage that needs single pictures decodes the video again.",
    pa.schema(
        [
            SOURCE_ID,
            FRAME,
            PTS,
            T_S,
            column("width", pa.int32(), "px, upright", False),
            column("height", pa.int32(), "px, upright", False),
            column("jpeg", pa.binary(), "the picture, upright, as JPEG", False),
        ]
    ),
)
