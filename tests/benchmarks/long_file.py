"""Is memory flat over a very long file? `python tests/benchmarks/long_file.py --hours 6`, and with `--interval-s 1e9`.

Loops a real take, made small and at ten frames a second, to one file of so many hours by copying its packets, and
analyses it with the probe `signals` and `cuts` on one worker; with intervals, as by default, and then in one piece.
Prints the resident memory of client, worker and media process at every twelfth of the run, and how much of it the rows
take. At the end these are gathered, sealed and looked at for cuts, each of which takes them in one piece. Exits with 1
where, between a sixth of the run and its end, a process grew by more than a tenth and five times the rows.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import av
import psutil
import typer
from rich.console import Console

from curate import cluster, recipe
from curate.dataset import Dataset
from curate.place import Place
from curate.progress import Reporter
from curate.run import run
from schemas import signals

RATE, SIZE = 10, (160, 90)
STEPS = 12
COPIES = 5
"""As they arrive, in one piece, as numbers for the detector or as Parquet's pages, and as the file or the message."""


def loop(take: Path, target: Path, hours: float) -> None:
    """The take again and again in one MP4."""
    small = target.with_suffix(".once.mp4")
    with av.open(str(take)) as film, av.open(str(small), "w") as out:
        stream = out.add_stream("libx264", rate=RATE, options={"crf": "30", "g": "50", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number, frame in enumerate(film.decode(video=0)):
            picture = frame.reformat(*SIZE, "yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    with av.open(str(small)) as once, av.open(str(target), "w") as out:
        source = once.streams.video[0]
        stream = out.add_stream_from_template(source)
        packets = [p for p in once.demux(source) if p.size]
        base = source.time_base or Fraction(1, RATE)
        length = int(len(packets) / RATE / base)
        data = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in packets]
        for turn in range(int(hours * 3600 * RATE / len(data)) + 1):
            for content, pts, dts, key in data:
                packet = av.Packet(content)
                packet.stream, packet.time_base, packet.is_keyframe = stream, base, key
                packet.pts, packet.dts = (pts or 0) + turn * length, (dts or 0) + turn * length
                out.mux(packet)
    small.unlink()


def resident() -> dict[str, float]:
    """Megabytes of this process, which is client and scheduler, of the worker, and of the process that opens media."""
    me = psutil.Process()
    found = {"client": me.memory_info().rss / 2**20}
    for process in me.children(recursive=True):
        try:
            command, size = " ".join(process.cmdline()), process.memory_info().rss / 2**20
        except psutil.Error:
            continue
        name = "media" if "curate.child" in command else "worker" if "spawn_main" in command else "other"
        found[name] = max(size, found.get(name, 0.0))
    return found


def measured(film: Path, dataset: Path, interval_s: float, address: str) -> list[tuple[float, dict[str, float]]]:
    """What was resident while the film was analysed, by seconds since the beginning."""
    seen: list[tuple[float, dict[str, float]]] = []
    done = threading.Event()
    began = time.monotonic()

    def watch() -> None:
        while not done.wait(1.0):
            seen.append((time.monotonic() - began, resident()))

    text = f"name: long\nstages: {{signals: {{}}, cuts: {{detector: content}}}}\nlimits: {{interval_s: {interval_s:g}}}"
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with Reporter(Console(stderr=True)) as reporter:
            run(recipe.parse(text, "long"), [str(film)], str(dataset), reporter, Place(address))
    finally:
        done.set()
        watcher.join()
    return seen


def main(
    hours: Annotated[float, typer.Option(help="Length of the file.")] = 6.0,
    interval_s: Annotated[list[float] | None, typer.Option(help="Interval lengths to try, seconds.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where the file goes; the temp folder.")] = None,
) -> None:
    footage = Path(os.environ.get("LONGTAKE_FOOTAGE", Path(__file__).parents[3] / "shared"))
    faults = []
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        film = Path(scratch, "long.mp4")
        loop(footage / "footage/takes/vtest.avi", film, hours)
        print(f"{hours:g} h, {film.stat().st_size / 1e6:.0f} MB", flush=True)
        for length in interval_s or [300.0, 1e9]:
            with cluster.connect(Place(workers=1)) as client:
                cluster.threads(client)
                dataset = Path(scratch, f"dataset-{length:g}")
                seen = measured(film, dataset, length, client.scheduler.address)
            rows_mb = Dataset(str(dataset)).scan(signals.TABLE).to_table().nbytes / 2**20
            print(
                f"intervals of {length:g} s, {seen[-1][0]:.0f} s, rows {rows_mb:.0f} MB, load {os.getloadavg()[0]:.1f}"
            )
            for step in range(1, STEPS + 1):
                at, sizes = seen[len(seen) * step // STEPS - 1]
                print(f"  {at:6.0f} s  " + "  ".join(f"{name} {size:.0f} MB" for name, size in sorted(sizes.items())))
            for name in ("client", "worker", "media"):
                sizes_of = [sizes.get(name, 0.0) for _, sizes in seen]
                early, most = max(sizes_of[: len(sizes_of) // 6 + 1]), max(sizes_of)
                if most > 1.1 * early + COPIES * rows_mb:
                    faults.append(f"intervals of {length:g} s: {name} grew from {early:.0f} to {most:.0f} MB")
    for fault in faults:
        print(f"bound broken: {fault}")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    typer.run(main)
