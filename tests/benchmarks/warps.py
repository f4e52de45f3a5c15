"""Films with a camera movement that is known: a window that moves over a real take whose own camera stands still.

What moves in the take moves on in the window. Beyond the take's edge it is mirrored, so a fast pan need not stop; what
moves there moves mirrored, the camera's movement stays true.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

STILL_TAKES = ("vtest.avi", "chaplin.mp4", "yoga.mp4", "vl2_demo1.mp4", "jesse_dance.mp4")
"""Takes from a tripod with people who walk, fight, bend and dance."""

WINDOW = 0.7
"""Width of the window in widths of the take."""

TREMOR_HZ = (1.3, 2.1, 2.9)
"""Of the planted shake; hands tremble at 1 to 5 Hz."""


@dataclass(frozen=True)
class View:
    """Where the camera looks: the window's centre from the take's centre in window widths (y downwards), the natural
    logarithm of the scale, and how far the picture is turned clockwise, radians."""

    x: float = 0.0
    y: float = 0.0
    zoom: float = 0.0
    roll: float = 0.0


Move = Callable[[float], View]
"""Seconds to a view."""

PANS = (0.02, 0.05, 0.1, 0.25, 0.5)
ZOOMS = (0.03, 0.06, 0.12, 0.25, 0.5)
ROLLS = (0.05, 0.1, 0.2, 0.4, 0.8)
SPEEDS: dict[str, tuple[float, ...]] = {
    "static": (0.0,),
    **dict.fromkeys(("pan left", "pan right", "tilt up", "tilt down"), PANS),
    **dict.fromkeys(("zoom in", "zoom out"), ZOOMS),
    "roll": ROLLS,
    "handheld shake": (0.03, 0.06, 0.12, 0.25, 0.5),
}
"""Planted speeds by kind: frame widths per second (a shake's root mean square), logarithm of the scale per second,
radians per second."""


def move(kind: str, speed: float) -> Move:
    """A camera that does one thing at one speed."""
    if kind == "handheld shake":
        rates = 2 * np.pi * np.array(TREMOR_HZ)
        swing = speed / np.sqrt(len(rates)) / rates
        return lambda t: View(
            float((swing * np.sin(rates * t + [0.3, 1.9, 4.0])).sum()),
            float((swing * np.sin(rates * t + [1.6, 4.8, 2.7])).sum()),
        )
    directions = {
        "static": View(),
        "pan left": View(x=-1),
        "pan right": View(x=1),
        "tilt up": View(y=-1),
        "tilt down": View(y=1),
        "zoom in": View(zoom=1),
        "zoom out": View(zoom=-1),
        "roll": View(roll=1),
    }
    d = directions[kind]
    return lambda t: View(*(speed * t * way for way in (d.x, d.y, d.zoom, d.roll)))


def in_turn(moves: Sequence[tuple[Move, float]]) -> Move:
    """One move after another, each for its seconds, each from where the last one ended."""

    def view(t: float) -> View:
        at = View()
        for way, seconds in moves:
            now, start = way(min(t, seconds)), way(0.0)
            at = View(*(a + n - s for a, n, s in zip(_numbers(at), _numbers(now), _numbers(start), strict=True)))
            t -= seconds
            if t <= 0:
                break
        return at

    return view


def _numbers(view: View) -> tuple[float, float, float, float]:
    return view.x, view.y, view.zoom, view.roll


@dataclass(frozen=True)
class Take:
    """A take's pictures in memory."""

    name: str
    fps: Fraction
    pictures: list[np.ndarray]

    @classmethod
    def read(cls, path: Path, seconds: float) -> Take:
        """The first seconds of a take, BGR, at most 640 px wide."""
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            fps = Fraction(stream.average_rate or 25)
            pictures = []
            for frame in container.decode(stream):
                size = (min(640, frame.width), round(frame.height * min(1, 640 / frame.width)))
                pictures.append(frame.reformat(*size).to_ndarray(format="bgr24"))
                if len(pictures) >= seconds * fps:
                    break
        return cls(path.name, fps, pictures)

    def seen(self, way: Move) -> Iterator[np.ndarray]:
        """The take through a camera that moves."""
        height, width = self.pictures[0].shape[:2]
        size = round(width * WINDOW) // 2 * 2, round(height * WINDOW) // 2 * 2
        middle = float(len(self.pictures) / self.fps) / 2
        start = way(middle)
        for n, picture in enumerate(self.pictures):
            view = way(float(n / self.fps))
            # In the middle of the film the view is the take's own, so that a zoom has as far to go either way.
            scale, angle = math.exp(view.zoom - start.zoom), view.roll - start.roll
            c, s = scale * math.cos(angle), scale * math.sin(angle)
            x = width / 2 + (view.x - start.x) * size[0]
            y = height / 2 + (view.y - start.y) * size[0]
            matrix = np.array([[c, -s, size[0] / 2 - c * x + s * y], [s, c, size[1] / 2 - s * x - c * y]])
            how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            yield cv2.warpAffine(picture, matrix, size, flags=how, borderMode=cv2.BORDER_REFLECT_101)


def write(pictures: Iterator[np.ndarray], fps: Fraction, out: Path, codec: str = "libx264", **options: str) -> None:
    """Encode pictures (rows, columns, 3) BGR; x264 veryfast at crf 20 where nothing else is said."""
    if codec == "libx264":
        options = {"crf": "20", "preset": "veryfast", **options}
    with av.open(str(out), "w") as box:
        stream = box.add_stream(codec, rate=fps, options=options)
        stream.pix_fmt = "yuv420p"
        for n, picture in enumerate(pictures):
            if not n:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = n, 1 / fps
            box.mux(stream.encode(frame))
        box.mux(stream.encode(None))
