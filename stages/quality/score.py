"""A clip's picture quality, summed up from the samples and frames inside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.stage import Row, RowStage, Workspace
from schemas import Table, quality
from stages.quality import layout, time

MEDIANS = tuple("sharpness blur_px smear_px range noise blockiness native_share flat_share axis_share".split())
MEANS = ("luma", "contrast", "saturation", "colourfulness")
COMBED = 0.004
"""Share of combed blocks of an interlaced picture: of progressive ones, noisy or not, none is."""
TWICE, STILL = 2.0, 0.0005
"""By how much the quickest samples must move faster than the slowest, and the speed in picture widths a frame below
which all are slow."""
NULLS = (
    (("frozen_share", "frozen_s"), "a single picture cannot tell a frozen one"),
    (("blur_px", "smear_px"), "too few edges to tell how wide they are"),
    (("motion_blur_px",), "motion varies too little to tell its blur"),
    (("noise",), "too small or too little that is neither black nor white to tell noise"),
    (("native_share",), "too small or too plain to tell its native size"),
    (("flicker",), "too short or too dark to tell flicker"),
    (("effective_fps",), "too short or too still to tell repeated frames"),
)
"""Reasons why columns are null."""
FAST = 0.75
"""The quickest quarter of a clip's samples is held against the slowest for motion blur."""


class Quality(RowStage):
    """Sums up a clip's picture quality from the samples and frames inside it."""

    name: ClassVar[str] = "quality"
    version: ClassVar[int] = 3
    writes: ClassVar[Table] = quality.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clips": ("clip_id", "source_id", "start_s", "end_s"),
        "picture_series": (),
        "signals": ("source_id", "t_s", "luma", "diff", "moved"),
        "sources": ("source_id", "width", "height"),
    }

    frozen_below: float = Field(0.25, ge=0)
    """Mean luma difference (0 to 255) of two samples below which the picture is frozen: a real tripod shot's noise
    gives 0.5 and more, an encoder's still frame under 0.1."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        series, frames = inputs["picture_series"], _frames(inputs["signals"])
        times = series.column("t_s").to_numpy()
        source = inputs["sources"].to_pylist()[0]
        long_side = max(source["width"], source["height"])
        for clip in inputs["clips"].to_pylist():
            span = [clip["start_s"] - 1e-9, clip["end_s"] - 1e-9]
            first, end = np.searchsorted(times, span)
            row: Row = {"clip_id": clip["clip_id"], "source_id": clip["source_id"], "samples": int(end - first)}
            if first == end:
                yield row | {"unmeasured": "no sample lies inside the clip"}
                continue
            start, stop = np.searchsorted(frames["t_s"], span)
            inside = {name: values[start:stop] for name, values in frames.items()}
            row |= self._samples(series.slice(first, end - first), inside) | _over_time(inside)
            if row["native_share"] is not None:
                row["native_px"] = round(row["native_share"] * long_side)
            yield row | {"unmeasured": _why_null(row)}

    def _samples(self, samples: pa.Table, frames: Mapping[str, np.ndarray]) -> Row:
        columns = {n: samples.column(n).to_numpy(zero_copy_only=False) for n in samples.column_names}
        hue, votes = Counter(columns["hue"].tolist()).most_common(1)[0]
        dark, bright = (float(columns[f"{name}_share"].mean()) for name in ("dark", "bright"))
        # The first sample's difference is to a sample before the clip.
        differences = columns["difference"][1:].astype(float)
        medians, borders = {name: _median(columns[name]) for name in MEDIANS}, layout.borders(columns)
        return {
            **medians,
            **{name: float(columns[name].mean()) for name in MEANS},
            "clipped_share": dark + bright,
            "under_share": dark,
            "over_share": float(columns["blown_share"].mean()),
            "hue": hue if votes > samples.num_rows / 2 else None,
            "motion_blur_px": _motion_blur(columns, frames),
            "frozen_share": float((differences < self.frozen_below).mean()) if len(differences) else None,
            "interlaced_share": _share_above(columns["combed_share"], COMBED),
            **borders,
            **layout.fill(columns),
            **layout.screen(columns, borders["crop"], medians["blur_px"]),
        }


def _frames(signals: pa.Table) -> dict[str, np.ndarray]:
    """What is needed of every frame of the source."""
    columns = {n: signals.column(n).to_numpy(zero_copy_only=False) for n in ("t_s", "luma", "moved")}
    return columns | {"change": pc.list_element(signals.column("diff"), 0).to_numpy(zero_copy_only=False)}


def _over_time(frames: Mapping[str, np.ndarray]) -> Row:
    """What the frames of a clip show one after the other."""
    if len(frames["t_s"]) < 2:
        return {}
    fps = (len(frames["t_s"]) - 1) / float(frames["t_s"][-1] - frames["t_s"][0])
    change = frames["change"][1:]
    return {
        **time.flicker(frames["luma"].astype(float), fps),
        **time.repeats(change, fps),
        "frozen_s": time.longest_frozen(change, fps),
    }


def _median(values: np.ndarray) -> float | None:
    """The median of what was measured; None where nothing was."""
    measured = values.astype(float)
    measured = measured[~np.isnan(measured)]
    return float(np.median(measured)) if len(measured) else None


def _share_above(values: np.ndarray, level: float) -> float | None:
    """Share of what was measured that lies above a level; None where nothing was."""
    measured = values.astype(float)
    measured = measured[~np.isnan(measured)]
    return float((measured > level).mean()) if len(measured) else None


def _motion_blur(columns: Mapping[str, np.ndarray], frames: Mapping[str, np.ndarray]) -> float | None:
    """By how much edges are wider in the quickest samples of a clip than in the slowest, px; None where it always
    moves alike."""
    wide = np.hypot(columns["blur_px"].astype(float), columns["smear_px"].astype(float))
    measured = ~np.isnan(wide)
    if measured.sum() < 4 or not len(frames["t_s"]):
        return None
    places = np.searchsorted(frames["t_s"], columns["t_s"][measured]).clip(max=len(frames["t_s"]) - 1)
    speed, wide = frames["moved"][places], wide[measured]
    slow, fast = speed <= np.quantile(speed, 1 - FAST), speed >= np.quantile(speed, FAST)
    if speed[fast].mean() < TWICE * max(speed[slow].mean(), STILL):
        return None
    return float(np.sqrt(max(0.0, np.median(wide[fast]) ** 2 - np.median(wide[slow]) ** 2)))


def _why_null(row: Row) -> str | None:
    """What could not be measured, and why."""
    reasons = [why for names, why in NULLS if any(row.get(name) is None for name in names)]
    return "; ".join(reasons) or None
