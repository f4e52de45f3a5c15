"""`caption_checks`: which captions may be believed, over the whole set."""

import pyarrow as pa

from schemas import SOURCE_ID, Table, column

TABLE = Table(
    "caption_checks",
    1,
    "The verdict on a node's caption. What did not pass stays out of the shards.",
    pa.schema(
        [
            SOURCE_ID,
            column("node_id", pa.string(), "the node of `captions`", False),
            column("passed", pa.bool_(), "no check failed, or what failed was repaired", False),
            column("flags", pa.list_(pa.string()), "what is wrong, or was repaired, each as `check: why`", False),
            column("text_from", pa.string(), "node_id whose caption belongs here: they were shifted; null: its own"),
            column("aligned", pa.float32(), "share of its mass in the optimal transport that lies on its own span"),
            column("mixing", pa.float32(), "share of its sentences that fit another event better than its own"),
        ]
    ),
)
