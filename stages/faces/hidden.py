"""Where faces are in a take, at every moment of it, so that they can be blurred: rather too much than too little.

Faces are looked for several times a second, which the stills of `face_tracks` are not. From look to look a face is
followed, and between two looks all is hidden that lies between its places; before it is found first and after it is
found last, its place stays hidden for a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from curate.media.frame import Frame
from curate.media.spans import Reader, Span
from curate.stage import Row
from stages.faces import detect
from stages.faces.detect import Detector

Area = tuple[float, float, float, float]
MOST_FACES = 200
"""In one picture: a crowd."""
NEAR = 1.0
"""Sides by which a face may have moved since it was seen, and still be the same; a wrong match hides more, not less."""
SAME, BESIDE_S = 0.3, 0.75
"""Intersection over union from which a face and one that `faces` names are one, as SORT's; and how far apart in time
the two may have been looked at, seconds: `stills` come once or twice a second."""


class Blur(BaseModel):
    """How faces are found and hidden."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    fps: float = Field(8.0, gt=0)
    """Looks a second. Between two looks at 8 fps a walker's head moves a quarter of its width."""
    hold_s: float = Field(1.0, ge=0)
    """How long a face that is not found (turned away, covered, blurred by motion) is taken to be still there, and how
    long before it is found first it is taken to have been there, seconds."""
    margin: float = Field(0.35, ge=0)
    """What is hidden beyond the box on each side, in its own sides: the box ends at brows and chin, and hair and ears
    tell people apart, too."""
    side_px: int = Field(960, ge=160)
    """Long side at which faces are looked for, px; a smaller picture is not enlarged. The detector finds faces from
    10 px on."""
    least_score: float = Field(0.4, ge=0, le=1)
    """The detector's score from which a box is hidden: below the 0.7 of `face_tracks`, as a blurred hand does less harm
    than a face that is not."""
    least_px: float = Field(8.0, ge=0)
    """Side of the smallest face that is hidden, px of the picture that is looked at: below it nobody is known."""
    detector: Detector = "libfacedetection"
    """Who finds faces."""
    consenting: tuple[str, ...] = ()
    """Names, as in the table `faces`, of those who are not hidden. Where it is not sure who it is, it is hidden."""


@dataclass
class Face:
    """One face through a take, by the times of the looks that found it."""

    times: list[float]
    areas: list[Area]
    spared: bool = False


def hidden(reader: Reader, span: Span, how: Blur, known: Sequence[Row] = ()) -> Hidden:
    """The places to hide in a take.

    Args:
        known: rows of `faces` of the take, by which those who consent are spared.

    Raises:
        WeightsError: the detector is not installed.
    """
    return Hidden(followed(_looks(reader.frames(span), how), how), how, known)


class Hidden:
    """The places to hide in one take, by its faces."""

    def __init__(self, faces: Sequence[Face], how: Blur, known: Sequence[Row] = ()) -> None:
        self._how, self._faces = how, faces
        for face in faces:
            face.spared = all(
                _spared(t, area, known, how.consenting) for t, area in zip(face.times, face.areas, strict=True)
            )

    def __bool__(self) -> bool:
        return any(not face.spared for face in self._faces)

    def at(self, t_s: float) -> list[Area]:
        """The places at a time of the source, seconds, widened, as shares of the picture."""
        return [area for face in self._faces if not face.spared and (area := self._place(face, t_s)) is not None]

    def _place(self, face: Face, t_s: float) -> Area | None:
        hold = self._how.hold_s
        if not face.times[0] - hold <= t_s <= face.times[-1] + hold:
            return None
        after = int(np.searchsorted(face.times, t_s))
        near = face.areas[max(0, after - 1) : after + 1]
        x0, y0 = (min(area[n] for area in near) for n in (0, 1))
        x1, y1 = (max(area[n] for area in near) for n in (2, 3))
        across, down = (max(area[n + 2] - area[n] for area in near) * self._how.margin for n in (0, 1))
        return x0 - across, y0 - down, x1 + across, y1 + down


def _looks(frames: Iterable[Frame], how: Blur) -> Iterable[tuple[float, list[Area]]]:
    """The faces at each look, the first and the last frame among them."""
    due, last = -np.inf, None
    for frame in frames:
        last = frame
        if frame.t_s >= due:
            due = frame.t_s + 1 / how.fps - 1e-3
            last = None
            yield frame.t_s, _found(frame, how)
    if last is not None:
        yield last.t_s, _found(last, how)


def _found(frame: Frame, how: Blur) -> list[Area]:
    rgb = cv2.cvtColor(frame.picture(min(how.side_px, max(frame.size))), cv2.COLOR_BGR2RGB)
    boxes = detect.found(rgb, how.detector, how.least_score, how.least_px, MOST_FACES)
    height, width = rgb.shape[:2]
    return [(b.x / width, b.y / height, (b.x + b.width) / width, (b.y + b.height) / height) for b in boxes]


def followed(looks: Iterable[tuple[float, list[Area]]], how: Blur) -> list[Face]:
    """Each found box given to the nearest face that was there within `hold_s`, or to a new one."""
    done: list[Face] = []
    for t_s, areas in looks:
        free = [face for face in done if t_s - face.times[-1] <= 2 * how.hold_s]
        for area in areas:
            nearest = min(free, key=lambda face: _away(face.areas[-1], area), default=None)
            if nearest is not None and _away(nearest.areas[-1], area) <= NEAR:
                free.remove(nearest)
                nearest.times.append(t_s)
                nearest.areas.append(area)
            else:
                done.append(Face([t_s], [area]))
    return done


def _away(one: Area, other: Area) -> float:
    """Distance of two places' middles in sides of the larger."""
    moved = np.hypot(one[0] + one[2] - other[0] - other[2], one[1] + one[3] - other[1] - other[3]) / 2
    return float(moved / max(1e-6, one[2] - one[0], other[2] - other[0], one[3] - one[1], other[3] - other[1]))


def _spared(t_s: float, area: Area, known: Sequence[Row], consenting: Sequence[str]) -> bool:
    """Whether whoever is seen at a place at a time consents, and nobody else is known to be there."""
    names = set()
    for row in known:
        nearest = int(np.argmin(np.abs(np.subtract(row["times_s"], t_s))))
        if abs(row["times_s"][nearest] - t_s) <= BESIDE_S and _over(area, row["boxes"][nearest]) >= SAME:
            names.add(row["name"])
    return bool(names) and names <= set(consenting)


def _over(one: Sequence[float], other: Sequence[float]) -> float:
    boxes = [detect.Box(a[0], a[1], a[2] - a[0], a[3] - a[1], 1.0) for a in (one, other)]
    return detect.overlap(boxes[0], boxes[1])[0]
