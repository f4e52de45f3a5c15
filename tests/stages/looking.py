"""Real stills with things planted on them, and stages run on them without an engine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw, ImageFont

from curate.dataset import to_arrow
from curate.media.probe import probe
from curate.media.video import Decode, Timing
from curate.stage import Row, RowStage
from schemas import clips, decisions, stills


class Desk:
    """A workspace that nobody looks at."""

    def progress(self, video_s: float) -> None:
        pass


@lru_cache(maxsize=8)
def take(path: Path, most: int | None = None) -> tuple[np.ndarray, ...]:
    """A picture a second of a real take, BGR, at most 640 px; no more than `most`."""
    found: list[np.ndarray] = []
    for frame in Decode(str(path), Timing.of(probe(str(path)))):
        if frame.t_s >= len(found):
            found.append(frame.picture(640))
        if len(found) == most:
            break
    return tuple(found)


def clip(start_s: float = 0.0, end_s: float = 1e6, clip_id: str = "c", long_enough: bool = True) -> Row:
    zeros = {f.name: 0 for f in clips.TABLE.schema if not f.nullable} | {"detectors": "", "still": []}
    times = {"start_s": start_s, "end_s": end_s, "long_enough": long_enough}
    return zeros | {"clip_id": clip_id, "source_id": "s"} | times


def inputs(pictures: Sequence[np.ndarray], rows: Sequence[Row] = ()) -> dict[str, pa.Table]:
    """Tables of a source whose stills are these, a second apart, and of its clips; by default one of all of it."""
    kept = [
        {"source_id": "s", "frame": n, "pts": n, "t_s": float(n), "width": p.shape[1], "height": p.shape[0]}
        | {"jpeg": cv2.imencode(".jpg", p, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()}
        for n, p in enumerate(pictures)
    ]
    return {"clips": to_arrow(clips.TABLE, list(rows) or [clip()]), "stills": to_arrow(stills.TABLE, kept)}


def screening(**kept: bool) -> pa.Table:
    rows = [{"clip_id": name, "source_id": "s", "kept": value, "reasons": []} for name, value in kept.items()]
    return to_arrow(decisions.TABLE, rows)


def run(stage: RowStage, tables: dict[str, pa.Table]) -> list[dict[str, Any]]:
    """The stage's rows; that they fit its table is checked on the way."""
    return to_arrow(stage.writes, list(stage.run(tables, Desk()))).to_pylist()


def logo(
    pictures: Sequence[np.ndarray], box: tuple[float, float, float], opacity: float, word: str | None = None
) -> list[np.ndarray]:
    """A white ring, or a word, whose left, top and width are shares of the picture."""
    height, width = pictures[0].shape[:2]
    long = round(box[2] * width)
    tall = long if word is None else long // 4
    mask = Image.new("L", (long, tall), 0)
    draw = ImageDraw.Draw(mask)
    if word is None:
        draw.ellipse((1, 1, long - 2, tall - 2), outline=255, width=max(2, tall // 8))
        draw.rectangle((long // 3, tall // 3, 2 * long // 3, 2 * tall // 3), fill=255)
    else:
        draw.text((2, 0), word, fill=255, font=ImageFont.load_default(tall * 0.8))
    alpha = np.asarray(mask, np.float32)[..., None] / 255 * opacity
    x, y = round(box[0] * width), round(box[1] * height)
    found = []
    for picture in pictures:
        marked = picture.copy()
        under = marked[y : y + tall, x : x + long]
        under[:] = np.rint(under * (1 - alpha) + 255 * alpha).astype(np.uint8)
        found.append(marked)
    return found


def written(picture: np.ndarray, words: str, y: float = 0.93) -> np.ndarray:
    """White letters with a black outline in the middle, their feet at `y` of the height."""
    picture = picture.copy()
    height, width = picture.shape[:2]
    scale = height / 500
    (wide, _), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_DUPLEX, scale, 1)
    at = ((width - wide) // 2, round(y * height))
    for colour, thick in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        cv2.putText(picture, words, at, cv2.FONT_HERSHEY_DUPLEX, scale, colour, thick, cv2.LINE_AA)
    return picture
