"""`balance`: the concept that a clip belongs to, and whether it is among the best of it that a quota leaves."""

import pyarrow as pa

from schemas import CLIP_ID, SOURCE_ID, UNMEASURED, Table, column

TABLE = Table(
    "balance",
    1,
    "A clip's cluster of near meaning and its place in it by quality.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column("cluster", pa.string(), "network and number of the cluster; null without an embedding"),
            column("rank", pa.int64(), "place in the cluster by quality, from 0, the best"),
            column("size", pa.int64(), "clips in the cluster"),
            column("within_quota", pa.bool_(), "whether its place is within the cluster's quota"),
            UNMEASURED,
        ]
    ),
)
