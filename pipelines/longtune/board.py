"""TensorBoard: what metrics.jsonl says as curves, and the sample videos, in RUN/tensorboard."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import torch
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import FileWriter
from torch.utils.tensorboard.summary import scalar

_GIF_FPS = 8  # a sample in the browser need not be smooth
_GIF_SIDE = 320  # pixels, nor large: TensorBoard holds it in memory
_GIF_FRAMES = 240


class Board:
    """Use as a context manager.

    Args:
        run: the run's folder.
        resumed_at: the global step that is done next; what an earlier process wrote from there on is dropped.
    """

    def __init__(self, run: Path, resumed_at: int) -> None:
        self._writer = FileWriter(str(run / "tensorboard"))
        if resumed_at > 0:
            self._writer.add_event(Event(session_log=SessionLog(status=SessionLog.START)), step=resumed_at)

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def row(self, row: Mapping[str, Any], step: int) -> None:
        """A step's metrics; `step` counts over all stages."""
        for name, value in row.items():
            if isinstance(value, int | float) and name != "step":
                self._writer.add_summary(scalar(f"{row['stage']}/{name}", torch.tensor(float(value))), step)

    def video(self, path: Path, step: int) -> None:
        """A sample, as an animated image."""
        value = Summary.Image(encoded_image_string=_gif(path), colorspace=3)
        self._writer.add_summary(Summary(value=[Summary.Value(tag="sample", image=value)]), step)
        self._writer.flush()


def _gif(path: Path) -> bytes:
    images: list[Image.Image] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        every = max(1, round(float(stream.average_rate or _GIF_FPS) / _GIF_FPS))
        for number, frame in enumerate(container.decode(stream)):
            if number % every == 0 and len(images) < _GIF_FRAMES:
                image = frame.to_image()
                image.thumbnail((_GIF_SIDE, _GIF_SIDE))
                images.append(image)
    buffer = io.BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=1000 // _GIF_FPS, loop=0)
    return buffer.getvalue()
