"""A whole curation job on an emulator of Azure Blob Storage, compared with one on a disk.

    python tests/benchmarks/azure_jobs.py VIDEO...

Puts the videos into the store, curates them from there into the store, does so again (there is to be nothing to do),
checks every byte by `curate check`, purges one source, and runs again. Then makes a dataset there out of the local
videos, and compares it row by row and byte by byte with one on a disk. Needs azurite (`npm install -g azurite`) and
adlfs. Exits with 1 if anything differs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import fsspec
import typer

sys.path.insert(0, str(Path(__file__).parents[1] / "curate"))

from difference import difference
from s3_faults import command
from stores import Store, azure_server

CURATE = [sys.executable, "-m", "curate.cli"]
RAW, SET, LOCAL = "az://reels/raw", "az://reels/set", "az://reels/local"


def ran(store: Store, words: list[str]) -> str:
    done = subprocess.run(words, env=store.environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words[2:6])} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def main(videos: list[str]) -> None:
    videos = [str(Path(video).absolute()) for video in videos]
    with tempfile.TemporaryDirectory() as folder, azure_server() as store:
        disk, there = Path(folder, "disk"), Path(folder, "there")
        subprocess.run(command(videos, str(disk)), check=True, stderr=subprocess.DEVNULL)
        place = fsspec.filesystem("az", connection_string=store.connection)
        for video in videos:
            place.put_file(video, f"{RAW}/{Path(video).name}")
        run = [*command([RAW], SET), "--json"]
        first, again = (json.loads(ran(store, run)) for _ in range(2))
        damaged = json.loads(ran(store, [*CURATE, "check", SET, "--json"]))["damaged"]
        ran(store, [*CURATE, "purge", SET, "--source", f"{RAW}/{Path(videos[0]).name}"])
        last = json.loads(ran(store, run))
        ran(store, command(videos, LOCAL))
        place.invalidate_cache()
        place.get(LOCAL, str(there), recursive=True)
        (there / ".lease").unlink(missing_ok=True)
        found = difference(disk, there)
    kept = [told["states"]["source"].get("kept", 0) for told in (first, again, last)]
    print(
        f"{first['tasks']} tasks, again {again['tasks']}; kept {kept} of {len(videos)} sources, lastly after a purge; "
        f"{len(damaged)} files damaged; from the disk's: {found}"
    )
    good = kept == [len(videos), len(videos), len(videos) - 1]
    raise SystemExit(bool(again["tasks"] or damaged or found or not good))


if __name__ == "__main__":
    typer.run(main)
