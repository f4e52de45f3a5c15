"""How many copies of real takes `dedup` finds, among others, and how many it makes up.

`python tests/benchmarks/dedup.py [--footage DIR] [--folder DIR]`: every take is copied in each of the ways of
`copies.py`; the shots of the edited films and the other films stand among them. Each way is judged by a run
of its own (takes, its copies, the others), and then all together. The hashes are those of the real probe on the real
decode; `--folder` keeps copies and hashes for the next time.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import copies
import cv2
import films
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from curate.analyze import Interval, analyze
from curate.dataset import to_arrow
from curate.media.probe import probe
from schemas import clips, hashes, sources
from stages.dedup.stage import Dedup

SHORTEST_S = 5.0
"""Shots of the edited film below it are left out: a take that short is no long take."""


@dataclass(frozen=True)
class Clip:
    """A clip, the take that it shows, and the rows that describe it."""

    name: str
    take: str
    source: dict[str, object]
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Work:
    scratch: Path


def seen(path: Path, folder: Path) -> tuple[dict[str, object], pa.Table]:
    """A file's row of `sources` and its rows of `hash_series`, from the real decode or from the last time."""
    kept = folder / f"{path.name}.parquet"
    facts = folder / f"{path.name}.json"
    if not kept.exists():
        source = {"source_id": path.name, "path": "", "paths": [], "user": "{}", **probe(str(path))}
        _, tables = analyze(str(path), source, {"hashes": {}}, Interval().dump(), lambda _: None)
        facts.write_text(json.dumps(source))
        pq.write_table(tables["hash_series"], kept)
    return json.loads(facts.read_text()), pq.read_table(kept, schema=hashes.TABLE.schema)


def found(chosen: Iterable[Clip], series: ds.Dataset) -> dict[str, str]:
    """Copies and what they are copies of, by the stage itself."""
    zeros = {f.name: 0 for f in clips.TABLE.schema if not f.nullable} | {"detectors": "", "still": []}
    rows, files = [], {}
    for clip in chosen:
        files[clip.source["source_id"]] = clip.source
        times = {"start_s": clip.start_s, "end_s": clip.end_s, "long_enough": True}
        rows.append(zeros | {"clip_id": clip.name, "source_id": clip.source["source_id"]} | times)
    inputs = {
        "clips": ds.dataset(to_arrow(clips.TABLE, rows)),
        "sources": ds.dataset(to_arrow(sources.SOURCES, list(files.values()))),
        "hash_series": series,
    }
    with tempfile.TemporaryDirectory() as scratch:
        table = pa.concat_tables(Dedup().run(inputs, Work(Path(scratch))))
    return {row["clip_id"]: row["copy_of"] for row in table.to_pylist() if row["copy_of"]}


def shots(film: Path, source: dict[str, object]) -> list[Clip]:
    """The shots of the edited film, with the takes that they show."""
    truth = json.loads(film.with_suffix(".json").read_text())
    return [
        Clip(f"film {n}", shot["take"], source, shot["start"] / truth["fps"], shot["end"] / truth["fps"])
        for n, shot in enumerate(truth["shots"])
        if shot["end"] - shot["start"] >= SHORTEST_S * truth["fps"]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--footage", type=Path)
    parser.add_argument("--folder", type=Path, help="where copies and hashes are kept")
    given = parser.parse_args()
    root = films.footage_root(given.footage)
    cv2.setNumThreads(1)
    with nullcontext(str(given.folder)) if given.folder else tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.mkdir(exist_ok=True)
        takes = sorted((root / "takes").iterdir())
        originals, others, made, tables = [], [], {}, []

        def whole(path: Path, take: str) -> Clip:
            source, table = seen(path, folder)
            tables.append(table)
            return Clip(path.name, take, source, 0.0, float(str(source["duration_s"])) + 1)

        originals = [whole(take, take.name) for take in takes]
        for film in sorted((root / "edited").iterdir()):
            if film.suffix in {".json", ".cast"}:
                continue
            clip = whole(film, film.name)
            others += shots(film, clip.source) if film.name == "film.mp4" else [clip]
        for way, change in copies.CHANGES.items():
            made[way], slug = [], re.sub(r"\W+", "_", way)
            for take in takes:
                path = folder / f"{take.stem}@{slug}.mkv"
                if not path.exists():
                    copies.write(take, unfinished := path.with_suffix(".new.mkv"), change)
                    unfinished.rename(path)
                made[way].append(whole(path, take.name))
        report(originals, others, made, ds.dataset(pa.concat_tables(tables)))


def report(originals: list[Clip], others: list[Clip], made: dict[str, list[Clip]], series: ds.Dataset) -> None:
    every = [*originals, *others, *(clip for group in made.values() for clip in group)]
    take = {clip.name: clip.take for clip in every}
    print(f"{'the takes among the others and their copies':52} {'recall':>13} {'precision':>13}")
    rights = claims = asked = 0
    for way, group in made.items():
        told = found([*originals, *others, *group], series)
        pairs = {(clip.name, clip.take) for clip in group}
        # A copy that is better than its take (larger, say) has the take for its copy.
        missed = sorted(a for a, b in pairs if told.get(a, a) != told.get(b, b))
        right = len(pairs) - len(missed)
        wrong = [(a, b) for a, b in told.items() if take[a] != take[b]]
        rights, claims, asked = rights + right, claims + len(told), asked + len(pairs)
        exact = 1 - len(wrong) / max(1, len(told))
        print(f"{way:52} {right:4}/{len(pairs):<4} {right / len(pairs):.2f} {exact:13.3f}", *wrong)
        if missed:
            print("    missed:", ", ".join(missed))
    print(f"{'all':52} {rights:4}/{asked:<4} {rights / asked:.3f}")
    told = found([*originals, *others], series)
    shown = [clip for clip in others if clip.name.startswith("film ")]
    # A shot that is larger than its take is the one kept.
    missed = [f"{c.name} ({c.take})" for c in shown if told.get(c.name, c.name) != told.get(c.take, c.take)]
    print(f"\nshots of the edited film found with their takes: {len(shown) - len(missed)}/{len(shown)}", *missed)
    told = found(every, series)
    wrong = [(a, b) for a, b in told.items() if take[a] != take[b]]
    left = [name for clip in every if (name := clip.name) not in told]
    print(f"all {len(every)} clips together: {len(told)} copies, {len(wrong)} of another take; kept: {', '.join(left)}")


if __name__ == "__main__":
    main()
