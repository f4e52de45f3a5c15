"""`media`: the video files cut for the kept clips, before they are packed."""

import pyarrow as pa

from schemas import CLIP_ID, SOURCE_ID, Table, column

TABLE = Table(
    "media",
    3,
    "A clip's own file, exact to the frame.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            column("path", pa.string(), "path inside the dataset", False),
            column("sha256", pa.string(), "checksum of the file", False),
            column("bytes", pa.int64(), "file size", False),
            column("frames", pa.int64(), "pictures written", False),
            column("duration_s", pa.float64(), "duration of the picture track, seconds", False),
            column("width", pa.int32(), "picture width in px", False),
            column("height", pa.int32(), "picture height in px", False),
            column("fps", pa.float64(), "mean frame rate, frames per second", False),
            column("audio_s", pa.float64(), "duration of the audio track, seconds; null without one"),
            column("mode", pa.string(), "smart: copied but for its ends; encode: every picture encoded anew", False),
            column("encoded_frames", pa.int64(), "pictures encoded anew; 0 is a pure copy", False),
            column("why", pa.string(), "why every picture was encoded anew; null where mode is smart"),
            column(
                "crop",
                pa.list_(pa.float32(), 4),
                "x0, y0, x1, y1 of what was kept of the source's upright picture, shares of its sides; null: all",
            ),
        ]
    ),
)
