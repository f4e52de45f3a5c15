"""A contact sheet: a row of faces for each person, for people to see at a glance who was taken for whom."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from curate.stage import Row
from stages.faces.look import PORTRAIT_PX

COLUMNS = 10
"""Faces of a person, of different tracks, the first and the last among them."""
MOST_ROWS = 100
GAP, MARGIN, LINE = 4, 180, 16
"""Px between faces, for the names on the left, and for the time below each."""


def write(path: Path, people: Sequence[Row], tracks: Sequence[Row]) -> None:
    """Draw rows of `people` with the portraits of their `face_tracks`; last, the faces that are of nobody.

    Raises:
        OSError: the file cannot be written.
    """
    by_id = {track["track_id"]: track for track in tracks}
    rows = [
        (
            f"{person['label']}\n{person['screen_s']:.1f} s, {len(person['clips'])} takes",
            [by_id[t] for t in person["tracks"]],
        )
        for person in people[:MOST_ROWS]
    ]
    if nobody := [track for track in tracks if track["embedding"] is None]:
        rows.append(("cannot be told", nobody))
    tall = PORTRAIT_PX + LINE + GAP
    image = Image.new("RGB", (MARGIN + COLUMNS * (PORTRAIT_PX + GAP), max(1, len(rows)) * tall), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    if not rows:
        draw.text((GAP, GAP), "no face was found", fill="black", font=font)
    for number, (words, shown) in enumerate(rows):
        top = number * tall
        draw.multiline_text((GAP, top + GAP), words, fill="black", font=font)
        for place, track in enumerate(_spread(shown)):
            left = MARGIN + place * (PORTRAIT_PX + GAP)
            with Image.open(io.BytesIO(track["portrait"]), formats=["JPEG"]) as portrait:
                image.paste(portrait, (left, top))
            draw.text((left, top + PORTRAIT_PX), f"{track['start_s']:.1f} s", fill="black", font=font)
    image.save(path, quality=90)


def _spread(tracks: Sequence[Row]) -> list[Row]:
    if len(tracks) <= COLUMNS:
        return list(tracks)
    return [tracks[round(n * (len(tracks) - 1) / (COLUMNS - 1))] for n in range(COLUMNS)]
