"""`decisions`: which clips are in, which are out, and every reason why."""

import pyarrow as pa

from schemas import CLIP_ID, SOURCE_ID, Table, column

TABLE = Table(
    "decisions",
    1,
    "A clip and the verdict on it. `reasons` has every rule it broke, in the recipe's order; none when it is kept.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column("kept", pa.bool_(), "whether the clip goes on", False),
            column("first_rule", pa.string(), "the first rule that it broke: the one that the funnel counts"),
            column("rule_number", pa.int32(), "that rule's place in the recipe, from 0"),
            column("reasons", pa.list_(pa.string()), "each broken rule in words, with the clip's own number", False),
        ]
    ),
)
