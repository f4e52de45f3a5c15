"""What is exported: the kept takes that have a file and captions that may be used, and the captions above them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import duckdb

from curate.dataset import Dataset
from curate.folder import decoded
from curate.stage import Row
from schemas import caption_checks, captions, clips, decisions, latents, media, motion, sources
from stages.caption.chosen import captions_chosen, takes_told


class ExportError(Exception):
    """Nothing can be exported; the message says what to do."""


@dataclass(frozen=True)
class Take:
    """A kept take. Times of shots and parts are seconds from its own start."""

    clip_id: str
    source_id: str
    source: str
    """The source's path or URL, for people and for columns that name it."""
    user: dict[str, Any]
    """The columns of the user's own list."""
    start_s: float
    end_s: float
    media: str
    """Its file's path inside the dataset."""
    frames: int
    fps: float
    width: int
    height: int
    duration_s: float
    camera: str | None
    """What the camera does, as in `motion`."""
    flow_px: float | None
    """LVD-2M's flow score, px."""
    shots: list[Row]
    parts: list[Row]
    """The captions of level clip, of a few seconds each; those that may not be used are missing."""

    latents: str | None = None
    """The path of its latents inside the dataset."""
    embeddings: str | None = None
    """That of its captions' embeddings."""

    @property
    def timeline(self) -> list[Row]:
        """The finest captions that there are, in order."""
        return self.parts or self.shots

    def told(self, *layers: str) -> str:
        """The whole take in words, on one line: each shot's first layer that is there."""
        return " ".join(layer_of(shot, *layers) for shot in self.shots)


@dataclass(frozen=True)
class Taken:
    """All that a layout may write."""

    takes: list[Take]
    """By source, in order of time."""
    spans: list[Row]
    """The captions that may be used of sources with a take, of every level, with `path`; by source and time."""
    left_out: int
    """Kept takes with a file of which some shot's caption may not be used."""


def layer_of(node: Row, *layers: str) -> str:
    """The first of the layers that has text, on one line; the caption itself where none has."""
    for layer in layers:
        if found := line(node[layer] or ""):
            return found
    return line(node["text"])


def line(text: str) -> str:
    """A text without line breaks, other control characters or doubled spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def read(dataset: Dataset) -> Taken:
    """Everything that may be exported.

    Raises:
        ExportError: there is none, and why.
    """
    there = set(dataset.table_names())
    for table, stage in ((captions.TABLE, "caption"), (media.TABLE, "clips")):
        if table.name not in there:
            raise ExportError(f"{dataset.url} has no table {table.name}: run a recipe with the stage {stage} first")
    checked = caption_checks.TABLE.name in there
    wanted = (captions, clips, decisions, media, motion)
    with duckdb.connect() as database:
        for table in (
            *(module.TABLE for module in wanted),
            caption_checks.TABLE,
            sources.SOURCES,
            latents.LATENTS,
            latents.TEXT,
        ):
            database.register(table.name, dataset.scan(table))
        rows = database.sql(_takes(checked)).to_arrow_table().to_pylist()
        spans = database.sql(_spans(checked)).to_arrow_table().to_pylist()
    told = [row for row in rows if row["shots"]]
    if not told:
        raise ExportError(_why_none(dataset, len(rows), checked))
    mine = {row["source_id"] for row in told}
    for span in spans:
        span["path"] = decoded(span["path"])
    return Taken([_take(row) for row in told], [s for s in spans if s["source_id"] in mine], len(rows) - len(told))


def _why_none(dataset: Dataset, kept: int, checked: bool) -> str:
    if not kept:
        return f"{dataset.url} has no kept take with a file; see curate status {dataset.url}"
    why = "none passed the checks of captions" if checked else "none has a caption without a flag for every shot"
    return f"{dataset.url}: of {kept} kept takes {why}; see the flags in curate explain, or caption them again"


def _takes(checked: bool) -> str:
    return f"""
    with told as ({takes_told(checked)})
    select m.clip_id, m.source_id, s.path, s.user, c.start_s, c.end_s, m.path as media, m.frames, m.fps, m.width,
        m.height, m.duration_s, l.path as latents, e.path as embeddings,
        o.camera, o.flow_px_520x960_2fps as flow_px, told.shots, told.parts
    from media m join decisions d using (clip_id) join clips c using (clip_id)
    join sources s on s.source_id = m.source_id
    left join latents l using (clip_id) left join text_embeddings e using (clip_id)
    left join motion o using (clip_id) left join told using (clip_id)
    where d.kept order by m.source_id, c.start_s
    """  # noqa: S608 - the text of `takes_told`


def _spans(checked: bool) -> str:
    return f"""
    select c.*, s.path, s.duration_s from ({captions_chosen(checked)}) c join sources s using (source_id)
    where c.clip_id is null or c.clip_id in (select clip_id from decisions where kept)
    order by c.source_id, c.start_s, c.end_s desc
    """  # noqa: S608 - the text of `captions_chosen`


def _take(row: Row) -> Take:
    start_s = row["start_s"]
    for node in (*row["shots"], *(row["parts"] or ())):
        node["start_s"] = max(0.0, node["start_s"] - start_s)
        node["end_s"] = min(row["duration_s"], node["end_s"] - start_s)
    flow = row["flow_px"]
    return Take(
        clip_id=row["clip_id"],
        source_id=row["source_id"],
        source=decoded(row["path"]),
        user=json.loads(row["user"]),
        start_s=start_s,
        end_s=row["end_s"],
        media=row["media"],
        frames=row["frames"],
        fps=row["fps"],
        width=row["width"],
        height=row["height"],
        duration_s=row["duration_s"],
        camera=row["camera"],
        flow_px=flow if flow is not None and math.isfinite(flow) else None,
        shots=row["shots"],
        parts=row["parts"] or [],
        latents=row["latents"],
        embeddings=row["embeddings"],
    )
