"""`picture_series` and `quality`: how good the picture is, per sampled frame and over a clip."""

import pyarrow as pa

from schemas import CLIP_ID, FRAME, PTS, SOURCE_ID, T_S, UNMEASURED, Table, column

SERIES = Table(
    "picture_series",
    1,
    "A sampled frame's own measurements.",
    pa.schema(
        [
            SOURCE_ID,
            FRAME,
            PTS,
            T_S,
            column("sharpness", pa.float32(), "variance of the Laplacian of luma at 640 px long side", False),
            column("luma", pa.float32(), "mean luma inside the borders, 0 to 255", False),
            column("contrast", pa.float32(), "standard deviation of luma inside the borders", False),
            column("dark_share", pa.float32(), "share of picture area inside the borders with luma below 5", False),
            column("bright_share", pa.float32(), "share of picture area inside the borders with luma above 250", False),
            column("saturation", pa.float32(), "mean HSV saturation inside the borders, 0 to 255", False),
            column("colourfulness", pa.float32(), "Hasler and Suesstrunk's colourfulness M3 inside the borders", False),
            column("hue", pa.string(), "the commonest hue's name among saturated pixels; null when few are"),
            column("border_left", pa.float32(), "black border, share of the picture's width", False),
            column("border_right", pa.float32(), "black border, share of the picture's width", False),
            column("border_top", pa.float32(), "black border, share of the picture's height", False),
            column("border_bottom", pa.float32(), "black border, share of the picture's height", False),
            column(
                "difference", pa.float32(), "mean absolute luma difference to the sample before; null for the first"
            ),
        ]
    ),
)

TABLE = Table(
    "quality",
    1,
    "The picture quality of a clip, over the samples inside it.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column("samples", pa.int32(), "samples inside the clip", False),
            column("sharpness", pa.float32(), "median sharpness of the samples"),
            column("luma", pa.float32(), "mean luma, 0 to 255"),
            column("contrast", pa.float32(), "mean contrast"),
            column("clipped_share", pa.float32(), "mean share of area that is crushed black or blown white"),
            column("saturation", pa.float32(), "mean saturation, 0 to 255"),
            column("colourfulness", pa.float32(), "mean colourfulness"),
            column("hue", pa.string(), "hue named most often; null when most samples name none"),
            column("border_share", pa.float32(), "share of the picture's area that is black border in all samples"),
            column("crop", pa.list_(pa.float32(), 4), "x0, y0, x1, y1 of the picture inside its borders, 0 to 1"),
            column("frozen_share", pa.float32(), "share of sample pairs that do not differ"),
            UNMEASURED,
        ]
    ),
)
