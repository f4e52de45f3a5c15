"""Writes pictures and sound to an MP4 file, a frame at a time and the same bytes every time.

The last step of the filmmaker: it knows nothing of takes or scenes, only frames in and a file out.
"""

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from pipelines.filmmaker.texture import FPS, HEIGHT, WIDTH
from pipelines.filmmaker.voice import SAMPLE_RATE, Sound


def write_film(path: Path, frames: Iterable[NDArray[np.uint8]], sound: Sound) -> None:
    """Encode H.264 (yuv420p, 25 fps) and AAC (mono, 48 kHz); `frames` are RGB (360, 640, 3), `sound` is as long.

    One x264 thread and no time of day in the file, so that equal input gives equal bytes. Raises OSError or
    `av.FFmpegError` when the file cannot be written.
    """
    hop = SAMPLE_RATE // FPS
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        # The threads must be named to x264 itself: left alone it takes what the machine has.
        video = container.add_stream("libx264", rate=FPS, options={"crf": "23", "preset": "veryfast", "threads": "1"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.bit_rate = 96_000
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
            heard = sound[number * hop : (number + 1) * hop]
            chunk = av.AudioFrame.from_ndarray(np.ascontiguousarray(heard[None, :]), format="fltp", layout="mono")
            chunk.sample_rate, chunk.pts = SAMPLE_RATE, number * hop
            container.mux(audio.encode(chunk))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
