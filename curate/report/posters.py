"""A picture for each clip on the page, out of the stills that the one decode left: the still next to its middle."""

from __future__ import annotations

import cv2
import duckdb
import numpy as np
import pyarrow as pa

from curate.dataset import Dataset

FOLDER = "report/posters"
STILLS = "stills"

WIDTH_PX = 320
"""Width of a poster: a card's on a phone."""

QUALITY = 80
"""JPEG quality: about 10 KB a poster."""


def write(dataset: Dataset, clips: pa.Table) -> list[int]:
    """Write the posters that are missing for clips (clip_id, source_id, start_s, end_s); for each clip 1 or 0.

    A clip's id says its source and frames, so that a poster of that name is the right one.
    """
    if STILLS not in dataset.table_names():
        return [0] * clips.num_rows
    present = set(dataset.names(FOLDER))
    named: dict[str, str] = {}
    with duckdb.connect() as database:
        database.register("shown", clips)
        database.register("stills", dataset.stored(STILLS))
        near = database.sql(_NEAREST).to_arrow_table()
        database.register("near", near)
        wanted = database.sql(
            "select n.clip_id, s.jpeg from near n join stills s on s.source_id = n.source_id and s.frame = n.frame"
        )
        for batch in wanted.to_arrow_reader(256):
            for clip_id, jpeg in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
                name = f"{clip_id}.jpg"
                if name not in present:
                    small = _small(jpeg)
                    if small is None:
                        continue
                    dataset.write(f"{FOLDER}/{name}", small)
                named[clip_id] = name
    for name in present - set(named.values()):
        dataset.remove(f"{FOLDER}/{name}")
    return [int(clip_id in named) for clip_id in clips.column("clip_id").to_pylist()]


_NEAREST = """
select c.clip_id, c.source_id, arg_min(s.frame, (abs(s.t_s - (c.start_s + c.end_s) / 2), s.frame)) as frame
from shown c join stills s on s.source_id = c.source_id and s.t_s >= c.start_s and s.t_s < c.end_s
group by c.clip_id, c.source_id
"""


def _small(jpeg: bytes) -> bytes | None:
    """The picture at a poster's width; None where it cannot be read."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        return None
    height, width = picture.shape[:2]
    size = (WIDTH_PX, max(1, round(height * WIDTH_PX / width)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if width > WIDTH_PX else picture
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
