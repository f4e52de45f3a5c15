"""`indexes`: the index file written beside the shards of each split."""

import pyarrow as pa

from schemas import Table, column

TABLE = Table(
    "indexes",
    1,
    "An index of one split's shards, in the format of webdataset's wids with checksums added.",
    pa.schema(
        [
            column("split", pa.string(), "train or val", False),
            column("path", pa.string(), "path of the index inside the dataset", False),
            column("sha256", pa.string(), "checksum of the index", False),
            column("shards", pa.int32(), "shards it lists", False),
            column("samples", pa.int64(), "samples in them", False),
        ]
    ),
)
