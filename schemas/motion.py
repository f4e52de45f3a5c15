"""How things move: `motion_series` and `vector_series` from the shared decode; `motion`, `motion_seconds` and `raft`
for clips.

Speeds are in frame widths per second, so that sizes and frame rates compare.
"""

import pyarrow as pa

from schemas import CLIP_ID, FRAME, PTS, SOURCE_ID, T_S, UNMEASURED, Table, column

STEP = pa.struct([("t_s", pa.float64()), ("x", pa.float32()), ("y", pa.float32())])
SEGMENT = pa.struct(
    [("start_s", pa.float64()), ("end_s", pa.float64()), ("kind", pa.string()), ("speed", pa.float32())]
)
LVD_PX = "mean flow in px of pictures brought to 520x960, between pictures half a second apart: LVD-2M's score"

SERIES = Table(
    "motion_series",
    2,
    "A sampled frame and the flow from the sample before it. The first sample of a source has none; one whose camera "
    "columns are null has too little texture, or too much motion, to tell a camera by.",
    pa.schema(
        [
            SOURCE_ID,
            FRAME,
            PTS,
            T_S,
            column("previous_s", pa.float64(), "time of the sample before, seconds"),
            column("flow_mean_w_s", pa.float32(), "mean length of the flow, frame widths per second"),
            column("flow_p95_w_s", pa.float32(), "95th percentile of its length, frame widths per second"),
            column("flow_px_520x960", pa.float32(), LVD_PX),
            column(
                "camera_x_w_s", pa.float32(), "fitted camera shift: picture moves right > 0, frame widths per second"
            ),
            column(
                "camera_y_w_s", pa.float32(), "fitted camera shift: picture moves down > 0, frame widths per second"
            ),
            column("camera_zoom_s", pa.float32(), "fitted scale's natural logarithm per second; > 0 zooms in"),
            column("camera_roll_s", pa.float32(), "fitted rotation, picture clockwise > 0, radians per second"),
            column("camera_fit", pa.float32(), "share of followed corners that the camera explains, 0 to 1"),
            column("subject_w_s", pa.float32(), "mean length of the flow that the camera leaves, frame widths/s"),
            column(
                "held_share", pa.float32(), "share of the picture's middle that stays where it is as the rest moves"
            ),
            column(
                "steps", pa.list_(STEP), "the path since the sample before: each step's end and shift, frame widths"
            ),
        ]
    ),
)

VECTORS = Table(
    "vector_series",
    1,
    "A sampled frame and the codec's motion vectors in the P pictures since the sample before it, each from the I or P "
    "picture before it. B pictures are left out: they do not say how far away what they refer to is.",
    pa.schema(
        [
            SOURCE_ID,
            FRAME,
            PTS,
            T_S,
            column("previous_s", pa.float64(), "time of the sample before, seconds; null at the first"),
            column("pictures", pa.int32(), "P pictures that count", False),
            column("vectors_mean_w_s", pa.float32(), "mean length by area of the vectors, frame widths per second"),
            column("vectors_x_w_s", pa.float32(), "their mean, picture moves right > 0, frame widths per second"),
            column("vectors_y_w_s", pa.float32(), "their mean, picture moves down > 0, frame widths per second"),
            column("intra_share", pa.float32(), "share of those pictures' area that has no vector, 0 to 1"),
            UNMEASURED,
        ]
    ),
)

SECONDS = Table(
    "motion_seconds",
    1,
    "A second of a clip, the last one shorter; every second of every clip has a row, so that dead stretches show.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column("second", pa.int32(), "from the clip's start, from 0", False),
            column("start_s", pa.float64(), "seconds since the source's first timestamp", False),
            column("end_s", pa.float64(), "seconds since the source's first timestamp", False),
            column("flow_w_s", pa.float32(), "mean flow, frame widths per second"),
            column("camera_w_s", pa.float32(), "mean speed of the camera's shift, frame widths per second"),
            column("subject_w_s", pa.float32(), "mean flow that the camera leaves, frame widths per second"),
            column("vectors_w_s", pa.float32(), "mean length of the codec's vectors, frame widths per second"),
            UNMEASURED,
        ]
    ),
)

TABLE = Table(
    "motion",
    2,
    "The motion of a clip, from the samples that lie wholly inside it.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column("pairs", pa.int32(), "sample pairs inside the clip", False),
            column("mean_w_s", pa.float32(), "mean flow, frame widths per second"),
            column("p95_w_s", pa.float32(), "95th percentile over pairs of the mean flow, frame widths per second"),
            column("static_share", pa.float32(), "share of pairs slower than the stage's `static_below_w_s`, 0 to 1"),
            column("dead_s", pa.float64(), "longest stretch of such pairs, seconds"),
            column("dead_start_s", pa.float64(), "where it starts, seconds since the source's first timestamp"),
            column("flow_px_520x960_2fps", pa.float32(), LVD_PX),
            column("vectors_w_s", pa.float32(), "mean length of the codec's motion vectors, frame widths per second"),
            column("intra_share", pa.float32(), "share of P pictures' area that has no vector, 0 to 1"),
            column("camera_w_s", pa.float32(), "mean speed of the camera's shift, frame widths per second"),
            column("subject_w_s", pa.float32(), "mean flow that the camera does not explain, frame widths per second"),
            column("jitter_w_s", pa.float32(), "root mean square of the camera's speed off its mean over a second"),
            column(
                "camera",
                pa.string(),
                "static, pan left, pan right, tilt up, tilt down, zoom in, zoom out, roll, tracking, "
                "handheld shake; or moving, where none of them lasts for most of the clip",
            ),
            column(
                "segments",
                pa.list_(SEGMENT),
                "the camera over time: seconds since the source's first timestamp; speed in frame widths per second, "
                "of a zoom the scale's logarithm per second, of a roll radians per second",
            ),
            column("backend", pa.string(), "what measured it", False),
            UNMEASURED,
        ]
    ),
)

RAFT = Table(
    "raft",
    1,
    "The motion of a clip by RAFT, between pictures half a second apart that are brought to 520x960.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column("pairs", pa.int32(), "picture pairs measured", False),
            column("mean_w_s", pa.float32(), "mean flow, frame widths per second"),
            column("p95_w_s", pa.float32(), "95th percentile over pairs of the mean flow, frame widths per second"),
            column("flow_px_520x960_2fps", pa.float32(), LVD_PX),
            column(
                "series_w_s", pa.list_(pa.float32()), "each pair's mean flow, frame widths per second; null: not finite"
            ),
            column("backend", pa.string(), "the network and where it ran; null where none did"),
            UNMEASURED,
        ]
    ),
)
