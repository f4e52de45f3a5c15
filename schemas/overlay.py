"""`overlay`: logos and watermarks that lie over a clip's picture."""

import pyarrow as pa

from schemas import CLIP_ID, SOURCE_ID, UNMEASURED, Table, column
from schemas.text import BOX

TABLE = Table(
    "overlay",
    1,
    "What lies over a clip's picture and does not move with it.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column(
                "watermark_share",
                pa.float32(),
                "share of the picture's area inside boxes around logos and watermarks; 0: none",
            ),
            column("boxes", pa.list_(BOX), "x0, y0, x1, y1 of each, shares of the picture; the most certain first"),
            column("kinds", pa.list_(pa.string()), "of each: still (stands while the picture moves), text (is read)"),
            column("views", pa.int32(), "different views it was told from: below the minimum, only text is", False),
            UNMEASURED,
        ]
    ),
)
