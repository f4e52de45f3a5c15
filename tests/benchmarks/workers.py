"""Do two workers do twice what one does? `python tests/benchmarks/workers.py`, on two cores that are otherwise idle.

Runs the analysis (the one decode with the frame probes of the bundled recipe, and cuts) of the same copies of a real
take with one worker and with two, in turn, in fresh datasets. A pair's two runs are next to each other, so that what
else the machine does falls on both. Starting the cluster is not counted. Prints the times and the ratio of each pair,
and the median; exits with 1 where that is below 1.8.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from curate import cluster, recipe
from curate.place import Place
from curate.progress import Reporter
from curate.run import run

RECIPE = "name: analyse\nstages: {signals: {}, flow: {}, picture: {}, cuts: {}}"
BOUND = 1.8


def analysed(sources: list[str], dataset: Path, address: str) -> float:
    """Wall seconds of a run over the sources."""
    began = time.monotonic()
    with Reporter(Console(stderr=True), quiet=True) as reporter:
        run(recipe.parse(RECIPE, "analyse"), sources, str(dataset), reporter, Place(address))
    return time.monotonic() - began


def main(
    copies: Annotated[int, typer.Option(help="Sources in a run.")] = 12,
    pairs: Annotated[int, typer.Option(help="Times that it is done with one worker and with two.")] = 5,
    take: Annotated[str, typer.Option(help="Of the footage.")] = "vtest.avi",
) -> None:
    footage = Path(os.environ.get("LONGTAKE_FOOTAGE", Path(__file__).parents[3] / "shared"))
    film = (footage / "footage/takes" / take).read_bytes()
    ratios = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "sources")
        folder.mkdir()
        for number in range(copies):
            # A RIFF file may end in a chunk of junk, as every container in something that readers pass over.
            (folder / f"{number:03d}{Path(take).suffix}").write_bytes(
                film + b"JUNK\x04\0\0\0" + number.to_bytes(4, "big")
            )
        sources = sorted(map(str, folder.iterdir()))
        with cluster.connect(Place(workers=1)) as one, cluster.connect(Place(workers=2)) as two:
            for client in (one, two):
                cluster.threads(client)
                # A source a worker, so that each has started the process in which it opens media.
                analysed(sources[:2], Path(scratch, f"warm-{id(client)}"), client.scheduler.address)
            for number in range(pairs):
                alone = analysed(sources, Path(scratch, f"one-{number}"), one.scheduler.address)
                both = analysed(sources, Path(scratch, f"two-{number}"), two.scheduler.address)
                ratios.append(alone / both)
                load = os.getloadavg()[0]
                print(
                    f"one worker {alone:.1f} s, two {both:.1f} s: {ratios[-1]:.2f} times; load {load:.1f}", flush=True
                )
    median = statistics.median(ratios)
    print(f"median {median:.2f}, of at least {BOUND}")
    raise SystemExit(median < BOUND)


if __name__ == "__main__":
    typer.run(main)
