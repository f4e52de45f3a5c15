"""Curation jobs onto an S3 whose requests fail, and how far their datasets are from one that was made on a disk.

    python tests/benchmarks/s3_faults.py VIDEO... [--jobs 4] [--share 0.03] [--kill]

Each job runs the chain of the engine's tests into a fresh prefix of moto's server, through a proxy that answers each
request with each of its faults at the given share (500, 503 SlowDown, a connection reset before and after the work, a
body cut in half, a second's delay), by another seed. With `--kill`, each is killed with SIGKILL once at a random moment
and repeated, which takes a lease's term more. Prints a row a job: requests, faults by kind, exit status, rows lost,
rows doubled, files different.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "curate"))

from difference import difference
from stores import FAULTS, proxied, s3_server
from whole_job import command


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("videos", nargs="+")
    arguments.add_argument("--jobs", type=int, default=4)
    arguments.add_argument("--share", type=float, default=0.03)
    arguments.add_argument("--kill", action="store_true")
    given = arguments.parse_args()
    videos = [str(Path(video).absolute()) for video in given.videos]
    with tempfile.TemporaryDirectory() as folder, s3_server() as server:
        work = Path(folder)
        subprocess.run(command(videos, str(work / "disk")), check=True, capture_output=True)
        client = server.client()
        client.create_bucket(Bucket="jobs")
        print(
            "job requests", *(fault.replace(" ", "_") for fault in FAULTS), "kills exit lost doubled different seconds"
        )
        for job in range(given.jobs):
            with proxied(server, dict.fromkeys(FAULTS, given.share), seed=job) as proxy:
                words, environment = command(videos, f"s3://jobs/{job}"), proxy.environment
                began = time.monotonic()
                kills = 0
                if given.kill:
                    process = subprocess.Popen(
                        words,
                        env=environment,
                        start_new_session=True,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    )
                    wanted = random.Random(job).randint(100, 300)
                    while process.poll() is None and sum(proxy.requests.values()) < wanted:
                        time.sleep(0.2)
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGKILL)
                        kills = 1
                    process.wait()
                done = subprocess.run(words, env=environment, capture_output=True, text=True)
                took = time.monotonic() - began
            if done.returncode:
                print(done.stderr[-1500:], file=sys.stderr)
            there = work / str(job)
            server.download("jobs", str(job), there)
            (there / ".lease").unlink(missing_ok=True)
            found = difference(work / "disk", there)
            counts = [proxy.faults[fault] for fault in FAULTS]
            print(job, sum(proxy.requests.values()), *counts, kills, done.returncode,
                  found.rows_lost, found.rows_doubled, found.files_different, round(took), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
