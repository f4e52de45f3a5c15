"""`crop`: what of a clip's picture is left without borders, subtitles and an edge's watermark."""

import pyarrow as pa

from schemas import CLIP_ID, SOURCE_ID, UNMEASURED, Table, column
from schemas.text import BOX

TABLE = Table(
    "crop",
    1,
    "The largest part of a clip's picture that is free of what lies on it.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column("box", BOX, "x0, y0, x1, y1 to keep, shares of the upright picture; null: no crop helps"),
            column("width", pa.int32(), "of what is kept, px, even; the picture's own where nothing is cut off"),
            column("height", pa.int32(), "of what is kept, px, even"),
            column("area_share", pa.float32(), "share of the picture's area that is kept; 1: nothing is cut off"),
            column("reasons", pa.list_(pa.string()), "what is cut off: borders, subtitles, watermark"),
            column("left_in", pa.list_(pa.string()), "what was found but could not be cut off"),
            UNMEASURED,
        ]
    ),
)
