"""What the engine itself costs a task: thousands of tasks of a stage that does nothing, on a local cluster.

All is real but the work: the planner names the tasks, `Driver` sends them to two Dask workers, `perform` reads the
input rows, runs the stage, writes a Parquet part with its provenance, fsyncs and renames it, and sends a receipt.
The stage is found through an entry point, as a user's own is. Starting the cluster is not counted; planning is.
For comparison, one process alone does the same tasks by `perform` without Dask, and writes files of a part's
size with fsync and rename and nothing else: what remains is what a disk takes. Aim: at most 3 ms a task.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.table import Table

from curate import cluster, plan, recipe, work
from curate.dataset import Dataset
from curate.keys import digest
from curate.place import Place
from schemas.sources import SOURCES

RECIPE = "name: trivial\nstages: {trivial: {}}"


def register(folder: Path) -> None:
    """Make the trivial stage an installed one, for this process and those it starts."""
    info = folder / "longtake_benchmark-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: longtake-benchmark\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[longtake.stages]\ntrivial = trivial_stage:Trivial\n")
    here = str(Path(__file__).parent)
    sys.path += [str(folder), here]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), here, os.environ.get("PYTHONPATH", "")])


def planned(dataset: Dataset, tasks: int) -> Iterator[list[work.Task]]:
    """The tasks of as many made-up sources, as `curate run` would plan them."""
    (segment,) = plan.segments(recipe.parse(RECIPE, "recipe"))
    rows: list[dict[str, Any]] = []
    for number in range(tasks):
        path = f"/films/{number:06d}.mp4"
        known = {"source_id": digest(number), "path": path, "paths": [path], "user": "{}", "duration_s": 60.0}
        rows.append({**dict.fromkeys(SOURCES.schema.names), **known})
    yield from plan.source_tasks(segment, plan.State(rows), {"trivial": dataset.keys("trivial")}, 300.0)


def by_engine(client: Any, dataset: Dataset, text: str, tasks: int) -> None:
    """All tasks through the whole engine, counted."""
    done = 0

    def count(task: work.Task, receipt: work.Receipt) -> None:
        nonlocal done
        done += receipt.rows["trivial"]

    cluster.Driver(client, dataset.url, text, 3, count).run(planned(dataset, tasks))
    if not done == tasks == len(dataset.keys("trivial")):
        raise SystemExit(f"{tasks} tasks gave {done} rows")


def alone(dataset: Dataset, text: str, tasks: int) -> None:
    """The same tasks in this process, without Dask."""
    work.perform(dataset.url, text, [task for (task,) in planned(dataset, tasks)])


def disk(dataset: Dataset, like: Dataset, files: int) -> None:
    """One part's bytes put in place again and again, fsync included."""
    data = like.read(like.part("trivial", min(like.keys("trivial"))))
    for number in range(files):
        dataset.write(f"tables/raw/{number}.parquet", data)


@dataclass
class Clock:
    """Milliseconds a task, by what was done: on the wall, and of CPU in this process and its children."""

    wall: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def __call__(self, what: str, tasks: int, act: Callable[..., None], *arguments: Any) -> None:
        wall, cpu = time.monotonic(), cpu_s()
        act(*arguments, tasks)
        self.wall.setdefault(what, []).append(1000 * (time.monotonic() - wall) / tasks)
        self.cpu.setdefault(what, []).append(1000 * (cpu_s() - cpu) / tasks)


def cpu_s() -> float:
    """User and system seconds of this process and its living children so far."""
    me = psutil.Process()
    return sum(sum(p.cpu_times()[:2]) for p in (me, *me.children(recursive=True)))


def main(
    tasks: Annotated[int, typer.Option(help="Tasks in one measurement.")] = 5000,
    rounds: Annotated[int, typer.Option(help="Repetitions, each in a fresh dataset.")] = 3,
    workers: Annotated[int, typer.Option(help="Worker processes.")] = 2,
    folder: Annotated[Path | None, typer.Option(help="Where the datasets go; the temp folder.")] = None,
) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        register(Path(scratch))
        text = work.dump(recipe.parse(RECIPE, "recipe"))
        clock = Clock()
        with cluster.connect(Place(workers=workers)) as client:
            cluster.threads(client)
            by_engine(client, Dataset(f"{scratch}/warm"), text, 100)
            for number in range(rounds):
                made, one, raw = (Dataset(f"{scratch}/{name}-{number}") for name in ("engine", "alone", "raw"))
                clock(f"engine, {workers} workers", tasks, by_engine, client, made, text)
                clock("one process, no Dask", tasks // 5, alone, one, text)
                clock("one process, only the files", tasks // 5, disk, raw, one)
    table = Table("what", "wall ms a task (median)", "least", "most", "CPU ms a task (median)")
    for what, wall in clock.wall.items():
        figures = (statistics.median(wall), min(wall), max(wall), statistics.median(clock.cpu[what]))
        table.add_row(what, *(f"{figure:.2f}" for figure in figures))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
