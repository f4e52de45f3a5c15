"""Writes frames to an mp4 as they come. The file has its name only when it is whole, and can be watched before."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np

from pipelines.longtune.errors import TuneError


class VideoWriter:
    """H.264, yuv420p. Use as a context manager.

    Until it is whole the video is NAME.partial.mp4: a fragmented mp4, a fragment a second, that plays up to the last
    fragment if the program is killed. At the end it becomes a plain mp4 (FFmpeg's hybrid_fragmented). After an
    exception the frames so far stay under the partial name.
    """

    def __init__(self, path: Path, fps: float, width: int, height: int) -> None:
        self._path = path
        self.partial = path.with_name(f"{path.stem}.partial.mp4")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            options = {"movflags": "frag_keyframe+hybrid_fragmented", "flush_packets": "1"}
            self._container = av.open(str(self.partial), "w", format="mp4", options=options)
        except OSError as error:
            raise TuneError(f"{path}: cannot write there: {error.strerror}") from error
        self._stream = self._container.add_stream("libx264", rate=Fraction(fps).limit_denominator(100_000))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        # zerolatency: no frame waits in the encoder for later ones, which may take minutes to be made.
        self._stream.options = {"crf": "18", "tune": "zerolatency", "g": str(max(1, round(fps)))}
        self.frames = 0

    def write(self, image: np.ndarray) -> None:
        """Append one uint8 RGB image, shape (height, width, 3)."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.frames:
                self._container.mux(self._stream.encode())
            self._container.close()
            if kind is None:
                os.replace(self.partial, self._path)
        finally:
            if not self.frames:
                self.partial.unlink(missing_ok=True)
