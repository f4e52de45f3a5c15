"""Does a run stay as it began, however many sources there are? `python tests/benchmarks/scale.py --sources 100000`.

Makes so many sources (a real take of a second at 96x72, each with a counter in a `free` box behind it, so that their
contents differ), and runs a cheap recipe on them through the whole engine: probing, decoding, one frame probe, cuts by
colour, takes, screening, selection. Scheduler and two workers belong to this process, the client is one of its own, so
that each one's memory is told apart.

Prints, for each tenth of each step: wall and CPU seconds a thousand tasks, the largest resident memory of client,
scheduler, worker and media process, and the most batches in flight; then files per table, what `curate status` takes
(the best of three), and what running it again takes, which finds nothing to do. Exits with 1 where a bound is broken:
CPU a task in the last tenth at most 1.25 times that in the second, memory at most 1.1 times, batches in flight at most
two a worker, 300 files a table, 2 s for the status and 30 s for the run that has nothing to do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import av
import psutil
import typer
from rich.console import Console
from rich.table import Table

from curate import cluster, recipe
from curate.dataset import Dataset
from curate.packing import LOOSE
from curate.place import Place
from curate.progress import Reporter
from curate.run import run
from curate.work import Receipt

RECIPE = """
name: scale
description: The engine on many small sources.
stages:
  signals: {}
  cuts: {detector: content}
  takes: {min_s: 1}
  screen: {rules: {long: {column: clips.long_enough, equals: true, why: a second is enough here}}}
  select: {rules: {long: {column: clips.long_enough, equals: true, why: a second is enough here}}}
"""
FRAMES, RATE, SIZE = 4, 4, (96, 72)
SAMPLE_S = 0.5
TENTHS = 10


def base(footage: Path) -> bytes:
    """One second of a take, small, as MP4."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/base.mp4"
        with av.open(str(footage / "footage/takes/vtest.avi")) as film, av.open(path, "w") as small:
            stream = small.add_stream("libx264", rate=RATE, options={"crf": "30", "g": "10"})
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
            for number, frame in enumerate(film.decode(video=0)):
                if number == FRAMES:
                    break
                picture = frame.reformat(*SIZE, "yuv420p")
                picture.pts, picture.time_base = number, Fraction(1, RATE)
                small.mux(stream.encode(picture))
            small.mux(stream.encode(None))
        return Path(path).read_bytes()


def make(folder: Path, film: bytes, count: int) -> None:
    """Sources of distinct content, a thousand a folder."""
    for number in range(count):
        if number % 1000 == 0:
            (folder / f"{number // 1000:04d}").mkdir(parents=True)
        box = (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
        (folder / f"{number // 1000:04d}" / f"{number:07d}.mp4").write_bytes(film + box)


class Tenths(Reporter):
    """Tells on standard output when a tenth of a step is done."""

    def __init__(self) -> None:
        super().__init__(Console(stderr=True), quiet=True)
        self._tenth = 0

    def step(self, name: str, total: int, video_s: float = 0.0) -> None:
        super().step(name, total, video_s)
        self._tenth = 0
        self._tell()

    def advance(self, receipt: Receipt, task: str, tasks: int = 1, video_s: float = 0.0) -> None:
        super().advance(receipt, task, tasks, video_s)
        if self._done >= (self._tenth + 1) * self._total / TENTHS:
            self._tenth = int(self._done * TENTHS / self._total)
            self._tell()

    def _tell(self) -> None:
        print(json.dumps([self._name, self._done, self._total]), flush=True)


def client(address: str, sources: Path, dataset: Path) -> None:
    """The client's process."""
    with Tenths() as reporter:
        summary = run(recipe.parse(RECIPE, "scale"), [str(sources)], str(dataset), reporter, Place(address))
    print(json.dumps(["end", summary.tasks, summary.wall_s]), flush=True)


class Sampler(threading.Thread):
    """The most that was seen since it was last asked."""

    def __init__(self, started: Any, client_pid: int) -> None:
        super().__init__(daemon=True)
        self._scheduler = started.cluster.scheduler
        self._client = psutil.Process(client_pid)
        self.most: dict[str, float] = {}
        self._gone: dict[int, float] = {}

    def processes(self) -> dict[str, list[psutil.Process]]:
        me = psutil.Process()
        below = [p for p in me.children(recursive=True) if p.pid != self._client.pid]
        media = [p for p in below if "curate.child" in " ".join(p.cmdline())]
        workers = [p for p in below if p not in media and "spawn_main" in " ".join(p.cmdline())]
        return {"client": [self._client], "scheduler": [me], "worker": workers, "media": media}

    def cpu_s(self) -> float:
        """CPU seconds of all of them so far, those that have ended included."""
        for each in [p for many in self.processes().values() for p in many]:
            try:
                self._gone[each.pid] = sum(each.cpu_times()[:2])
            except psutil.Error:
                continue
        return sum(self._gone.values())

    def run(self) -> None:
        while True:
            try:
                now = {
                    k: max((p.memory_info().rss / 2**20 for p in v), default=0.0) for k, v in self.processes().items()
                }
                now["in flight"] = float(sum(t.state != "memory" for t in list(self._scheduler.tasks.values())))
                self.most = {k: max(v, self.most.get(k, 0.0)) for k, v in now.items()}
            except (psutil.Error, RuntimeError):
                pass
            time.sleep(SAMPLE_S)

    def take(self) -> dict[str, float]:
        taken, self.most = self.most, {}
        return taken


def drive(address: str, started: Any, sources: Path, dataset: Path) -> tuple[list[dict[str, Any]], int]:
    """One run. Returns a row for each tenth of each step of many tasks, and the number of tasks."""
    command = [sys.executable, __file__, "--client", address, str(sources), str(dataset)]
    rows: list[dict[str, Any]] = []
    tasks = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        sampler = Sampler(started, process.pid)
        sampler.start()
        before: tuple[str, int, float, float] = ("", 0, 0.0, 0.0)
        assert process.stdout is not None
        for line in process.stdout:
            name, done, total = json.loads(line)
            if name == "end":
                tasks = done
                break
            now = (name, done, time.monotonic(), sampler.cpu_s())
            if done > before[1] and name == before[0] and total >= 1000:
                thousand = (done - before[1]) / 1000
                rows.append({"step": name, "done": done, "wall": (now[2] - before[2]) / thousand,
                             "cpu": (now[3] - before[3]) / thousand, **sampler.take()})  # fmt: skip
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
            else:
                sampler.take()
            before = now
    if process.returncode:
        raise SystemExit(f"the run ended with {process.returncode}")
    return rows, tasks


def broken(rows: list[dict[str, Any]], workers: int) -> list[str]:
    """Which bounds on what was seen along the way do not hold."""
    found = []
    for step in dict.fromkeys(row["step"] for row in rows):
        mine = [row for row in rows if row["step"] == step]
        second, last = mine[min(1, len(mine) - 1)], mine[-1]
        for what, most in (("cpu", 1.25), ("client", 1.1), ("scheduler", 1.1), ("worker", 1.1), ("media", 1.1)):
            if last[what] > most * second[what]:
                found.append(f"{step}: {what} grew from {second[what]:.1f} to {last[what]:.1f}")
        if max(row["in flight"] for row in mine) > cluster.IN_FLIGHT_PER_THREAD * workers:
            found.append(f"{step}: {max(row['in flight'] for row in mine):.0f} batches in flight")
    return found


def timed(*command: str) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "curate.cli", *command], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def main(
    sources: Annotated[int, typer.Option(help="How many.")] = 100_000,
    workers: Annotated[int, typer.Option(help="Worker processes.")] = 2,
    folder: Annotated[Path | None, typer.Option(help="Where sources and dataset go; the temp folder.")] = None,
    client_: Annotated[tuple[str, str, str] | None, typer.Option("--client", hidden=True)] = None,
) -> None:
    if client_:
        client(client_[0], Path(client_[1]), Path(client_[2]))
        return
    footage = Path(os.environ.get("LONGTAKE_FOOTAGE", Path(__file__).parents[3] / "shared"))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        films, dataset = Path(scratch, "films"), Path(scratch, "dataset")
        make(films, base(footage), sources)
        with cluster.connect(Place(workers=workers)) as started:
            cluster.threads(started)
            rows, tasks = drive(started.scheduler.address, started, films, dataset)
            began = time.monotonic()
            _, again = drive(started.scheduler.address, started, films, dataset)
            resumed = time.monotonic() - began
        console = Console(width=140)
        shown = Table(
            "step",
            "done",
            "wall s / 1000",
            "CPU s / 1000",
            "client MB",
            "scheduler MB",
            "worker MB",
            "media MB",
            "in flight",
        )
        for row in rows:
            figures = [f"{row['wall']:.1f}", f"{row['cpu']:.1f}"]
            figures += [f"{row[k]:.0f}" for k in ("client", "scheduler", "worker", "media", "in flight")]
            shown.add_row(row["step"], str(row["done"]), *figures)
        console.print(shown)
        place = Dataset(str(dataset))
        files = {name: len(place.names(f"tables/{name}")) for name in place.table_names()}
        status = min(timed("status", str(dataset)) for _ in range(3))
        console.print(f"{tasks} tasks; files per table: {files}")
        console.print(
            f"status: {status:.2f} s; again, {again} tasks to do: {resumed:.1f} s; load {os.getloadavg()[0]:.1f}"
        )
        faults = broken(rows, workers)
        faults += [f"{name}: {count} files" for name, count in files.items() if count > LOOSE + 44]
        faults += [f"status took {status:.1f} s"] if status > 2 else []
        faults += [f"{again} tasks were done again"] if again else []
        faults += [f"finding nothing to do took {resumed:.1f} s"] if resumed > 30 else []
    for fault in faults:
        console.print(f"[red]bound broken:[/red] {fault}")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    typer.run(main)
