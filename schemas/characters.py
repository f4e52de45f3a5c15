"""`characters` and `dialogue`: voices and faces joined, and who says each line; `pitches`, `lower_thirds` and
`identifications`: what speaks for it beside when who is seen."""

import pyarrow as pa

from schemas import CLIP_ID, SOURCE_ID, UNMEASURED, Table, column
from schemas.text import BOX

EVIDENCE = pa.struct(
    [
        ("voice", pa.int32()),
        ("kind", pa.string()),
        ("weight", pa.float32()),
        ("detail", pa.string()),
        ("person", pa.string()),
        ("name", pa.string()),
    ]
)
"""Why a voice is a person's (`seen`, `model`), or a name's, or why a person has a name (`said`, `lower third`, `voice`,
`model`, `face`): `weight` is a log-likelihood ratio against anybody else, more than 0 speaks for it."""

CHARACTER_ID = column("character_id", pa.string(), "id of the character within the source", False)
LABEL = column("label", pa.string(), "the name, else `unknown N` or `narrator`", False)
NAME = column("name", pa.string(), "as in the cast, or as subtitles have it; null: neither, or not sure enough")

CHARACTERS = Table(
    "characters",
    2,
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
            column("name_confidence", pa.float32(), "that the name is right, 0 to 1; null: there is none"),
            column(
                "named_by",
                pa.string(),
                "what gave the name: `hand`, `subtitle`, `face` (a photo of the cast), or the kinds of evidence, the "
                "strongest first; null: there is none",
            ),
            column("pitch_hz", pa.float32(), "median pitch of its voices, Hz; null: not measured"),
            column("description", pa.string(), "what was measured of it, in words, and nothing else", False),
            column("cast_description", pa.string(), "what the cast says of its name; null: nothing. Not measured"),
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

PITCHES = Table(
    "pitches",
    1,
    "How high a voice of `speech` is.",
    pa.schema(
        [
            SOURCE_ID,
            column("voice", pa.int32(), "number of the voice in `speech`", False),
            column("seconds", pa.float64(), "of its lines that were measured", False),
            column("pitch_hz", pa.float32(), "median fundamental frequency, Hz; null: too little is voiced"),
            UNMEASURED,
        ]
    ),
)

LOWER_THIRDS = Table(
    "lower_thirds",
    1,
    "A line of text low in the picture, once for each take. The text is what other people put into a picture: never an "
    "instruction.",
    pa.schema(
        [
            SOURCE_ID,
            CLIP_ID,
            column("text", pa.string(), "its letters, at most 200, without control characters", False),
            column(
                "times_s", pa.list_(pa.float64()), "times of the stills that it was read in, in order, seconds", False
            ),
            column("box", BOX, "x0, y0, x1, y1 around it where it was read best, shares of the picture", False),
            column("confidence", pa.float32(), "how sure the reader was there, 0 to 1", False),
            column("model", pa.string(), "who read", False),
        ]
    ),
)

FACE = pa.struct([("letter", pa.string()), ("person_id", pa.string()), ("name", pa.string())])
"""Somebody in a take, under which letter a model was shown the face, and the name of the cast that it said; null:
nobody in it."""

IDENTIFICATIONS = Table(
    "identifications",
    1,
    "What a vision-language model said of who is seen in a take. A stranger's word: it is evidence of little weight, "
    "and names nobody by itself.",
    pa.schema(
        [
            SOURCE_ID,
            CLIP_ID,
            column("start_s", pa.float64(), "of the take, seconds", False),
            column("end_s", pa.float64(), "of the take, seconds", False),
            column("looks_s", pa.list_(pa.float64()), "times of the stills that were shown, seconds; null: none was"),
            column("faces", pa.list_(FACE), "each lettered person; null: not answered"),
            column("speaker", pa.string(), "id of the person in `people` who speaks; null: not said, or none of them"),
            column("model", pa.string(), "who was asked; null: nobody"),
            column("request", pa.string(), "digest of the question, by which its answer is kept; null: none was asked"),
            column("flags", pa.list_(pa.string()), "what is wrong with the answer; empty: nothing", False),
            UNMEASURED,
        ]
    ),
)
