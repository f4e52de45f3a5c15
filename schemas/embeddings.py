"""`embeddings`: what a clip shows, as vectors in which near meaning is near; for dedup, balancing and aesthetics."""

import pyarrow as pa

from schemas import CLIP_ID, SOURCE_ID, UNMEASURED, Table, column

TABLE = Table(
    "embeddings",
    1,
    "A clip's image embedding. Vectors compare only with those of the same `model`.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column("model", pa.string(), "network and the first digits of its weights' SHA-256; null: none ran"),
            column("stills_s", pa.list_(pa.float64()), "times of the stills looked at, seconds in the source"),
            column("vectors", pa.list_(pa.list_(pa.float32())), "a unit-length vector for each still that gave one"),
            column("vector", pa.list_(pa.float32()), "mean of `vectors`, brought to unit length"),
            UNMEASURED,
        ]
    ),
)
