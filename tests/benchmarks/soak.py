"""Kills processes of curation jobs at random moments, a hundred times or more, and counts what that has cost.

    LONGTAKE_FOOTAGE=… python tests/benchmarks/soak.py [--kills 102] [--seed 1] [--folder DIR]

Each job makes a dataset of a few seconds of real footage while SIGKILL takes one kind of victim, several times a job.
A kill that a run is to survive must not end it; after one that ends it, the same command is given again. Then the
dataset is compared with that of a run that nothing disturbed: row by row, and byte by byte. Prints one table, a row a
kind of victim, and exits with 1 if anything differs, hangs or ends in another way than it should.

What is killed: a worker of the local cluster; a decoding child; the client alone; everything; and of a cluster that was
started by hand, a worker, a nanny (the `dask worker` command, started anew as a service manager would), the client,
the scheduler (started anew with its workers). `limits.attempts` is above the kills of one run, for here it is no
source's fault that a worker dies. A hundred kills take a quarter of an hour on two idle cores.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import distributed
import psutil
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "curate"))
from difference import difference
from engine import RECIPE
from excerpts import excerpt

SETTINGS = (
    "takes.min_s=1",
    "cuts.unsure=[0.5,0.5]",  # no network: loading one costs as much as all the rest of a job
    "screen.rules={}",
    "clips.preset=ultrafast",
    "pack.val_share=0.4",
    "pack.target_mb=1",
    "limits.interval_s=10",
    "limits.attempts=8",
)
CUTS = (
    ("takes/pancake.mkv", 1.2, 1),
    ("edited/hamilton.mp4", 2.2, 1),
    # Slowed down, so that it is long enough to be decoded in intervals without costing a minute.
    ("edited/bikes.mp4", 1.5, 18),
)
"""Footage, the seconds taken of it, and by how much they are stretched."""
LONGEST_RUN_S = 600
KILLS_A_RUN = 6


def command(footage: Path, output: Path, scheduler: str | None) -> list[str]:
    line = [sys.executable, "-m", "curate.cli", "run", RECIPE, "-i", str(footage), "-o", str(output)]
    line += ["--scheduler", scheduler] if scheduler else ["--workers", "2"]
    return [*line, *(part for setting in SETTINGS for part in ("--set", setting))]


class Cluster:
    """A scheduler and two workers, started by hand as README says."""

    def __init__(self, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = log
        self.start()

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.scheduler = self._dask("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")
        while self.scheduler.poll() is None:  # a client waits for half a minute only
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                break
            time.sleep(0.1)
        self.nannies = [self._worker(), self._worker()]
        with distributed.Client(self.address, set_as_default=False, timeout="300s") as client:
            client.wait_for_workers(2, timeout=300)

    def _worker(self) -> psutil.Popen:
        return self._dask("worker", self.address, "--nthreads", "1", "--no-dashboard")

    def _dask(self, *arguments: str) -> psutil.Popen:
        with open(self.log, "ab") as log:
            return psutil.Popen([sys.executable, "-m", "dask", *arguments], stdout=log, stderr=log)

    def mend(self) -> None:
        """Start anew what is dead, as whatever watches over services does."""
        if not self.scheduler.is_running() or self.scheduler.poll() is not None:
            self.stop()
            self.start()
        self.nannies = [n if n.poll() is None else self._worker() for n in self.nannies]

    def stop(self) -> None:
        for process in (self.scheduler, *self.nannies):
            kill_tree(process)


@dataclass
class Fault:
    """A kind of victim, and what came of killing it."""

    name: str
    by_hand: bool
    share: int
    """Of the kills: what is cheap to start anew is killed more often."""
    survived: bool
    """Whether the run is to go on."""
    injected: int = 0
    jobs: int = 0
    lost: int = 0
    doubled: int = 0
    different: int = 0
    wrong: list[str] = field(default_factory=list)
    rng: random.Random = field(default_factory=random.Random)

    def victims(self, run: psutil.Popen, cluster: Cluster | None) -> list[psutil.Process]:
        roots = [run, *(cluster.nannies if cluster else [])]
        below = [child for root in roots for child in root.children(recursive=True)]
        match self.name.split(",")[0]:
            case "a worker":
                return [p for p in below if "spawn_main" in " ".join(p.cmdline()) and p.children()]
            case "a decoding child":
                return [p for p in below if "curate.child" in p.cmdline()]
            case "a nanny":
                return [p for p in cluster.nannies if p.poll() is None] if cluster else []
            case "the client":
                return [run]
            case "the scheduler":
                return [cluster.scheduler] if cluster else []
        return [run]


FAULTS = [
    Fault("a worker, by hand", by_hand=True, share=2, survived=True),
    Fault("the client", by_hand=False, share=1, survived=False),
    Fault("a decoding child, by hand", by_hand=True, share=3, survived=True),
    Fault("a decoding child", by_hand=False, share=3, survived=True),
    Fault("the scheduler, by hand", by_hand=True, share=1, survived=False),
    Fault("the client, by hand", by_hand=True, share=3, survived=False),
    Fault("a worker", by_hand=False, share=2, survived=True),
    Fault("everything", by_hand=False, share=1, survived=False),
    Fault("a nanny, by hand", by_hand=True, share=1, survived=True),
]


def log(output: Path) -> str:
    """The end of what the latest run on a dataset said."""
    return output.with_suffix(".log").read_text(errors="replace")[-2000:]


def kill_tree(root: psutil.Popen) -> None:
    """Kill a process that this program started, and all below it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in [*root.children(recursive=True), root]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    root.wait()


class Soak:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.footage = folder / "footage"
        self.footage.mkdir()
        root = Path(os.environ.get("LONGTAKE_FOOTAGE", Path(__file__).parents[3] / "shared")) / "footage"
        for name, seconds, slower in CUTS:
            excerpt(root / name, self.footage / Path(name).name, seconds, slower)
        (self.footage / "text.mp4").write_text("this is no video")
        self.expected = folder / "undisturbed"
        began = time.monotonic()
        if self.start(self.expected, None).wait():
            raise SystemExit((self.expected.with_suffix(".log")).read_text())
        self.usual_s = time.monotonic() - began
        print(f"an undisturbed run takes {self.usual_s:.1f} s", flush=True)

    def start(self, output: Path, cluster: Cluster | None) -> psutil.Popen:
        with open(output.with_suffix(".log"), "wb") as log:
            line = command(self.footage, output, cluster.address if cluster else None)
            return psutil.Popen(line, stderr=log, stdout=log, start_new_session=True)

    def job(self, fault: Fault, kills: int, cluster: Cluster | None) -> None:
        """Make one dataset under fire, and compare it."""
        output = self.folder / fault.name.replace(", ", "-").replace(" ", "-")
        shutil.rmtree(output, ignore_errors=True)
        status = 1
        for _ in range(1 if fault.survived else min(kills, KILLS_A_RUN)):
            run = self.start(output, cluster)
            done = self.fire(fault, kills, run, cluster)
            fault.injected += done
            status = self.end(run, fault)
            if cluster:
                cluster.mend()
            if not done:
                break
            told = status in (0, 1) and "Traceback" not in log(output)
            if fault.name.startswith("the scheduler") and not told:
                fault.wrong.append(f"{fault.name}: ended with status {status}:\n{log(output)}")
        if status and not fault.survived:
            status = self.end(self.start(output, cluster), fault)
        if status or "Traceback" in log(output):
            fault.wrong.append(f"{fault.name}: ended with status {status}:\n{log(output)}")
        found = difference(self.expected, output)
        fault.jobs += status == 0
        fault.lost += found.rows_lost
        fault.doubled += found.rows_doubled
        fault.different += found.files_different
        if found:
            kept = self.folder / f"differs-{time.monotonic_ns()}"
            shutil.copytree(output, kept)
            fault.wrong.append(f"{fault.name}: {found}; see {kept}")

    def fire(self, fault: Fault, kills: int, run: psutil.Popen, cluster: Cluster | None) -> int:
        """Kill while a run lasts; how often that was."""
        done, rng = 0, fault.rng
        wanted = min(kills, KILLS_A_RUN) if fault.survived else 1
        while done < wanted:
            until = time.monotonic() + rng.uniform(0.02, 0.6) * self.usual_s / wanted
            while time.monotonic() < until and run.poll() is None:
                time.sleep(0.02)
            victims: list[psutil.Process] = []
            while run.poll() is None and not victims:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victims = fault.victims(run, cluster)
                time.sleep(0.02)
            if not victims:
                break
            if fault.name == "everything":
                kill_tree(run)
            else:
                victim = rng.choice(victims)
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
            done += 1
            if cluster and fault.survived:
                time.sleep(0.5)
                cluster.mend()
        return done

    def end(self, run: psutil.Popen, fault: Fault) -> int:
        try:
            return int(run.wait(timeout=LONGEST_RUN_S))
        except psutil.TimeoutExpired:
            fault.wrong.append(f"{fault.name}: hung for {LONGEST_RUN_S} s")
            kill_tree(run)
            return -signal.SIGKILL

    def fault(self, fault: Fault, kills: int, seed: int, until: float) -> None:
        """Inject one kind of fault until there are enough or it is too late."""
        fault.rng.seed(f"{seed} {fault.name}")
        if time.monotonic() > until:
            return
        with self.cluster(fault) as cluster:
            while fault.injected < kills and len(fault.wrong) < 3 and time.monotonic() < until:
                self.job(fault, min(kills - fault.injected, KILLS_A_RUN), cluster)
                print(f"{fault.name}: {fault.injected} times, {fault.jobs} jobs", flush=True)

    @contextlib.contextmanager
    def cluster(self, fault: Fault) -> Iterator[Cluster | None]:
        if not fault.by_hand:
            yield None
            return
        cluster = Cluster(self.folder / f"{fault.name.replace(' ', '-')}.cluster.log")
        try:
            yield cluster
        finally:
            cluster.stop()


def table(faults: list[Fault]) -> Table:
    shown = Table("fault", "times injected", "jobs completed", "rows lost", "rows doubled", "bytes different")
    counts = [(f.injected, f.jobs, f.lost, f.doubled, f.different) for f in faults]
    for fault, row in zip(faults, counts, strict=True):
        shown.add_row(fault.name, *map(str, row))
    total = [sum(column) for column in zip(*counts, strict=True)]
    shown.add_section()
    shown.add_row("all", *map(str, total))
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=102, help="at least so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="kept where something differs; default: a temporary one")
    parser.add_argument("--minutes", type=float, default=60, help="begin no more jobs after so long")
    parser.add_argument("--at-once", type=int, default=1, help="kinds of victims under fire at a time")
    parser.add_argument("--only", help="faults whose name begins so")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {options.seed}, in {folder}", flush=True)
    began = time.monotonic()
    until = began + 60 * options.minutes
    soak = Soak(folder)
    chosen = [fault for fault in FAULTS if fault.name.startswith(options.only or "")]
    with ThreadPoolExecutor(options.at_once) as pool:
        one = -(-options.kills // sum(fault.share for fault in chosen))
        for done in [pool.submit(soak.fault, fault, one * fault.share, options.seed, until) for fault in chosen]:
            done.result()
    Console(width=120).print(table(chosen))
    wrong = [told for fault in chosen for told in fault.wrong]
    print("\n".join(wrong) or f"{time.monotonic() - began:.0f} s; nothing went wrong")
    few = sum(f.injected for f in chosen) < options.kills
    print(f"fewer than {options.kills} kills in {options.minutes:g} minutes" if few else "")
    bad = bool(wrong) or few or any(f.lost or f.doubled or f.different for f in chosen)
    if not bad and not options.folder:
        shutil.rmtree(folder)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
