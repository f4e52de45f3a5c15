"""Compares the cut detectors: what each finds in films whose transitions are known, and what it costs.

    python tests/benchmarks/cuts.py [FILM...]

Beside each FILM.mp4 a FILM.json says where its transitions are: {"fps": .., "frames": .., "transitions": [{"start": ..,
"end": .., "kind": ..}], "flashes": [..]}, start == end for a hard cut. By default the film of the real footage; a film
without one is only timed. Each detector reads each film once, in a process of its own, right after a bare decode of it;
costs are CPU seconds.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from films import footage_root
from measure import python
from rich.console import Console
from rich.table import Table

DETECTORS = ("content", "adaptive", "transnetv2", "cascade")
KINDS = ("cut", "jump", "dissolve", "fade", "wipe")
SLACK = 2
"""Frames by which a detection may lie beside a transition."""
LONG_S = 10.0
NEAR = 3
"""Frames by which the ends of a long take may lie beside the true ones."""
HEADS = ("precision", "recall", "F1", *KINDS, "flashes", "long takes clean", "long takes found", "times bare decode")
ONE = str(Path(__file__).with_name("one_detection.py"))


@dataclass
class Score:
    """Counts over all films."""

    there: Counter[str] = field(default_factory=Counter)
    hit: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    flashes: int = 0
    takes: int = 0
    clean: int = 0
    true_takes: int = 0
    whole: int = 0
    cpu_s: float = 0.0
    bare_s: float = 0.0

    def add(self, truth: dict[str, Any], found: dict[str, Any], bare_s: float) -> None:
        """Count one film: each detection matches at most one transition, both widened by the slack."""
        used: set[int] = set()
        for true in truth["transitions"]:
            self.there[true["kind"]] += 1
            for n, (start, end) in enumerate(found["boundaries"]):
                if n not in used and start - SLACK <= true["end"] and end + SLACK >= true["start"]:
                    used.add(n)
                    self.hit[true["kind"]] += 1
                    break
        false = [span for n, span in enumerate(found["boundaries"]) if n not in used]
        self.wrong += len(false)
        self.flashes += sum(any(a - 1 <= flash <= b + 1 for flash in truth["flashes"]) for a, b in false)
        self.cpu_s += found["cpu_s"]
        self.bare_s += bare_s
        self._takes(truth, found["takes"])

    def _takes(self, truth: dict[str, Any], takes: Sequence[tuple[int, int]]) -> None:
        true = [(t["start"], t["end"]) for t in truth["transitions"]]
        self.takes += len(takes)
        self.clean += sum(not any(_inside(a, b, *t) for t in true) for a, b in takes)
        edges = [0, *(frame for span in true for frame in span), truth["frames"]]
        shots = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= LONG_S * truth["fps"]]
        self.true_takes += len(shots)
        self.whole += sum(any(abs(a - s) <= NEAR and abs(b - e) <= NEAR for a, b in takes) for s, e in shots)

    def row(self) -> list[str]:
        """The cells of the table."""
        hits = self.hit.total()
        precision, recall = hits / max(1, hits + self.wrong), hits / max(1, self.there.total())
        f1 = 2 * precision * recall / max(1e-9, precision + recall)
        kinds = [f"{self.hit[kind]}/{self.there[kind]}" for kind in KINDS]
        takes = [f"{self.clean}/{self.takes}", f"{self.whole}/{self.true_takes}"]
        return [
            f"{precision:.3f}",
            f"{recall:.3f}",
            f"{f1:.3f}",
            *kinds,
            str(self.flashes),
            *takes,
            f"{self.cpu_s / self.bare_s:.2f}",
        ]


def _inside(first: int, last: int, start: int, end: int) -> bool:
    """Whether a transition lies in a take. A hard cut at the take's first frame is where it begins."""
    return first < start < last if start == end else start < last and end > first


def main(
    films: Annotated[list[Path] | None, typer.Argument(help="Films with their truth in a .json beside them.")] = None,
    detectors: Annotated[list[str], typer.Option(help="Which to compare.")] = list(DETECTORS),  # noqa: B006
) -> None:
    """Compare the cut detectors."""
    films = films or [footage_root(None) / "edited/film.mp4"]
    console = Console(width=200)
    scores, costs = {detector: Score() for detector in detectors}, Table("film", "bare decode, CPU s", *detectors)
    for film in films:
        bare_s = json.loads(python(ONE, str(film), "bare"))["cpu_s"]
        found = {detector: json.loads(python(ONE, str(film), detector)) for detector in detectors}
        costs.add_row(film.name, f"{bare_s:.2f}", *(f"{found[d]['cpu_s'] / bare_s:.2f}" for d in detectors))
        if film.with_suffix(".json").exists():
            truth = json.loads(film.with_suffix(".json").read_text())
            for detector, score in scores.items():
                score.add(truth, found[detector], bare_s)
    table = Table("detector", *HEADS)
    for detector, score in scores.items():
        table.add_row(detector, *score.row())
    console.print(table)
    console.print("Times bare decode, by film:", costs)


if __name__ == "__main__":
    typer.run(main)
