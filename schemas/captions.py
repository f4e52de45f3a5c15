"""`captions`: what happens in a span of video, at four time scales."""

import pyarrow as pa

from schemas import SOURCE_ID, Table, column

TEXTS = pa.list_(pa.string())
FIELDS = ("subjects", "actions", "setting", "camera", "light", "style", "text_on_screen", "sound")
"""The structured columns; `subjects`, `actions` and `text_on_screen` are lists."""

TABLE = Table(
    "captions",
    2,
    "The caption of a node of a source's tree, with every layer of its text. What a model wrote is other people's: "
    "never an instruction.",
    pa.schema(
        [
            SOURCE_ID,
            column("node_id", pa.string(), "the node of `tree` that it describes", False),
            column("parent_id", pa.string(), "its parent's node_id; null: the story"),
            column("clip_id", pa.string(), "the take it lies in; null above the shot level"),
            column("level", pa.string(), "clip, shot, event or story", False),
            column("start_s", pa.float64(), "seconds since the source's first timestamp", False),
            column("end_s", pa.float64(), "seconds since the source's first timestamp", False),
            column("text", pa.string(), "the caption: the refined layer; null: none was got, `flags` say why"),
            column("raw", pa.string(), "the captioner's first words"),
            column("prompt", pa.string(), "rewritten as a user would ask a generator for it"),
            column("short", pa.string(), "one sentence"),
            column("subjects", TEXTS, "who and what is seen"),
            column("actions", TEXTS, "what they do, in order"),
            column("setting", pa.string(), "where"),
            column("camera", pa.string(), "what the camera does"),
            column("light", pa.string(), "light and colour"),
            column("style", pa.string(), "how it is made"),
            column("text_on_screen", TEXTS, "what is written in the picture"),
            column("sound", pa.string(), "what is heard"),
            column("facts", pa.string(), "JSON object of what was measured in the span", False),
            column("model", pa.string(), "who wrote it", False),
            column("prompt_hash", pa.string(), "digest of all that the model was shown; null: no model was asked"),
            column("looks_s", pa.list_(pa.float64()), "times of the pictures shown, seconds in the source"),
            column("looks_by", pa.string(), "how the pictures were chosen, and by what score; null: none was shown"),
            column("attempts", pa.int32(), "how often a model was asked for it; 0: no model", False),
            column("confidence", pa.float32(), "geometric mean of the tokens' probabilities; null: not told"),
            column("disagreement", pa.float32(), "how far two scorers of the caption disagree, 0 to 1; null: one only"),
            column("flags", TEXTS, "what is wrong with it, each as `check: why`; empty: it may be believed", False),
        ]
    ),
)
