"""Camera and motion against the truth: planted movements, and a dense flow on the real takes.

Planted: five real takes from a tripod seen through a window that pans, tilts, zooms, rolls, shakes or stands still, at
five speeds each (`warps.py`), encoded by x264 and put through the stages `flow`, `vectors` and `motion`. Aims: the
class right in 95 % of the films, the speed within 10 %. And films that do one thing after another: when is it found?

Dense flow: ours (DIS at 320 px led by the camera, and the codec's vectors) against a slow one, by rank (Spearman) over
all sample pairs of all takes and as a mean over takes. The slow one is RAFT where its weights are given (`--weights`),
else DIS at full size with its best preset, and Farneback's with six levels, which shares nothing with it.

Cost: CPU time of the probes as a multiple of bare decode, at two sizes, each in a fresh process.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from films import HD_TAKES, cut_together, footage_root
from measure import python
from rich.console import Console
from rich.table import Table
from warps import SPEEDS, STILL_TAKES, Take, in_turn, move, write

from curate.analyze import Interval, analyze
from curate.dataset import to_arrow
from curate.media.probe import probe
from curate.media.sampling import Sampler
from curate.media.video import Decode, Timing
from schemas import clips
from stages.motion.clip import Motion
from stages.motion.flow import Flow
from stages.motion.raft import Raft, _file, _loaded, _picture
from stages.motion.vectors import Vectors

SECONDS = 4.0
TURNS = (("pan right", 0.1), ("static", 0.0), ("zoom in", 0.12), ("tilt up", 0.05), ("handheld shake", 0.12))
TURN_S = 1.9
SOURCE = "0" * 32


def scored(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The row of `motion` for a film taken as one clip, and the series by table and column."""
    source = {"source_id": SOURCE, "path": str(path), **probe(str(path))}
    parameters = {stage.name: stage().model_dump(mode="json") for stage in (Flow, Vectors)}
    header, tables = analyze(str(path), source, parameters, Interval().dump(), lambda _: None)
    if header["failures"]:
        raise RuntimeError(header["failures"])
    clip: dict[str, Any] = {field.name: 0 for field in clips.TABLE.schema if not field.nullable}
    clip |= {"clip_id": "c", "source_id": SOURCE, "start_s": 0.0, "end_s": source["duration_s"] + 1}
    clip |= {"long_enough": True, "detectors": "", "still": []}
    (row,) = Motion().run({"clips": to_arrow(clips.TABLE, [clip]), **tables}, None)  # type: ignore[arg-type, misc]
    return row, {name: table.to_pydict() for name, table in tables.items()}


@dataclass
class Tally:
    """What came of the films of one kind and speed."""

    films: int = 0
    right: int = 0
    errors: list[float] | None = None


def planted(root: Path, folder: Path, takes: tuple[str, ...]) -> Table:
    """Class and speed of every planted movement."""
    tallies: dict[tuple[str, float], Tally] = defaultdict(lambda: Tally(errors=[]))
    wrong = []
    for name in takes:
        take = Take.read(root / "takes" / name, SECONDS)
        for kind, speeds in SPEEDS.items():
            for speed in speeds:
                film = folder / "warp.mp4"
                write(take.seen(move(kind, speed)), take.fps, film)
                row, _ = scored(film)
                tally = tallies[kind, speed]
                tally.films += 1
                tally.right += row["camera"] == kind
                if row["camera"] != kind:
                    wrong.append(f"{name} {kind} {speed:g}: {row['camera']}")
                lasting = [s for s in row.get("segments", []) if s["kind"] == kind]
                if lasting and speed:
                    seconds = [s["end_s"] - s["start_s"] for s in lasting]
                    found = float(np.average([s["speed"] for s in lasting], weights=seconds))
                    tally.errors.append(abs(found / speed - 1))
    table = Table("planted", "speed", "class right", "median speed error", "worst", "within 10 %")
    for (kind, speed), tally in tallies.items():
        table.add_row(kind, f"{speed:g}", f"{tally.right}/{tally.films}", *_errors(tally.errors))
    films, right = sum(t.films for t in tallies.values()), sum(t.right for t in tallies.values())
    errors = [error for tally in tallies.values() for error in tally.errors]
    table.add_row("all", "", f"{right}/{films} = {100 * right / films:.1f} %", *_errors(errors))
    for line in wrong:
        table.add_row("wrong", "", line)
    return table


def _errors(errors: list[float]) -> tuple[str, str, str]:
    if not errors:
        return "", "", ""
    within = sum(error <= 0.1 for error in errors)
    return f"{statistics.median(errors):.3f}", f"{max(errors):.3f}", f"{within}/{len(errors)}"


def timed(root: Path, folder: Path, takes: tuple[str, ...]) -> Table:
    """One movement after another: how much of the time has the right kind, and how far its ends are off."""
    table = Table("in turn", "time right", "ends off by, s (mean, worst)", "found")
    for name in takes:
        take = Take.read(root / "takes" / name, TURN_S * len(TURNS))
        length = len(take.pictures) / float(take.fps)
        film = folder / "turns.mp4"
        write(take.seen(in_turn([(move(kind, speed), TURN_S) for kind, speed in TURNS])), take.fps, film)
        found = scored(film)[0]["segments"]
        truth = [(kind, n * TURN_S, min(length, (n + 1) * TURN_S)) for n, (kind, _) in enumerate(TURNS)]
        truth = [(kind, start, end) for kind, start, end in truth if end > start]
        right = sum(
            max(0.0, min(end, s["end_s"]) - max(start, s["start_s"]))
            for kind, start, end in truth
            for s in found
            if s["kind"] == kind
        )
        total = sum(s["end_s"] - s["start_s"] for s in found)
        off = [min(abs(s["start_s"] - start) for s in found) for _, start, _ in truth[1:]]
        said = ", ".join(f"{s['kind']} {s['start_s']:.1f}-{s['end_s']:.1f}" for s in found)
        table.add_row(name, f"{100 * right / total:.0f} %", f"{np.mean(off):.2f}, {max(off):.2f}", said)
    return table


def pictures(path: Path, fps: float = 2.0) -> Iterator[Any]:
    """The frames that the stages sample."""
    sampler = Sampler(fps)
    for frame in Decode(str(path), Timing.of(probe(str(path)))):
        if sampler.takes(frame.t_s):
            yield frame


def dense(path: Path) -> dict[str, list[float]]:
    """Mean flow of each sample pair by slow methods, frame widths per second."""
    best = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    best.setFinestScale(0)
    found: dict[str, list[float]] = {"DIS, full size": [], "Farneback": []}
    last = None
    for frame in pictures(path):
        now = frame.luma(640)
        if last is not None:
            seconds, width = frame.t_s - last[0], now.shape[1]
            flows = {
                "DIS, full size": best.calc(last[1], now, None),
                "Farneback": cv2.calcOpticalFlowFarneback(last[1], now, None, 0.5, 6, 21, 3, 7, 1.5, 0),
            }
            for name, flow in flows.items():
                found[name].append(float(np.hypot(flow[..., 0], flow[..., 1]).mean()) / width / seconds)
        last = frame.t_s, now
    return found


def raft(path: Path, weights: str) -> dict[str, list[float]]:
    """The same by RAFT."""
    stage = Raft(network="large", weights=weights)
    network = _loaded("large", str(_file("large", weights, None)))
    found, last = [], None
    for frame in pictures(path):
        picture, (rows, columns) = _picture(frame)
        if last is not None:
            x, y = stage._flow(network, last[1], picture)
            lengths = np.hypot(x / 960, y / 520 * rows / columns)
            found.append(float(lengths.mean()) / (frame.t_s - last[0]))
        last = frame.t_s, picture
    return {"RAFT large": found}


def ranked(root: Path, weights: str | None) -> Table:
    """Rank correlation of the cheap with the slow."""
    takes = sorted(path for path in (root / "takes").iterdir() if path.is_file())
    ours: dict[str, list[np.ndarray]] = defaultdict(list)
    theirs: dict[str, list[np.ndarray]] = defaultdict(list)
    for path in takes:
        _, series = scored(path)
        ours["DIS, 320 px"].append(np.array(series["motion_series"]["flow_mean_w_s"][1:], float))
        ours["vectors"].append(np.array(series["vector_series"]["vectors_mean_w_s"][1:], float))
        for name, values in (raft(path, weights) if weights else dense(path)).items():
            theirs[name].append(np.array(values))
    table = Table("ours", "against", "pairs", "all pairs", "mean within a take", "worst take", "between takes")
    for mine, a in ours.items():
        for other, b in theirs.items():
            within = [spearman(x, y) for x, y in zip(a, b, strict=True)]
            everything = np.concatenate(a), np.concatenate(b)
            takes_only = np.array([np.nanmean(x) for x in a]), np.array([np.nanmean(x) for x in b])
            numbers = (spearman(*everything), float(np.mean(within)), min(within), spearman(*takes_only))
            table.add_row(mine, other, str(np.isfinite(everything[0]).sum()), *(f"{n:.3f}" for n in numbers))
    return table


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation of what both have."""
    known = np.isfinite(a) & np.isfinite(b)
    ranks = [np.argsort(np.argsort(values[known])) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def cost(root: Path, folder: Path, rounds: int) -> Table:
    """CPU time of bare decode and of each probe on top of it; the best of the rounds."""
    hd = folder / "hd.mp4"
    cut_together([root / "takes" / name for name in HD_TAKES], hd, 1920, 1080, shot_s=5, grain=4)
    modes: dict[str, tuple[str, ...]] = {"bare": (), "flow": ("flow",), "vectors": ("vectors",)}
    modes["flow + vectors"] = ("flow", "vectors")
    table = Table("film", "frames", "mode", "ms a frame", "of bare decode")
    for name, film in {"640x360": root / "edited" / "film.mp4", "1920x1080": hd}.items():
        best: dict[str, float] = defaultdict(lambda: float("inf"))
        frames = 0
        for _ in range(rounds):
            for mode, probes in modes.items():
                answer = json.loads(python(str(Path(__file__).with_name("one_pass.py")), str(film), *probes))
                best[mode], frames = min(best[mode], answer["cpu_s"]), answer["frames"]
        for mode, seconds in best.items():
            ratio = f"{seconds / best['bare']:.2f}"
            table.add_row(name, str(frames), mode, f"{1000 * seconds / frames:.2f}", ratio)
    return table


def main(
    footage: Annotated[Path | None, typer.Option(help="Folder of real footage.")] = None,
    weights: Annotated[str | None, typer.Option(help="RAFT's (large): a file, a folder or hub.")] = None,
    takes: Annotated[int, typer.Option(help="How many of the five takes to warp.")] = len(STILL_TAKES),
    rounds: Annotated[int, typer.Option(help="Repetitions of the measurement of cost; 0 leaves it out.")] = 3,
) -> None:
    cv2.setNumThreads(1)
    root = footage_root(footage)
    console = Console(width=160)
    with tempfile.TemporaryDirectory() as folder:
        console.print(planted(root, Path(folder), STILL_TAKES[:takes]))
        console.print(timed(root, Path(folder), STILL_TAKES[:takes]))
        console.print(ranked(root, weights))
        if rounds:
            console.print(cost(root, Path(folder), rounds))


if __name__ == "__main__":
    typer.run(main)
