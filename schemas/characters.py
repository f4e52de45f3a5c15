"""`characters` and `dialogue`: voices and faces joined, and who says each line."""

import pyarrow as pa

from schemas import SOURCE_ID, Table, column

EVIDENCE = pa.struct([("voice", pa.int32()), ("kind", pa.string()), ("weight", pa.float32()), ("detail", pa.string())])
"""Why a voice is a character's: `weight` is a log-likelihood ratio against anybody else, more than 0 speaks for it."""

CHARACTER_ID = column("character_id", pa.string(), "id of the character within the source", False)
LABEL = column("label", pa.string(), "the name, else `unknown N` or `narrator`", False)
NAME = column("name", pa.string(), "as in the cast, or as subtitles have it; null: neither, or not sure enough")

CHARACTERS = Table(
    "characters",
    1,
    "Somebody who is seen, heard or both in a source, who speaks longest first. Only who is in the given cast, or is "
    "named by the source's own subtitles, has a name.",
    pa.schema(
        [
            SOURCE_ID,
            CHARACTER_ID,
            LABEL,
            NAME,
            column("voices", pa.list_(pa.int32()), "numbers of the voices in `speech`", False),
            column("spoken_as", pa.list_(pa.string()), "names that subtitles give its lines", False),
            column("people", pa.list_(pa.string()), "ids of the persons in `people`", False),
            column("speaking_s", pa.float64(), "seconds of speech", False),
            column("screen_s", pa.float64(), "seconds that the character is seen", False),
            column("on_screen_s", pa.float64(), "seconds of its speech during which it is seen", False),
            column(
                "confidence",
                pa.float32(),
                "that its voices are its face's, 0 to 1, of the least sure; null: only seen or only heard",
            ),
            column("by_hand", pa.bool_(), "a correction made it what it is", False),
            column("evidence", pa.list_(EVIDENCE), "what speaks for and against it, strongest first", False),
        ]
    ),
)

DIALOGUE = Table(
    "dialogue",
    1,
    "A spoken line of `speech` and who says it.",
    pa.schema(
        [
            SOURCE_ID,
            column("start_s", pa.float64(), "seconds since the source's first timestamp", False),
            column("end_s", pa.float64(), "seconds since the source's first timestamp", False),
            column("voice", pa.int32(), "number of the voice in `speech`; null: not told apart"),
            column("text", pa.string(), "what is said; null: nobody wrote it down"),
            column("weak", pa.bool_(), "whether the text is so often wrong that it must not be quoted", False),
            column("character_id", pa.string(), "who says it; null: cannot be told"),
            column("label", pa.string(), "the character's name, else `unknown N` or `narrator`; null: cannot be told"),
            NAME,
            column("seen", pa.list_(pa.string()), "labels of who is seen while it is said", False),
            column("confidence", pa.float32(), "that this character says it, 0 to 1; null: cannot be told"),
            column(
                "by",
                pa.string(),
                "what decided: `subtitle`, `voice`, `neighbour`: who speaks right beside it, `seen`; null: nothing did",
            ),
        ]
    ),
)
