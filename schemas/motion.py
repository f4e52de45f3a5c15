"""`motion_series` and `motion`: optical flow between sampled frames, and what it comes to over a clip.

Speeds are in frame widths per second, so that sizes and sampling rates compare.
"""

import pyarrow as pa

from schemas import CLIP_ID, FRAME, PTS, SOURCE_ID, T_S, UNMEASURED, Table, column

SERIES = Table(
    "motion_series",
    1,
    "A sampled frame and the flow from the sample before it. The first sample of a source has none.",
    pa.schema(
        [
            SOURCE_ID,
            FRAME,
            PTS,
            T_S,
            column("previous_s", pa.float64(), "time of the sample before, seconds"),
            column("flow_mean_w_s", pa.float32(), "mean length of the flow, frame widths per second"),
            column("flow_p95_w_s", pa.float32(), "95th percentile of its length, frame widths per second"),
            column(
                "camera_x_w_s", pa.float32(), "fitted camera shift: picture moves right > 0, frame widths per second"
            ),
            column(
                "camera_y_w_s", pa.float32(), "fitted camera shift: picture moves down > 0, frame widths per second"
            ),
            column("camera_zoom_s", pa.float32(), "fitted scale's natural logarithm per second; > 0 zooms in"),
            column("camera_roll_s", pa.float32(), "fitted rotation, radians per second"),
            column("camera_fit", pa.float32(), "share of flow vectors that the camera fit explains, 0 to 1"),
            column("subject_w_s", pa.float32(), "mean length of the flow that the camera fit leaves, frame widths/s"),
        ]
    ),
)

TABLE = Table(
    "motion",
    1,
    "The motion of a clip, from the samples that lie wholly inside it.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column("pairs", pa.int32(), "sample pairs inside the clip", False),
            column("mean_w_s", pa.float32(), "mean flow, frame widths per second"),
            column("p95_w_s", pa.float32(), "95th percentile over pairs of the mean flow, frame widths per second"),
            column("static_share", pa.float32(), "share of pairs slower than the stage's `static_below_w_s`, 0 to 1"),
            column("camera_w_s", pa.float32(), "mean speed of the fitted camera shift, frame widths per second"),
            column("subject_w_s", pa.float32(), "mean flow that the camera does not explain, frame widths per second"),
            column(
                "camera", pa.string(), "static, pan left, pan right, tilt up, tilt down, zoom in, zoom out or moving"
            ),
            column("backend", pa.string(), "what measured it", False),
            UNMEASURED,
        ]
    ),
)
