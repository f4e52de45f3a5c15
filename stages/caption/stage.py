"""The stages `tree` and `caption`: a source's spans at four time scales with what was measured in them, and the caption
of each.

The grounded captioner needs no model. A model behind `openai` or `transformers` is asked about the spans of kept takes,
from seconds up to the whole source; what was not kept is told from measured facts, so that events and story stay whole.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from curate.stage import Failure, Row, RowStage, Workspace
from schemas import Table, captions, tree
from stages.caption import grounded
from stages.caption.backends import OpenAI, Transformers, make
from stages.caption.describe import Describing, describe
from stages.caption.facts import Measured, Words
from stages.caption.protocol import Backend
from stages.caption.sight import Sight
from stages.caption.tree import Lengths, Node, Take, Views
from stages.caption.tree import tree as grown
from stages.caption.verify import Context, check


class Span(BaseModel):
    """How long the spans of a level are."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    least_s: float = Field(gt=0)
    """Never shorter, seconds; a take that is shorter is a span of its own."""
    aim_s: float = Field(gt=0)
    """What is aimed at where no place is better than another, seconds."""
    most_s: float = Field(gt=0)
    """Longer only where a spoken line leaves no place to end, seconds."""

    @model_validator(mode="after")
    def _in_order(self) -> Span:
        if not self.least_s <= self.aim_s <= self.most_s or self.most_s < 2 * self.least_s:
            raise ValueError("least_s <= aim_s <= most_s, and most_s at least twice least_s")
        return self

    @property
    def lengths(self) -> Lengths:
        return Lengths(self.least_s, self.aim_s, self.most_s)


class Tree(RowStage):
    """Splits each source that has a kept take into story, events, shots and clips, and says what was measured in each.
    A millisecond a node."""

    name: ClassVar[str] = "tree"
    writes: ClassVar[Table] = tree.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clips": ("clip_id", "start_s", "end_s", "still"),
        "decisions": ("clip_id", "kept"),
        "boundaries": ("start_s", "end_s", "kind", "accepted"),
        "motion": ("clip_id", "segments"),
        "motion_series": (
            "previous_s",
            "t_s",
            "subject_w_s",
            "camera_x_w_s",
            "camera_y_w_s",
            "camera_zoom_s",
            "camera_fit",
        ),
        "picture_series": ("t_s", "luma", "colourfulness", "hue"),
        "sources": ("source_id", "duration_s", "audio_codec"),
    }
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "hash_series": ("t_s", "thumbnail"),
        "ocr": ("t_s", "texts", "confidences"),
        "speech": (),
        "faces": ("start_s", "end_s", "person_id", "name"),
        "characters": ("people", "name"),
        "dialogue": ("start_s", "end_s", "name", "confidence"),
    }

    clip: Span = Span(least_s=3, aim_s=6, most_s=10)
    """Captioners of short clips are trained on 3 to 10 s; StoryTeller's segments have 7.6 s in the mean."""
    shot: Span = Span(least_s=20, aim_s=40, most_s=60)
    """A take that is longer than `most_s` is told in parts: beyond a minute models lose what is in the middle."""
    event: Span = Span(least_s=30, aim_s=120, most_s=300)
    """ScaleLong's events last minutes."""
    every_source: bool = False
    """Whether sources without a kept take have a tree too."""

    dark_below: float = Field(60.0, ge=0, le=255)
    """Mean luma below which a picture is called dark: a quarter of the scale."""
    bright_above: float = Field(150.0, ge=0, le=255)
    """Mean luma above which it is called bright."""
    light_change: float = Field(40.0, gt=0)
    """By how much mean luma differs between a span's first and last third when it brightens or darkens."""
    grey_below: float = Field(8.0, ge=0)
    """Colourfulness below which it is called black-and-white: half of what Hasler and Suesstrunk's viewers called
    slightly colourful."""
    muted_below: float = Field(20.0, ge=0)
    """Colourfulness below which colours are muted: theirs for slightly colourful is 15, moderately 33."""
    colourful_above: float = Field(50.0, ge=0)
    """Colourfulness above which it is colourful: theirs for quite colourful is 59, averagely 45."""
    calm_below_w_s: float = Field(0.01, ge=0)
    """Subject motion below which little moves, frame widths per second."""
    lively_above_w_s: float = Field(0.06, ge=0)
    """Subject motion above which there is much movement: LVD-2M's mean over its kept clips is 0.1 camera included."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        kept = {row["clip_id"] for row in inputs["decisions"].to_pylist() if row["kept"]}
        clips = sorted(inputs["clips"].to_pylist(), key=lambda clip: clip["start_s"])
        takes = [Take(c["clip_id"], c["start_s"], c["end_s"], c["clip_id"] in kept) for c in clips]
        if not takes or not (kept or self.every_source):
            return
        (source,) = inputs["sources"].to_pylist()
        takes = list(_filled(takes, inputs["boundaries"].to_pylist(), source["duration_s"] or 0.0))
        measured = Measured(inputs, Words(**{name: getattr(self, name) for name in Words.__annotations__}))
        lengths = self.clip.lengths, self.shot.lengths, self.event.lengths
        nodes = grown(takes, source["duration_s"] or 0.0, _views(inputs.get("hash_series")), measured.spoken, *lengths)
        for node in nodes:
            yield {
                "source_id": source["source_id"],
                "node_id": _name(source["source_id"], node),
                "parent_id": _name(source["source_id"], node.parent) if node.parent else None,
                "level": node.level,
                "start_s": node.start_s,
                "end_s": node.end_s,
                "clip_id": node.takes[0].clip_id or None if node.level in ("clip", "shot") else None,
                "kept": node.kept,
                "split": node.split,
                "facts": json.dumps(grounded.dumped(measured.of(node)), sort_keys=True, ensure_ascii=False),
            }


HOLE_S = 0.5
"""Time without a take, beside what transitions take, from which one was there that `curate purge` took out: takes give
up some frames on either side of a transition."""


def _filled(takes: list[Take], boundaries: list[Row], end_s: float) -> Iterator[Take]:
    """The takes, with one of nobody's wherever one was taken out, so that its neighbours do not reach over its time."""
    at = 0.0
    gradual = [(b["start_s"], b["end_s"]) for b in boundaries if b["accepted"] and b["kind"] != "end"]
    for take in (*takes, Take("", end_s, end_s, False)):
        between = sum(max(0.0, min(end, take.start_s) - max(start, at)) for start, end in gradual)
        if take.start_s - at - between > HOLE_S:
            yield Take("", at, take.start_s, False)
        at = take.end_s
        if take.clip_id:
            yield take


def _name(source_id: str, node: Node) -> str:
    return f"{source_id}-{node.level}-{node.start_s * 1000:.0f}-{node.end_s * 1000:.0f}"


def _views(series: pa.Table | None) -> Views:
    """The thumbnails of `hash_series`, each less its mean: what is where, however bright."""
    if series is None or not series.num_rows:
        return Views(np.empty(0), np.empty((0, 1)))
    column: list[bytes] = series.column("thumbnail").to_pylist()  # type: ignore[assignment]
    thumbnails = [np.frombuffer(thumbnail, np.uint8) for thumbnail in column]
    features = np.stack(thumbnails).astype(np.float32)
    return Views(series.column("t_s").to_numpy(), features - features.mean(1, keepdims=True))


class Caption(RowStage, Describing):
    """Writes the caption of every node of a source's tree.

    A model is asked about the nodes of kept takes; the others, and what the model is told that a node is part of, come
    from measured facts. Its answers are kept in the dataset by content, so that none is asked for twice.
    """

    name: ClassVar[str] = "caption"
    version: ClassVar[int] = 4
    writes: ClassVar[Table] = captions.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"tree": ()}

    backend: Literal["grounded", "openai", "transformers"] = "grounded"
    """Who writes: `grounded` (sentences from measured facts, no model), `openai` (any server that speaks OpenAI's chat
    completions), or `transformers` (a model in the worker)."""
    openai: OpenAI = OpenAI()
    """How a served model is asked."""
    transformers: Transformers = Transformers()
    """How a model in the worker is loaded and asked."""
    every_take: bool = False
    """Whether the model is asked about takes that are not kept, too."""
    language: str = Field("en", pattern=r"^[a-z]{2,3}$")
    """What captions are to be written in, ISO 639-1; an answer in another is asked for again."""
    cast: tuple[str, ...] = ()
    """Names that captions may use beside those that were heard, read or identified."""

    @property
    def resources(self) -> Mapping[str, float]:  # type: ignore[override]
        """A worker with a GPU where a model is to run on one."""
        return {"GPU": 1} if self.backend == "transformers" and self.transformers.device == "cuda" else {}

    def inputs(self, there: Collection[str]) -> dict[str, tuple[str, ...]]:
        if self.backend == "grounded":
            return super().inputs(there)
        reads = super().inputs(there) | {"stills": ("t_s", "jpeg")}
        return reads | ({"embeddings": ("model", "stills_s", "vectors")} if "embeddings" in there else {})

    def asker(self, work: Workspace) -> Backend:
        """The model, with its answers kept in the dataset; not for `grounded`."""
        return make(self.openai if self.backend == "openai" else self.transformers, work)

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row | Failure]:
        nodes = inputs["tree"].to_pylist()
        told = {row["node_id"]: row for row in _grounded(nodes)}
        asked = [node for node in nodes if node["kept"] or self.every_take]
        if self.backend == "grounded" or not asked:
            yield from told.values()
            return
        mine = {node["node_id"] for node in asked}
        yield from (row for node_id, row in told.items() if node_id not in mine)
        embeddings = inputs["embeddings"].to_pylist() if "embeddings" in inputs else []
        sight = Sight(inputs["stills"].sort_by("t_s"), self.frames, embeddings)
        yield from describe(asked, sight, self.asker(work), self, self.faulty, told)

    def faulty(self, node: Row, row: Row, around: Mapping[str, Any]) -> list[str]:
        """What is wrong with an answer. Its parent is told from the same facts, so they are what it is held against."""
        facts = json.loads(node["facts"])
        return check(node | {"facts": facts}, row, Context(cast=self.cast, language=self.language))


def _grounded(nodes: list[Row]) -> Iterator[Row]:
    """Rows of `captions` in the order of `tree`, told from facts."""
    told: dict[str, Row] = {}
    parts: dict[str | None, list[Row]] = {}
    for node in reversed(nodes):  # parts stand after what they are parts of
        mine = parts.get(node["node_id"], [])[::-1]
        if len(mine) == 1:  # a story of one event is told by that one's shots
            mine = parts.get(mine[0]["node_id"], [])[::-1] or mine
        row = node | grounded.caption(node, json.loads(node["facts"]), mine)
        told[node["node_id"]] = {name: row.get(name) for name in captions.TABLE.schema.names}
        parts.setdefault(node["parent_id"], []).append(told[node["node_id"]])
    yield from (told[node["node_id"]] for node in nodes)
