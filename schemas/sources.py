"""`inputs` has a row per path that was given; `sources` a row per distinct content among them."""

import pyarrow as pa

from schemas import SOURCE_ID, Table, column

_PROBE = [
    column("bytes", pa.int64(), "file size in bytes"),
    column("container", pa.string(), "libavformat's name of the container"),
    column("codec", pa.string(), "libavcodec's name of the video codec"),
    column("pix_fmt", pa.string(), "pixel format of the coded picture"),
    column("width", pa.int32(), "upright picture width in px, rotation applied"),
    column("height", pa.int32(), "upright picture height in px, rotation applied"),
    column("rotation", pa.int32(), "clockwise turn in degrees that makes the picture upright: 0, 90, 180 or 270"),
    column("duration_s", pa.float64(), "first presentation timestamp to the end of the last frame, seconds"),
    column("packets", pa.int64(), "video packets in the file; frames decoded may be fewer"),
    column("fps", pa.float64(), "mean frame rate, frames per second"),
    column("variable_rate", pa.bool_(), "whether frame spacing varies by more than a tick of the time base or 1 %"),
    column("time_base_num", pa.int64(), "numerator of the time base, seconds per tick"),
    column("time_base_den", pa.int64(), "denominator of the time base"),
    column("start_pts", pa.int64(), "first presentation timestamp, ticks"),
    column(
        "seekable", pa.bool_(), "every packet has a unique timestamp, so that the source may be decoded in intervals"
    ),
    column("split_pts", pa.list_(pa.int64()), "timestamps of keyframes at least 5 s apart, ticks"),
    column("audio_codec", pa.string(), "codec of the first audio stream that can be decoded; null when there is none"),
    column("audio_rate", pa.int32(), "sample rate of the first audio stream, Hz"),
    column("audio_channels", pa.int32(), "channels of the first audio stream"),
]

INPUTS = Table(
    "inputs",
    1,
    "A path that was given to a run, what was found there, and the columns its list carried.",
    pa.schema(
        [
            column("path", pa.string(), "path or URL as given, made absolute", False),
            SOURCE_ID,
            column("fingerprint", pa.string(), "size and time or entity tag under which the path was read", False),
            column("user", pa.string(), "JSON object with the user's own columns of the list it came from", False),
            column("failure", pa.string(), "why it is no usable source; null when it is one"),
            *_PROBE,
        ]
    ),
)

SOURCES = Table(
    "sources",
    1,
    "A distinct video. The same content under several paths is one source, read from the first.",
    pa.schema(
        [
            SOURCE_ID,
            column("path", pa.string(), "the first of its paths in sorted order", False),
            column("paths", pa.list_(pa.string()), "all its paths, sorted", False),
            column("fingerprint", pa.string(), "size and time or entity tag under which the first of them was read"),
            column("user", pa.string(), "JSON object with the user's own columns", False),
            column("failure", pa.string(), "why it is no usable source; null when it is one"),
            *_PROBE,
        ]
    ),
)

DECODES = Table(
    "decodes",
    1,
    "What the one decode of a source met.",
    pa.schema(
        [
            SOURCE_ID,
            column("frames", pa.int64(), "pictures decoded", False),
            column("corrupt_frames", pa.int64(), "pictures that the decoder itself marked as damaged", False),
            column("decode_errors", pa.int64(), "packets that could not be decoded", False),
            column("stopped_early", pa.string(), "the demuxer's error where it gave up before the end; null otherwise"),
            column("end_s", pa.float64(), "time of the last decoded picture, seconds"),
        ]
    ),
)
