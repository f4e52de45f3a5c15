"""A whole curation job on a server that speaks as another cloud than S3's, compared with one on a disk.

    python tests/benchmarks/store_jobs.py gs|hf|az VIDEO...

Puts the videos into the store, curates them from there into the store, does so again (there is to be nothing to do),
checks every byte by `curate check`, compares the dataset row by row and byte by byte with one on a disk, purges one
source, and runs again. For `az` it needs azurite (`npm install -g azurite`). Exits with 1 if anything differs.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).parents[1] / "curate"))

from whole_job import CURATE, command, other_store, ran, whole_job


def main(kind: Annotated[str, typer.Argument(metavar="gs|hf|az")], videos: list[Path]) -> None:
    with tempfile.TemporaryDirectory() as folder, other_store(kind) as (store, place):
        job = whole_job(store, place, videos, Path(folder))
        damaged = json.loads(ran(store, [*CURATE, "check", f"{place}/set", "--json"]))["damaged"]
        ran(store, [*CURATE, "purge", f"{place}/set", "--source", f"{place}/raw/{videos[0].name}"])
        purged = json.loads(ran(store, command([f"{place}/raw"], f"{place}/set")))
    kept = [told["states"]["source"].get("kept", 0) for told in (job.first, job.again, purged)]
    print(
        f"{job.first['tasks']} tasks, again {job.again['tasks']}; kept {kept} of {len(videos)} sources, lastly after a "
        f"purge; {len(damaged)} files damaged; from the disk's: {job.found}"
    )
    good = kept == [len(videos), len(videos), len(videos) - 1]
    raise SystemExit(bool(job.again["tasks"] or damaged or job.found or not good))


if __name__ == "__main__":
    typer.run(main)
