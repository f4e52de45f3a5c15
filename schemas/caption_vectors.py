"""`caption_vectors`: captions as vectors in which near meaning is near; for checks and search."""

import pyarrow as pa

from schemas import SOURCE_ID, Table, column

VECTOR = pa.list_(pa.float32())

TABLE = Table(
    "caption_vectors",
    1,
    "The text embedding of a node's caption. Vectors compare only with those of the same `model`.",
    pa.schema(
        [
            SOURCE_ID,
            column("node_id", pa.string(), "the node of `captions`", False),
            column("model", pa.string(), "who embedded", False),
            column("vector", VECTOR, "of the caption's text, unit length; null where there is no text"),
            column("facts_vector", VECTOR, "of the words for the node's measured facts, unit length"),
        ]
    ),
)
