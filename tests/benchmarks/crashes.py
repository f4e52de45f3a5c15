"""Stops a run in front of each of its operations on the dataset's files, and lets each be completed by a second run.

    python tests/benchmarks/crashes.py [--copies] [--jobs 2] [--minutes 15] [--folder /tmp/crashes]

A small film goes through the whole chain once undisturbed; its N operations (files opened for writing, renames,
removals, folders made, in all of the run's processes) are counted. Then, for each number, a run from nothing is killed
with SIGKILL, all its processes at once, before that operation: with the file before it in place, and the next one
written but not yet renamed. The same command is given again, undisturbed, and the dataset compared.

With `--copies` nothing is killed: the one run leaves a copy of the dataset as it is before each operation, which is
what a kill would leave on disk, and each copy is completed. That costs a tenth.

Numbers are taken in a seeded order, so that what is done when `--minutes` are over is spread over the whole run. It
prints a line for each and a table; exit status 1 if any dataset differs. $LONGTAKE_FOOTAGE names the footage.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "curate"))

import distributed
from crashes import SETTINGS, attempt, footage, operations
from difference import Difference, difference
from engine import curate


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", action="store_true")
    parser.add_argument("--jobs", type=int, default=2, help="kills at once")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--folder", type=Path, default=Path("/tmp/crashes"))
    given = parser.parse_args()
    shutil.rmtree(given.folder, ignore_errors=True)
    films = footage(Path(os.environ.get("LONGTAKE_FOOTAGE", Path(__file__).parents[3] / "shared")), given.folder / "in")
    expected, count, copies = given.folder / "expected", given.folder / "count", given.folder / "copies"
    undisturbed = attempt(films, expected, count, copies=copies if given.copies else None)
    if undisturbed.returncode:
        sys.exit(undisturbed.stderr)
    listed = [line.replace(f"{expected}/", "") for line in operations(count)]
    print(f"{len(listed)} operations", flush=True)
    numbers = list(range(1, len(listed) + 1))
    random.Random(0).shuffle(numbers)
    end = time.monotonic() + 60 * given.minutes

    def killed(number: int) -> tuple[int, Difference | str] | None:
        """The difference after a kill; a word where there was none, or where the next run could not complete it."""
        if time.monotonic() > end:
            return None
        output = given.folder / f"{number}"
        if attempt(films, output, given.folder / f"{number}.count", number).returncode != -9:
            return number, "was not reached"
        again = attempt(films, output, given.folder / f"{number}.count")
        return number, judged(output, again.stderr[-2000:] if again.returncode else None)

    def judged(output: Path, error: str | None) -> Difference | str:
        off = error or difference(expected, output)
        if not off:
            shutil.rmtree(output)
        return off

    if given.copies:
        results: Iterator[tuple[int, Difference | str] | None] = _completed(films, copies, numbers, end, judged)
    else:
        results = ThreadPoolExecutor(given.jobs).map(killed, numbers)
    done = []
    for result in results:
        if result is not None:
            number, found = result
            print(number, listed[number - 1], found if found else "as undisturbed", flush=True)
            done.append(found)
    off = [found for found in done if isinstance(found, Difference)]
    sums = [sum(getattr(result, name) for result in off) for name in ("rows_lost", "rows_doubled", "files_different")]
    print("| operations | injected | completed | rows lost | rows doubled | files different |")
    print("|", " | ".join(map(str, (len(listed), len(done), len(off), *sums))), "|")
    return int(any(sums) or len(off) < len(done))


def _completed(
    films: Path, copies: Path, numbers: list[int], end: float, judged: Callable[[Path, str | None], Difference | str]
) -> Iterator[tuple[int, Difference | str]]:
    """Complete each copy, all by one worker, so that its start is paid once."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        for number in numbers:
            if time.monotonic() > end:
                return
            (copies / f"{number}").mkdir(parents=True, exist_ok=True)  # before the first there was nothing
            try:
                curate([films], copies / f"{number}", cluster.scheduler_address, SETTINGS)
                error = None
            except Exception as raised:
                error = f"{type(raised).__name__}: {raised}"
            yield number, judged(copies / f"{number}", error)


if __name__ == "__main__":
    sys.exit(main())
