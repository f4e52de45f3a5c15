"""The page where people look at a dataset: one HTML file that opens from disk and plays the clips beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import jinja2

from curate.dataset import Dataset
from curate.ledger import Step
from schemas import captions, clips, errors, ledger, media, motion, quality

PAGE = "report/index.html"
FUNNEL = "report/funnel.svg"

MOST_CLIPS = 500
"""Clips on the page; beyond it a browser takes long to open it."""

_SCORES = (
    ("motion", "mean_w_s", "motion, widths/s"),
    ("motion", "camera", "camera"),
    ("quality", "sharpness", "sharpness"),
    ("quality", "luma", "luma"),
    ("quality", "colourfulness", "colourfulness"),
)
"""Table, column and label of the scores shown with each clip."""


def write(dataset: Dataset) -> str:
    """Write the report of a finished dataset; returns its path inside the dataset."""
    summary = json.loads(dataset.read("summary.json"))
    steps = [Step(**step) for step in summary["funnel"]]
    svg = funnel_svg(steps)
    everything = _clips(dataset)
    page = _templates().get_template("page.html.j2")
    html = page.render(
        name=dataset.url.rstrip("/").rsplit("/", 1)[-1],
        states=summary["states"],
        svg=svg,
        clips=everything[:MOST_CLIPS],
        left_out=max(0, len(everything) - MOST_CLIPS),
        sources=_sources(dataset),
        errors=dataset.scan(errors.TABLE).to_table(columns=["path", "clip_id", "stage", "message"]).to_pylist(),
        scores=_SCORES,
    )
    dataset.write(FUNNEL, svg.encode())
    dataset.write(PAGE, html.encode())
    return PAGE


def funnel_svg(steps: Sequence[Step]) -> str:
    """The retention funnel as a picture: hours left after each step."""
    return _templates().get_template("funnel.svg.j2").render(steps=steps, most=max(s.hours for s in steps) or 1.0)


def _templates() -> jinja2.Environment:
    # File names, captions and users' columns are other people's text: everything is escaped, whatever the suffix.
    return jinja2.Environment(
        loader=jinja2.PackageLoader("curate.report"),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _clips(dataset: Dataset) -> list[dict[str, Any]]:
    """Every clip with its verdict, scores, caption and file; the kept ones first, longest first."""
    book = [r for r in dataset.scan(ledger.TABLE).to_table().to_pylist() if r["kind"] == "clip"]
    rows = {table.name: _by_clip(dataset, table) for table in (clips.TABLE, motion.TABLE, quality.TABLE, media.TABLE)}
    texts = {
        r["clip_id"]: r["text"] for r in dataset.scan(captions.TABLE).to_table().to_pylist() if r["level"] == "clip"
    }
    found = []
    for row in sorted(book, key=lambda r: (r["state"] != "kept", -r["duration_s"])):
        mine = {name: by_id.get(row["clip_id"], {}) for name, by_id in rows.items()}
        values = {label: mine[table].get(column) for table, column, label in _SCORES}
        found.append(
            {**row, "scores": values, "text": texts.get(row["clip_id"]), "file": mine["media"].get("path"), **mine}
        )
    return found


def _by_clip(dataset: Dataset, table: Any) -> dict[str, dict[str, Any]]:
    return {row["clip_id"]: row for row in dataset.scan(table).to_table().to_pylist()}


def _sources(dataset: Dataset) -> list[dict[str, Any]]:
    return [r for r in dataset.scan(ledger.TABLE).to_table().to_pylist() if r["kind"] == "source"]
