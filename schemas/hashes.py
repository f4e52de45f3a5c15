"""`hash_series`: what sampled frames look like in a few bytes, by which `dedup` finds the same footage again."""

import pyarrow as pa

from schemas import FRAME, PTS, SOURCE_ID, T_S, Table, column

TABLE = Table(
    "hash_series",
    1,
    "A sampled frame's perceptual hash and thumbnail, of the picture inside its black bars.",
    pa.schema(
        [
            SOURCE_ID,
            FRAME,
            PTS,
            T_S,
            column(
                "hash",
                pa.uint64(),
                "signs of the 64 lowest frequencies of the thumbnail, from the lowest bit up; null in a flat picture",
            ),
            column("thumbnail", pa.binary(256), "luma, 0 to 255, of 16 rows of 16 cells", False),
            column("contrast", pa.float32(), "standard deviation of the thumbnail, 0 to 127", False),
        ]
    ),
)
