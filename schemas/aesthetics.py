"""`aesthetics` and `technical`: how good a clip looks to people, as networks trained on their votes guess."""

import pyarrow as pa

from schemas import CLIP_ID, SOURCE_ID, UNMEASURED, Table, column

TABLE = Table(
    "aesthetics",
    1,
    "The aesthetic score of a clip's stills.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column("looks", pa.int32(), "stills scored", False),
            column("score", pa.float32(), "mean over the stills; people's votes are from 1 to 10"),
            column("score_min", pa.float32(), "lowest of a still"),
            column("model", pa.string(), "head and embedding that ran; null: none"),
            UNMEASURED,
        ]
    ),
)

TECHNICAL = Table(
    "technical",
    1,
    "The technical quality of a clip's stills: noise, blur and compression as people mind them.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column("looks", pa.int32(), "stills scored", False),
            column("score", pa.float32(), "mean over the stills of the mean of the guessed votes, 1 to 10"),
            column("score_min", pa.float32(), "lowest of a still"),
            column("spread", pa.float32(), "mean standard deviation of the guessed votes: how far people differ"),
            column("model", pa.string(), "network that ran; null: none"),
            UNMEASURED,
        ]
    ),
)
