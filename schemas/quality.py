"""`picture_series` and `quality`: how good the picture is, per sampled frame and over a clip."""

import pyarrow as pa

from schemas import CLIP_ID, FRAME, PTS, SOURCE_ID, T_S, UNMEASURED, Table, column

GRID = (32, 18)
"""Columns and rows of the cells of `changed`."""
PROFILE = (128, 72)
"""Entries of `detail_columns` and of `detail_rows`."""

SERIES = Table(
    "picture_series",
    2,
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
            column("blown_share", pa.float32(), "share of area inside the borders with two colours above 250", False),
            column("range", pa.float32(), "luma between the darkest and the brightest hundredth of pixels", False),
            column("blur_px", pa.float32(), "width of edges in their sharpest direction, px of a picture 640 wide"),
            column("smear_px", pa.float32(), "by how much edges are wider in another direction, px of 640"),
            column("axis_share", pa.float32(), "share of the strong edges that run exactly up or across, 0 to 1"),
            column("flat_share", pa.float32(), "share of pixels without any detail, 0 to 1", False),
            column("combed_share", pa.float32(), "share of blocks at full size whose lines are woven of two fields"),
            column("noise", pa.float32(), "standard deviation of noise, grey levels; in few samples, else null"),
            column("blockiness", pa.float32(), "steps at the 8-pixel grid, grey levels; in few samples, else null"),
            column("native_share", pa.float32(), "share of its size that it has detail for; in few samples, else null"),
            column("saturation", pa.float32(), "mean HSV saturation inside the borders, 0 to 255", False),
            column("colourfulness", pa.float32(), "Hasler and Suesstrunk's colourfulness M3 inside the borders", False),
            column("hue", pa.string(), "the commonest hue's name among saturated pixels; null when few are"),
            column("border_left", pa.float32(), "black border, share of the picture's width", False),
            column("border_right", pa.float32(), "black border, share of the picture's width", False),
            column("border_top", pa.float32(), "black border, share of the picture's height", False),
            column("border_bottom", pa.float32(), "black border, share of the picture's height", False),
            column(
                "border_straight",
                pa.list_(pa.float32(), 4),
                "share of the line just inside each border (left, right, top, bottom) that is lit",
                False,
            ),
            column(
                "difference", pa.float32(), "mean absolute luma difference to the sample before; null for the first"
            ),
            column(
                "changed",
                pa.binary(GRID[0] * GRID[1]),
                "the same in 18 rows of 32 cells, quarters of a grey level up to 255; null for the first",
            ),
            column(
                "detail_columns",
                pa.binary(PROFILE[0]),
                "mean Laplacian by column inside the borders, quarters of a grey level, 128 columns",
                False,
            ),
            column("detail_rows", pa.binary(PROFILE[1]), "the same by row, 72 rows", False),
        ]
    ),
)

TABLE = Table(
    "quality",
    2,
    "The picture quality of a clip, over the samples and frames inside it. Medians of samples unless said otherwise.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column("samples", pa.int32(), "samples inside the clip", False),
            column("sharpness", pa.float32(), "variance of the Laplacian of luma at 640 px long side"),
            column("blur_px", pa.float32(), "out of focus: width of edges in their sharpest direction, px of 640"),
            column("smear_px", pa.float32(), "moved: by how much edges are wider in another direction, px of 640"),
            column("motion_blur_px", pa.float32(), "by how much edges widen where the clip moves quickest, px of 640"),
            column("luma", pa.float32(), "mean luma, 0 to 255"),
            column("contrast", pa.float32(), "mean contrast"),
            column("range", pa.float32(), "luma between the darkest and the brightest hundredth of pixels, 0 to 255"),
            column("clipped_share", pa.float32(), "mean share of area that is crushed black or blown white"),
            column("under_share", pa.float32(), "mean share of area that is crushed black"),
            column("over_share", pa.float32(), "mean share of area in which two colours at least are blown"),
            column("saturation", pa.float32(), "mean saturation, 0 to 255"),
            column("colourfulness", pa.float32(), "mean colourfulness"),
            column("hue", pa.string(), "hue named most often; null when most samples name none"),
            column("noise", pa.float32(), "standard deviation of noise at full size, grey levels"),
            column("blockiness", pa.float32(), "excess of steps at the codec's 8-pixel grid, grey levels"),
            column("native_share", pa.float32(), "share of the picture's size that it has detail for, 0 to 1"),
            column("native_px", pa.int32(), "long side of that size, px: what it was enlarged from, or is as soft as"),
            column("flicker", pa.float32(), "how far the light swings quicker than the scene, as a share of itself"),
            column("flicker_hz", pa.float32(), "how often it swings, 1/s; told only where it does"),
            column("frozen_share", pa.float32(), "share of sample pairs that do not differ"),
            column("frozen_s", pa.float32(), "longest time that a picture stands, seconds"),
            column("repeated_share", pa.float32(), "share of frames that repeat the one before while the scene moves"),
            column("repeat_pattern", pa.string(), "how they recur, such as `1 in 5`; null: none or irregular"),
            column("effective_fps", pa.float32(), "frames that show something new, 1/s"),
            column("interlaced_share", pa.float32(), "share of samples that are combed; null: picture too small"),
            column("border_share", pa.float32(), "share of the picture's area that is black border in all samples"),
            column("crop", pa.list_(pa.float32(), 4), "x0, y0, x1, y1 of the picture inside its borders, 0 to 1"),
            column("fill_share", pa.float32(), "share of area that fills the sides with the picture's own blur"),
            column("still_share", pa.float32(), "share of area that does not change in any pair of samples"),
            column("flat_share", pa.float32(), "share of pixels without any detail"),
            column("axis_share", pa.float32(), "share of strong edges that run exactly up or across"),
            column("screen", pa.float32(), "still and drawn: share of area, less where edges are softer; 0 to 1"),
            column(
                "window",
                pa.list_(pa.float32(), 4),
                "x0, y0, x1, y1 of what keeps changing on a screen; null: no screen",
            ),
            UNMEASURED,
        ]
    ),
)
