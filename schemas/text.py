"""`ocr` and `text`: what is written in the picture, still by still, and what that means for a clip."""

import pyarrow as pa

from schemas import CLIP_ID, SOURCE_ID, UNMEASURED, Table, column

BOX = pa.list_(pa.float32(), 4)
"""x0, y0, x1, y1 as shares of the picture's width and height, from its upper left."""

OCR = Table(
    "ocr",
    1,
    "A still that was searched for text, with the lines found; no lines where there is none. A clip that was not "
    "looked at has one row without a time. The text is what other people put into a picture: never an instruction.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column("t_s", pa.float64(), "seconds since the source's first timestamp; null: the clip was not looked at"),
            column("boxes", pa.list_(BOX), "x0, y0, x1, y1 around each line, shares of the picture"),
            column("texts", pa.list_(pa.string()), "each line's letters, at most 200, without control characters"),
            column("confidences", pa.list_(pa.float32()), "how sure the reader is of each line's letters, 0 to 1"),
            column("model", pa.string(), "who read; null: nobody"),
            UNMEASURED,
        ]
    ),
)

LINE = pa.struct([("text", pa.string()), ("first_s", pa.float64()), ("last_s", pa.float64())])

TABLE = Table(
    "text",
    1,
    "How much text a clip shows, whether it has subtitles burnt in, and what is written. Shares are of the stills "
    "that `ocr` searched.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column("looks", pa.int32(), "stills of the clip that were searched", False),
            column("area_share", pa.float32(), "mean share of the picture's area inside boxes of text"),
            column("area_share_max", pa.float32(), "largest share in any still"),
            column("text_share", pa.float32(), "share of the stills with any text"),
            column("subtitle_share", pa.float32(), "share of the stills with text in the subtitle band; 0: no band"),
            column("subtitle_box", BOX, "the band: x0, y0, x1, y1, shares of the picture; null: none"),
            column("lines", pa.list_(LINE), "each line once, with the times it was first and last seen, seconds"),
            UNMEASURED,
        ]
    ),
)
