"""`signals`: what the shared decode saw in every frame; the cut detectors decide from it without another decode."""

import pyarrow as pa

from schemas import FRAME, PTS, SOURCE_ID, T_S, Table, column

TABLE = Table(
    "signals",
    1,
    "An analysed frame and how it differs from the one before. The first frame of a source differs by 0.",
    pa.schema(
        [
            SOURCE_ID,
            FRAME,
            PTS,
            T_S,
            column("keyframe", pa.bool_(), "the decoder marks it as a key frame", False),
            column("errors_before", pa.int32(), "packets lost between the frame before and this one", False),
            column("luma", pa.float32(), "mean luma, 0 black to 255 white", False),
            column("delta_hue", pa.float32(), "mean absolute difference of hue, 0 to 179", False),
            column("delta_sat", pa.float32(), "mean absolute difference of saturation, 0 to 255", False),
            column("delta_2s", pa.float32(), "content score against 2 s earlier, 0 to 255; twice a second, else null"),
            column("delta_lum", pa.float32(), "mean absolute difference of HSV value, 0 to 255", False),
        ]
    ),
)
