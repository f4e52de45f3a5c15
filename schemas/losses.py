"""`losses`: what each clip lost in a training run, as its trainer wrote it."""

import pyarrow as pa

from schemas import CLIP_ID, SOURCE_ID, UNMEASURED, Table, column

TABLE = Table(
    "losses",
    1,
    "A clip and its loss in training: high and level is not learnt, low is nothing new.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column("mean", pa.float64(), "mean of the clip's losses over the steps in which it counted"),
            column("deviation", pa.float64(), "their standard deviation: noise levels differ from step to step"),
            column("steps", pa.int64(), "how many steps; 0: it was not trained on", False),
            column("last_step", pa.int64(), "the last of them"),
            UNMEASURED,
        ]
    ),
)
