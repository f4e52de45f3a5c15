"""`tree`: a source's spans at four time scales, each with what was measured in it."""

import pyarrow as pa

from schemas import SOURCE_ID, Table, column

LEVELS = ("clip", "shot", "event", "story")
"""From seconds to the whole source, as ScaleLong names them. Children tile their parent exactly."""

TABLE = Table(
    "tree",
    1,
    "A node of a source's tree. A story is the whole source; its events are minutes long; a shot lies between two "
    "cuts, or is a part of a take that is longer than a shot may be; a clip is seconds long.",
    pa.schema(
        [
            SOURCE_ID,
            column("node_id", pa.string(), "id of the node: source id, level, start and end in ms", False),
            column("parent_id", pa.string(), "node_id of the span it is a part of; null: the story"),
            column("level", pa.string(), "clip, shot, event or story", False),
            column("start_s", pa.float64(), "seconds since the source's first timestamp", False),
            column("end_s", pa.float64(), "seconds since the source's first timestamp", False),
            column("clip_id", pa.string(), "the take it lies in; null above the shot level"),
            column("kept", pa.bool_(), "its take is kept, or that of a node below it", False),
            column("split", pa.string(), "why it begins where it does: start, cut, meaning or length", False),
            column("facts", pa.string(), "JSON object of what was measured in the span", False),
        ]
    ),
)
