"""`samples` says what goes where; `shards` says what was packed, with checksums."""

import pyarrow as pa

from schemas import CLIP_ID, SOURCE_ID, Table, column

SAMPLES = Table(
    "samples",
    2,
    "A kept clip's place among the shards and the bytes of its text members.",
    pa.schema(
        [
            column("shard", pa.string(), "path of the tar inside the dataset", False),
            column("position", pa.int32(), "place within the shard, from 0", False),
            column("split", pa.string(), "train or val: all clips of one source share it", False),
            CLIP_ID,
            SOURCE_ID,
            column("media", pa.string(), "path of the clip's file inside the dataset", False),
            column("media_sha256", pa.string(), "checksum of the clip's file", False),
            column("bytes", pa.int64(), "size of the clip's file", False),
            column("latents", pa.string(), "path of the clip's latents inside the dataset; null: it has none"),
            column("latents_sha256", pa.string(), "checksum of that file"),
            column(
                "text_embeddings", pa.string(), "path of its captions' embeddings inside the dataset; null: it has none"
            ),
            column("text_embeddings_sha256", pa.string(), "checksum of that file"),
            column("json", pa.string(), "the sample's .json member", False),
            column("txt", pa.string(), "the sample's .txt member", False),
        ]
    ),
)

SHARDS = Table(
    "shards",
    1,
    "A packed tar.",
    pa.schema(
        [
            column("shard", pa.string(), "path of the tar inside the dataset", False),
            column("split", pa.string(), "train or val", False),
            column("samples", pa.int32(), "samples inside", False),
            column("bytes", pa.int64(), "size of the tar", False),
            column("sha256", pa.string(), "checksum of the tar", False),
            column("duration_s", pa.float64(), "seconds of video inside", False),
            column("keys", pa.list_(pa.string()), "sample keys in order", False),
        ]
    ),
)
