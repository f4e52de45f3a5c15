"""`duplicates`: which clips show what another one shows already, of which they are copies, and where."""

import pyarrow as pa

from schemas import CLIP_ID, SOURCE_ID, UNMEASURED, Table, column

TABLE = Table(
    "duplicates",
    1,
    "A clip and whether another shows the same. Of clips that are copies of each other the best is unique.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column("unique", pa.bool_(), "no copy of a better clip; null where nothing could be compared"),
            column("copy_of", pa.string(), "the unique clip that it is a copy of; null when it is none"),
            column("kind", pa.string(), "same footage, sub-span, or near meaning; null when it is no copy"),
            column("mirrored", pa.bool_(), "whether it shows `copy_of` mirrored; null when that is not known"),
            column("speed", pa.float32(), "seconds of `copy_of` in a second of it; null when that is not known"),
            column("start_s", pa.float64(), "where in the source of `copy_of` it begins, seconds"),
            column("end_s", pa.float64(), "where in the source of `copy_of` it ends, seconds"),
            column(
                "similarity",
                pa.float32(),
                "mean correlation of the aligned thumbnails, or (near meaning) the cosine of the embeddings; to 1",
            ),
            column("cluster", pa.string(), "the unique clip of its group: `copy_of`, or itself"),
            column("copies", pa.int32(), "clips that are copies of it; 0 for a copy"),
            UNMEASURED,
        ]
    ),
)
