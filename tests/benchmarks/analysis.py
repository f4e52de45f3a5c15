"""The one-pass analysis against PyAV's bare decode of the same film: CPU time at two sizes, memory at two lengths.

Time: cuts, motion and quality on one decode (`all`), and each probe alone, as CPU seconds and as a multiple of bare
decode. Each is a fresh process, one decoder thread; the modes take turns, so that what else the machine does hits all
alike, and the table has medians. The films are natural footage: an edited film of 640x360, and takes of 1280x720
enlarged to 1920x1080 with light grain, x264 at crf 20. Aim: `all` at most 1.5 times bare at 1080p.

Memory: the peak of a process that analyses 2 minutes and 60 minutes of 640x360 in one piece (the engine would split
the longer one). Aim: at most 1.1 times as much.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from films import HD_TAKES, cut_together, footage_root, looped
from measure import python
from rich.console import Console
from rich.table import Table

PROBES = ("signals", "flow", "picture")
MODES: dict[str, tuple[str, ...]] = {"bare": (), **{name: (name,) for name in PROBES}, "all": PROBES}


def one_pass(film: Path, probes: tuple[str, ...]) -> dict[str, Any]:
    """A fresh process's answer (see `one_pass.py`)."""
    answer: dict[str, Any] = json.loads(python(str(Path(__file__).with_name("one_pass.py")), str(film), *probes))
    return answer


def time_table(films: dict[str, Path], rounds: int) -> Table:
    """Medians over the rounds; a ratio is the median of each round's own ratio."""
    table = Table("film", "frames", "mode", "CPU s", "ms a frame", "of bare decode")
    for name, film in films.items():
        runs = [{mode: one_pass(film, probes) for mode, probes in MODES.items()} for _ in range(rounds)]
        for mode in MODES:
            seconds = statistics.median(r[mode]["cpu_s"] for r in runs)
            ratio = statistics.median(r[mode]["cpu_s"] / r["bare"]["cpu_s"] for r in runs)
            frames = runs[0][mode]["frames"]
            table.add_row(name, str(frames), mode, f"{seconds:.2f}", f"{1000 * seconds / frames:.2f}", f"{ratio:.2f}")
    return table


def memory_table(films: dict[str, Path], rounds: int) -> Table:
    """Medians of the peak resident size, and the ratio to the first film's."""
    table = Table("film", "frames", "peak MiB", "of the shortest")
    first = None
    for name, film in films.items():
        runs = [one_pass(film, PROBES) for _ in range(rounds)]
        peak = statistics.median(r["peak_mib"] for r in runs)
        first = first or peak
        table.add_row(name, str(runs[0]["frames"]), f"{peak:.0f}", f"{peak / first:.2f}")
    return table


def main(
    footage: Annotated[Path | None, typer.Option(help="Folder of real footage.")] = None,
    rounds: Annotated[int, typer.Option(help="Repetitions of each measurement of time.")] = 5,
    memory_rounds: Annotated[int, typer.Option(help="Repetitions of each measurement of memory; 0 leaves it out.")] = 1,
) -> None:
    root = footage_root(footage)
    film = root / "edited" / "film.mp4"
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        hd = Path(folder) / "hd.mp4"
        cut_together([root / "takes" / name for name in HD_TAKES], hd, 1920, 1080, shot_s=9.75, grain=4)
        if rounds:
            console.print(time_table({"640x360": film, "1920x1080": hd}, rounds))
        if memory_rounds:
            lengths = {f"{minutes} min": Path(folder) / f"{minutes}.mp4" for minutes in (2, 60)}
            for minutes, out in zip((2, 60), lengths.values(), strict=True):
                looped(film, out, minutes * 60)
            console.print(memory_table(lengths, memory_rounds))


if __name__ == "__main__":
    typer.run(main)
