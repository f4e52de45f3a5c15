"""`signals`: what the shared decode saw in every frame; the cut detectors decide from it without another decode."""

import pyarrow as pa

from schemas import FRAME, PTS, SOURCE_ID, T_S, Table, column

DISTANCES = (1, 2, 4, 8, 16, 32)
"""How many frames back `diff` looks."""
BETWEEN = (4, 8, 16, 32)
"""Over how many frames `blend` and `step` look."""
SPLIT = (8, 16, 32)
"""Over how many frames `split` looks."""
CELLS = (8, 6)
"""Columns and rows of `displaced`."""


def _many(values: tuple[int, ...]) -> pa.DataType:
    return pa.list_(pa.float32(), len(values))


TABLE = Table(
    "signals",
    2,
    "An analysed frame and how it differs from those before it. The first frame of a source differs by 0.",
    pa.schema(
        [
            SOURCE_ID,
            FRAME,
            PTS,
            T_S,
            column("keyframe", pa.bool_(), "the decoder marks it as a key frame", False),
            column("errors_before", pa.int32(), "packets lost between the frame before and this one", False),
            column("luma", pa.float32(), "mean luma, 0 black to 255 white", False),
            column("contrast", pa.float32(), "standard deviation of luma, 0 to 128", False),
            column("combing", pa.float32(), "share of pixels combed, 0 to 1; in five frames a second, else null"),
            column("delta_hue", pa.float32(), "mean absolute difference of hue, 0 to 179", False),
            column("delta_sat", pa.float32(), "mean absolute difference of saturation, 0 to 255", False),
            column("delta_2s", pa.float32(), "content score against 2 s earlier, 0 to 255; twice a second, else null"),
            column("delta_lum", pa.float32(), "mean absolute difference of HSV value, 0 to 255", False),
            column("diff", _many(DISTANCES), "mean colour difference to 1, 2, 4, 8, 16 and 32 frames back", False),
            column(
                "blend",
                _many(BETWEEN),
                "mean colour difference of the frame half-way to the mean of its ends, 4 to 32 frames apart",
                False,
            ),
            column("step", _many(BETWEEN), "the same to whichever end is nearer, pixel by pixel", False),
            column("split", _many(SPLIT), "how well a line parts old from new half-way, 8 to 32 frames", False),
            column(
                "moved", pa.float32(), "mean optical flow from the frame before, |x| + |y|, in picture widths", False
            ),
            column(
                "unexplained",
                pa.binary(CELLS[0] * CELLS[1]),
                "quarters of a grey level by which pixels differ from where the flow says they were: 6 rows of 8 cells",
                False,
            ),
            column(
                "displaced",
                pa.binary(CELLS[0] * CELLS[1]),
                "quarters of a grey level by which pixels differ beyond a pixel's motion: 6 rows of 8 cells",
                False,
            ),
        ]
    ),
)
