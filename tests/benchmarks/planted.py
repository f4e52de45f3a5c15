"""Planted defects: how many of them the stages find, and what they find in the untouched takes.

    python tests/benchmarks/planted.py [--work DIR] [--seconds 5] [--defect NAME]...

Each real take gets each defect at several strengths (`defects.py`), is encoded and goes through `curate run`. A rule on
one column of a table, as in a recipe, says whether the defect is there; a film is found when any of its clips of half a
second or more breaks the rule. Thresholds were set on the untouched takes and on planted films of some of them, mostly
at strengths of their own; judged are all takes, and every other one alone. Four things were changed after a first
judgement: which colours make a pixel blown and how many may be, how much must move for repeats to be counted, and the
length of the clips that are judged. So this is what the rules do to these films, not what they will do to others.
Untouched are the same takes encoded alike at two qualities, and the files as they are. A take that has a defect of its
own (`OWN`) is neither planted with it nor counted as untouched for it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import defects
import duckdb
import typer
import yaml
from films import footage_root
from rich.console import Console
from rich.progress import track
from rich.table import Table


@dataclass(frozen=True)
class Rule:
    """What a clip without the defect keeps to, as a recipe says it: `column` at least `min` or at most `max`."""

    column: str
    min: float | None = None
    max: float | None = None

    def breaks(self) -> str:
        """The opposite in SQL; what could not be measured breaks no rule."""
        name = self.column.partition(".")[2]
        return f"{name} < {self.min!r}" if self.min is not None else f"{name} > {self.max!r}"

    def __str__(self) -> str:
        return f"{self.column} >= {self.min}" if self.min is not None else f"{self.column} <= {self.max}"


RULES = {
    "letterbox": Rule("quality.border_share", max=0.02),
    "pillarbox": Rule("quality.border_share", max=0.02),
    "blur": Rule("quality.blur_px", max=1.3),
    "frozen": Rule("quality.frozen_s", max=0.4),
    "flicker": Rule("quality.flicker", max=0.01),
    "doubled frames": Rule("quality.repeated_share", max=0.05),
    "watermark": Rule("overlay.watermark_share", max=0.0),
    "subtitles": Rule("text.subtitle_share", max=0.1),
    "over-exposure": Rule("quality.over_share", max=0.12),
    "under-exposure": Rule("quality.under_share", max=0.12),
    "motion blur": Rule("quality.smear_px", max=1.4),
    "noise": Rule("quality.noise", max=2.0),
    "blurred sides": Rule("quality.fill_share", max=0.1),
    "upscaled": Rule("quality.native_share", min=0.55),
    "interlaced": Rule("quality.interlaced_share", max=0.1),
    "screen recording": Rule("quality.screen", max=0.2),
}
ASKED = (
    "letterbox",
    "pillarbox",
    "blur",
    "frozen",
    "flicker",
    "doubled frames",
    "watermark",
    "subtitles",
    "over-exposure",
)
"""Defects of which 95 % are to be found, with 5 % false alarms at most."""

OWN = {
    "chaplin": {"pillarbox", "letterbox", "doubled frames"},
    "pancake": {"doubled frames"},
    "yoga": {"doubled frames"},
    "vl2_103": {"watermark"},
    "vl2_demo1": {"watermark"},
    "dj2": {"watermark", "subtitles"},
}
"""What the takes have of themselves: bars and 18 pictures a second in 25; 24 and 25 in 30; a stock agency's and an
editor's mark; a line of text that stands throughout."""

LEAST_S = 0.5
"""Shortest clip that is judged, seconds: strong flicker makes false cuts, and short clips of a take."""
OF_STILLS = ("watermark", "subtitles")
"""Defects that are found on stills, of which there is one a second."""
STILLS_S, STILLS_PX = 12.0, 640
"""Length and long side of the films for those."""
PLAIN = {"signals": {}, "picture": {}, "cuts": {}, "takes": {}, "quality": {}}
LOOKING = {"signals": {}, "stills": {}, "cuts": {}, "takes": {"min_s": LEAST_S}, "ocr": {}, "text": {}, "overlay": {}}
"""The stages of either recipe; networks look at all takes that are long enough."""
CRF = (21, 30)
"""Qualities in which the untouched takes are encoded; the planted ones have the first."""


@dataclass(frozen=True)
class Specimen:
    """A film of the benchmark."""

    take: str
    defect: str | None
    strength: float
    chosen_on: bool
    """Whether thresholds were chosen on its take."""
    path: Path


def specimens(takes: Sequence[Path], names: Sequence[str], folder: Path) -> Iterator[Specimen]:
    """All films: the untouched first."""
    for number, take in enumerate(takes):
        chosen_on = number % 2 == 0
        for crf in CRF:
            yield Specimen(take.stem, None, crf, chosen_on, folder / f"{take.stem}.none.{crf}.mp4")
        yield Specimen(take.stem, None, 0, chosen_on, folder / f"{take.stem}.none.as_is{take.suffix}")
        for name in names:
            if name not in OWN.get(take.stem, ()):
                for strength in defects.DEFECTS[name].judged_on:
                    path = folder / f"{take.stem}.{name.replace(' ', '_')}.{strength:g}.mp4"
                    yield Specimen(take.stem, name, strength, chosen_on, path)


def make(films: Sequence[Specimen], takes: Sequence[Path], long_side: int, seconds: float) -> None:
    """Plant and encode what is not there yet."""
    kinds = list(defects.DEFECTS)
    for number, take in enumerate(track(takes, "planting", console=Console(stderr=True))):
        missing = [film for film in films if film.take == take.stem and not film.path.exists()]
        if not missing:
            continue
        whole = defects.load(take, long_side, seconds, start_s=1.0)
        for film in missing:
            half = film.path.with_name("half" + film.path.suffix)
            if film.defect is not None:
                seed = (number, kinds.index(film.defect), round(1000 * film.strength))
                defects.write(defects.planted(whole, film.defect, film.strength, seed), half, CRF[0])
            elif film.strength:
                defects.write(whole, half, int(film.strength))
            else:
                shutil.copyfile(take, half)
            half.rename(film.path)


def curated(films: Sequence[Specimen], stages: Mapping[str, Mapping[str, float]], work: Path, name: str) -> Path:
    """The dataset that `curate run` makes of the films by a recipe of these stages."""
    recipe, dataset, listed = work / f"{name}.yaml", work / name, work / f"{name}.csv"
    recipe.write_text(yaml.safe_dump({"name": name, "stages": dict(stages)}, sort_keys=False))
    listed.write_text("\n".join(["path", *(str(film.path) for film in films)]) + "\n")
    command = [str(Path(sys.executable).with_name("curate")), "run", str(recipe), "-i", str(listed), "-o", str(dataset)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return dataset


def broken(dataset: Path, rule: Rule) -> set[str]:
    """Names of the films with a clip that breaks the rule."""
    table = rule.column.partition(".")[0]
    query = f"""
        select distinct parse_filename(unnest(paths)) from '{dataset}/tables/{table}/*.parquet' as scores
        join (select clip_id, duration_s from '{dataset}/tables/clips/*.parquet') using (clip_id)
        join (select source_id, paths from '{dataset}/tables/sources/*.parquet') using (source_id)
        where duration_s >= {LEAST_S} and {rule.breaks()}
    """  # noqa: S608 - names from this file and a folder of ours
    return {row[0] for row in duckdb.sql(query).fetchall()}


def judge(table: Table, films: Sequence[Specimen], names: Sequence[str], dataset: Path) -> None:
    """Add a row for each defect."""
    for name in names:
        hit = broken(dataset, RULES[name])
        planted = [film for film in films if film.defect == name]
        other = [film for film in planted if not film.chosen_on]
        untouched = [film for film in films if film.defect is None and name not in OWN.get(film.take, ())]
        found, wrong = (sum(film.path.name in hit for film in group) for group in (planted, untouched))
        missed = ", ".join(f"{film.take} {film.strength:g}" for film in planted if film.path.name not in hit)
        alarms = ", ".join(film.path.name for film in untouched if film.path.name in hit)
        print(f"{name}: missed: {missed or 'none'}; false: {alarms or 'none'}", file=sys.stderr)
        share_other = sum(film.path.name in hit for film in other) / max(1, len(other))
        # As many untouched as planted: else the number of films made would decide.
        rate, recall = wrong / max(1, len(untouched)), found / max(1, len(planted))
        table.add_row(
            name + ("" if name in ASKED else " *"),
            str(RULES[name]),
            str(len(planted)),
            str(found),
            f"{recall:.1%}",
            f"{share_other:.1%}",
            str(len(untouched)),
            f"{wrong} ({rate:.1%})",
            f"{recall / max(1e-9, recall + rate):.3f}",
        )


def main(
    footage: Annotated[Path | None, typer.Option(help="Folder of real footage.")] = None,
    work: Annotated[Path, typer.Option(help="Folder for films and datasets; what is there is not made again.")] = Path(
        "out/planted"
    ),
    seconds: Annotated[float, typer.Option(help="Length of each film.")] = 5.0,
    long_side: Annotated[int, typer.Option(help="Its long side, px.")] = 480,
    defect: Annotated[
        list[str] | None, typer.Option(help="Which defects; by default those that are asked for.")
    ] = None,
    more: Annotated[bool, typer.Option(help="All defects that the stages measure, not only those asked for.")] = False,
) -> None:
    """Plant defects, run the stages, judge."""
    cv2.setNumThreads(1)
    names = defect or list(RULES if more else ASKED)
    takes = list(defects.takes(footage_root(footage)))
    columns = ("defect", "rule", "planted", "found", "share", "other half", "untouched", "false alarms", "precision")
    table = Table(*columns)
    plain, stills = [[name for name in names if (name in OF_STILLS) == of_stills] for of_stills in (False, True)]
    for kind, chosen, stages, length, size in (
        ("quality", plain, PLAIN, seconds, long_side),
        ("stills", stills, LOOKING, STILLS_S, STILLS_PX),
    ):
        folder = work / f"films for {kind}"
        folder.mkdir(parents=True, exist_ok=True)
        films = list(specimens(takes, chosen, folder)) if chosen else []
        make(films, takes, size, length)
        if films:
            judge(table, films, chosen, curated(films, stages, work, kind))
    Console(width=180).print(table)


if __name__ == "__main__":
    typer.run(main)
