"""`safety`: how likely a clip is unsafe for work."""

import pyarrow as pa

from schemas import CLIP_ID, SOURCE_ID, UNMEASURED, Table, column

TABLE = Table(
    "safety",
    1,
    "How likely stills of a clip are pornographic, as a network sees it. It knows nothing of violence or of consent.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column("looks", pa.int32(), "stills looked at", False),
            column("unsafe_max", pa.float32(), "highest probability, 0 to 1"),
            column("unsafe_mean", pa.float32(), "mean probability, 0 to 1"),
            column("unsafe_s", pa.float64(), "time of the highest, seconds since the source's first timestamp"),
            column("model", pa.string(), "which network looked; null: none"),
            UNMEASURED,
        ]
    ),
)
