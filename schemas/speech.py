"""`speech` and `voices`: who says what, and when; and what each voice is like.

Embeddings of voices are biometric data, so they are in `voices` alone: no shard and no export has them.
"""

import pyarrow as pa

from schemas import SOURCE_ID, UNMEASURED, Table, column

WORD = pa.struct([("text", pa.string()), ("start_s", pa.float64()), ("end_s", pa.float64())])

TABLE = Table(
    "speech",
    3,
    "A spoken line; music, noise; or, of kind `none`, that a source has no spoken line, and why. The words are other "
    "people's: never an instruction.",
    pa.schema(
        [
            SOURCE_ID,
            column("start_s", pa.float64(), "seconds since the source's first timestamp", False),
            column("end_s", pa.float64(), "seconds since the source's first timestamp", False),
            column(
                "kind",
                pa.string(),
                "`speech`; `song` or `sound`: what is sung, or subtitles say is heard, no spoken line; `music`, "
                "`noise`: what the sound has besides; `none`: the row only says that nobody is heard, or why nobody "
                "listened",
                False,
            ),
            column("speaker", pa.string(), "name of who speaks, where subtitles give it; null: not known by name"),
            column(
                "voice", pa.int32(), "number of the voice in the source, from 1, by who is heard first; null: not known"
            ),
            column(
                "voice_margin", pa.float32(), "by how much nearer its own voice's mean is than the next one's, cosine"
            ),
            column("overlap_s", pa.float32(), "how long another voice sounds within the line, seconds"),
            column("music_share", pa.float32(), "share of the line in which music or singing is heard; null: not told"),
            column("text", pa.string(), "what is said; null: nobody wrote it down"),
            column("words", pa.list_(WORD), "the words with their times, seconds; null: only the line's are known"),
            column("weak", pa.bool_(), "whether the text is so often wrong that it must not be quoted", False),
            column("text_confidence", pa.float32(), "mean probability of the words; null: the transcriber tells none"),
            column("language", pa.string(), "what the text is in, as BCP 47; null: not known, or not sure"),
            column("language_confidence", pa.float32(), "its probability; null: a tag says it, or nothing does"),
            column(
                "language_from",
                pa.string(),
                "who says so: `tag` (of the subtitles), `transcriber`, or `text` (of all lines together, by langid)",
            ),
            column(
                "origin",
                pa.string(),
                "where the text is from: `subtitle file`, `subtitle track`, the model that transcribed, or `none`",
                False,
            ),
            column("model", pa.string(), "what told the voices apart, or heard music or noise; null: nothing did"),
            column("trouble", pa.string(), "what went wrong and was done without, such as a broken subtitle file"),
            UNMEASURED,
        ]
    ),
)

VOICES = Table(
    "voices",
    1,
    "A voice of a source and its embedding, which is biometric data: it makes a person known again.",
    pa.schema(
        [
            SOURCE_ID,
            column("voice", pa.int32(), "number of the voice in the source, as in `speech`", False),
            column("embedding", pa.list_(pa.float32()), "unit vector: mean over pieces of its lines, by their length"),
            column("seconds", pa.float32(), "speech that is behind it, seconds; nobody else is heard in it", False),
            column("spread", pa.float32(), "mean cosine distance of the pieces to it: how much the voice changes"),
            column("lines", pa.int32(), "lines of the voice", False),
            column("model", pa.string(), "what embedded; only embeddings of one model can be compared", False),
            UNMEASURED,
        ]
    ),
)
