"""Writes frames to an mp4 as they come. The file appears under its name only when it is whole."""

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
    """H.264, yuv420p. Use as a context manager; on an exception nothing is left behind."""

    def __init__(self, path: Path, fps: float, width: int, height: int) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self._partial), "w", format="mp4")
        except OSError as error:
            raise TuneError(f"{path}: cannot write there: {error.strerror}") from error
        self._stream = self._container.add_stream("libx264", rate=Fraction(fps).limit_denominator(100_000))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.options = {"crf": "18"}
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
            if kind is None:
                self._container.mux(self._stream.encode())
            self._container.close()
            if kind is None:
                os.replace(self._partial, self._path)
        finally:
            self._partial.unlink(missing_ok=True)
