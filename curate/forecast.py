"""What a run will take, from running a sample of its sources; and, after the run, how wrong that was.

The sample goes through the real recipe, into a dataset that is thrown away. Everything is then scaled by bytes: a ratio
estimate (Cochran, Sampling Techniques, ch. 6), its interval from resampling the sample's sources.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from curate.dataset import Dataset
from curate.history import FOLDER, records
from curate.keys import digest
from curate.listing import InputError, Listed, listing
from curate.place import LOCAL, Place
from curate.progress import Reporter
from curate.recipe import Recipe
from curate.run import run
from curate.scratch import scratch_folder
from curate.work import Receipt
from schemas import sources

FILE = "forecast.json"
_DRAWS = 1000
_SEED = 0
"""The same inputs give the same sample, so that two forecasts differ by what changed."""

Range = tuple[float, float, float]
"""An estimate, and the ends of the interval that holds nine resamples in ten."""


@dataclass
class Forecast:
    """What a run over some inputs is expected to take."""

    made: str
    recipe: str
    """Digest of the recipe with all its parameters."""
    sources: int
    bytes: int
    sampled: int
    sampled_bytes: int
    threads: int
    """Tasks at once that the wall time is of."""
    video_h: Range
    kept_h: Range
    worker_h: Range
    wall_h: Range
    """If no thread ever waits: a run's last sources do not fill them all."""
    disk_gb: Range
    by_stage_h: dict[str, float] = field(default_factory=dict)
    """Worker hours by stage."""
    cost: Range | None = None


class _Meter(Reporter):
    """Hears what each task took, by task: a source's id with the start of its interval, or nothing."""

    def __init__(self, shown: Reporter) -> None:
        super().__init__(shown.console, shown.quiet)
        self.by_task: dict[str, float] = {}

    def advance(self, receipt: Receipt, task: str, tasks: int = 1, video_s: float = 0.0) -> None:
        self.by_task[task] = self.by_task.get(task, 0.0) + sum(receipt.seconds.values())
        super().advance(receipt, task, tasks, video_s)


def forecast(
    recipe: Recipe,
    inputs: Sequence[str],
    count: int,
    reporter: Reporter,
    place: Place = LOCAL,
    price_per_hour: float | None = None,
) -> Forecast:
    """Run a sample and scale it up.

    Args:
        recipe: what will be run.
        inputs: as of `curate run`.
        count: sources in the sample; all, if there are fewer.
        reporter: shows the sample's run.
        place: where.
        price_per_hour: of all workers together.

    Raises:
        InputError: there is nothing to run.
        JobError, ClusterError: the sample could not be run.
    """
    files = [file for file in listing(inputs).files.values() if file.failure is None and file.bytes]
    if not files:
        raise InputError(f"no video was found in {', '.join(inputs)}")
    chosen = sample(files, count)
    meter = _Meter(reporter)
    with scratch_folder() as folder, meter:
        trial = Dataset(str(folder / "trial"))
        summary = run(recipe, [file.path for file in chosen], trial.url, meter, place)
        rows = trial.scan(sources.SOURCES).to_table(columns=["source_id", "paths", "duration_s"]).to_pylist()
        disk = sum(os.path.getsize(trial.path(path)) for path in trial.tree("") if not path.startswith(FOLDER))
    size = {file.path: file.bytes for file in chosen}
    known = [(row, sum(size.get(path, 0) for path in row["paths"])) for row in rows]
    took = [sum(s for task, s in meter.by_task.items() if task.startswith(row["source_id"])) for row, _ in known]
    # What belongs to no source (whole tables, shards) is shared among them by size.
    shared = sum(meter.by_task.values()) - sum(took)
    sampled, total = sum(b for _, b in known), sum(file.bytes for file in files)
    scale = total / sampled
    weights = np.array([b for _, b in known], dtype=float)
    worked = np.array(took) + shared * weights / sampled
    kept_h = next((step.hours for step in summary.funnel if step.name == "kept"), 0.0)
    durations = np.array([row["duration_s"] or 0.0 for row, _ in known])
    whole = len(chosen) == len(files)
    interval = _intervals(weights, total, whole)
    threads = _threads(place)
    worker_h = interval(worked / 3600)
    wall_h = _scaled(worker_h, 1 / threads)
    video_h = interval(durations / 3600)
    # Clips and tables grow with the video, not with what it took to read it.
    per_video = 3600 / durations.sum() if durations.sum() else 0.0
    return Forecast(
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        recipe=digest(recipe.dump()),
        sources=len(files),
        bytes=total,
        sampled=len(chosen),
        sampled_bytes=sampled,
        threads=threads,
        video_h=video_h,
        kept_h=_scaled(video_h, kept_h * per_video),
        worker_h=worker_h,
        wall_h=wall_h,
        disk_gb=_scaled(video_h, disk / 1e9 * per_video),
        by_stage_h={stage: seconds * scale / 3600 for stage, seconds in summary.seconds.items()},
        cost=_scaled(wall_h, price_per_hour) if price_per_hour is not None else None,
    )


def sample(files: Sequence[Listed], count: int) -> list[Listed]:
    """`count` of the files, spread evenly over their sizes (a systematic sample of the list in order of size)."""
    ordered = sorted(files, key=lambda file: (file.bytes, file.path))
    if len(ordered) <= count:
        return ordered
    step = len(ordered) / count
    offset = random.Random(_SEED).random() * step  # noqa: S311 - a sample, not a secret
    return [ordered[int(offset + number * step)] for number in range(count)]


def write(dataset: Dataset, made: Forecast) -> None:
    """Leave it where the run will find it."""
    dataset.write(FILE, json.dumps(asdict(made), indent=1).encode())


def verdict(dataset: Dataset, recipe: Recipe) -> dict[str, Any] | None:
    """How wrong a dataset's forecast was, once its first run has done in one go what was forecast; else None.

    Returns:
        By `wall_h`, `worker_h`, `disk_gb`, `kept_h`: forecast (with its interval), real, and the error as a share of
        what was real.
    """
    if not dataset.exists(FILE):
        return None
    said = json.loads(dataset.read(FILE))
    *before, record = records(dataset)
    if said["recipe"] != digest(recipe.dump()) or any(earlier.tasks or earlier.ended is None for earlier in before):
        return None
    disk = sum(size for path, size in dataset.sizes("").items() if not path.startswith(FOLDER))
    real = {
        "wall_h": (record.wall_s or 0.0) / 3600,
        "worker_h": sum(record.seconds.values()) / 3600,
        "disk_gb": disk / 1e9,
        "kept_h": next((step["hours"] for step in record.funnel if step["name"] == "kept"), 0.0),
    }
    return {
        name: {"forecast": said[name], "real": value, "off": said[name][0] / value - 1 if value else None}
        for name, value in real.items()
    }


def _intervals(weights: np.ndarray, total: float, whole: bool) -> Callable[[np.ndarray], Range]:
    """An estimator of a total from the sample's values, by their ratio to bytes."""
    draws = np.random.default_rng(_SEED).integers(len(weights), size=(_DRAWS, len(weights)))

    def of(values: np.ndarray) -> Range:
        estimate = float(values.sum() / weights.sum() * total)
        if whole:
            return estimate, estimate, estimate
        ratios = values[draws].sum(axis=1) / weights[draws].sum(axis=1) * total
        low, high = np.quantile(ratios, (0.05, 0.95))
        return estimate, float(low), float(high)

    return of


def _scaled(values: Range, by: float) -> Range:
    return values[0] * by, values[1] * by, values[2] * by


def _threads(place: Place) -> int:
    from curate import cluster

    if place.scheduler is None:
        return place.workers or os.cpu_count() or 1
    with cluster.connect(place) as client:
        return cluster.threads(client)
