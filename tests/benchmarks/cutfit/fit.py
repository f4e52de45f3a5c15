"""Fits the cut classifier on films made from single takes, and says how well it does on takes that it never saw.

    python tests/benchmarks/cutfit/fit.py TAKES CACHE classifier.npz

TAKES must hold files that are single takes. About an hour on two cores, most of it rendering, encoding and
measuring some 300 films, which are kept in the cache. Use the weights with `--set cuts.weights=classifier.npz`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from edit import Film, film, noise
from footage import Take, load
from measure import Measured, made, whole
from network import fit, save
from opinions import Opinion, calibration, near, opinions

from stages.cuts.cascade import candidates
from stages.cuts.classifier import Classifier

SHOTS = 30
SINGLE, STILLS, NOISE = 10_000, 20_000, 30_000
"""Seeds from here on are films of one shot, for their beginnings and ends; shows of stills; and noise."""
SHOWN = 10
"""Films of each half and shape that the network is shown."""
UNCALIBRATED = {"calibration": np.zeros((3, 5), np.float32)}
Numbered = tuple[int | None, Measured]
"""A film with its seed; None for a take as it is."""
THRESHOLD = 0.5


def main(
    takes: Annotated[Path, typer.Argument(help="A folder of files that are single takes.")],
    cache: Annotated[Path, typer.Argument(help="Where the films' signals are kept; made if missing.")],
    output: Annotated[Path, typer.Argument(help="The weights, .npz.")],
    films: Annotated[int, typer.Option(help="Films of thirty shots.")] = 240,
    others: Annotated[int, typer.Option(help="Films each of one shot, of stills and of noise.")] = 24,
    steps: Annotated[int, typer.Option(help="Steps of the optimizer.")] = 4000,
    unclear: Annotated[list[str] | None, typer.Option(help="A jump that a take does have: NAME:FRAME.")] = None,
) -> None:
    """Fit the cut classifier."""
    cv2.setNumThreads(1)
    cache.mkdir(parents=True, exist_ok=True)
    seeds = [*range(films), *(first + n for first in (SINGLE, STILLS, NOISE) for n in range(others))]
    groups = measured(takes, cache, seeds, dict(map(_unclear, unclear or [])))
    found: list[Opinion] = []
    for seen, unseen in ((0, 1), (1, 0)):
        print(f"fitted on one half of the takes ({len(groups[seen])} films), judged on the other:", flush=True)
        classifier = Classifier(fit([film for _, film in groups[seen]], steps // 2) | UNCALIBRATED)
        judge(classifier, [film for _, film in groups[unseen]])
        found += asked(takes, classifier, groups[unseen], unseen)
    weights = fit([film for group in groups for _, film in group], steps)
    save(weights | {"calibration": calibration(found)}, output)
    print(f"wrote {output}")


def asked(folder: Path, classifier: Classifier, films: Sequence[Numbered], group: int) -> list[Opinion]:
    """All candidates in films of takes that the classifier never saw; with the network's view of some films."""
    found: list[Opinion] = []
    for cover in (False, True):
        takes = load(folder, cover=cover)[group::2]
        shown = 0
        for seed, measured_film in films:
            if seed is None or seed >= SINGLE or bool(seed // 3 % 2) != cover:
                continue
            shown += 1
            pictures = render(takes, seed).pictures if shown <= SHOWN else None
            found += opinions(classifier, measured_film, pictures)
    return found


def render(takes: Sequence[Take], seed: int) -> Film:
    """The film of a seed: of thirty shots, of one, of stills, or of noise."""
    if seed >= NOISE:
        return noise(seed)
    if seed >= STILLS:
        return film(takes, seed, 12, stills=True)
    return film(takes, seed, 1 if seed >= SINGLE else SHOTS)


def measured(
    folder: Path, cache: Path, seeds: Sequence[int], unclear: dict[str, list[tuple[int, int]]]
) -> list[list[Numbered]]:
    """Films of every second take, of the other takes, and of all; each take as it is, too."""
    groups: list[list[Numbered]] = [[], [], []]
    for cover in (False, True):
        takes = load(folder, cover=cover)
        choices: tuple[Sequence[Take], ...] = (takes[0::2], takes[1::2], takes)
        for seed in seeds:
            if bool(seed // 3 % 2) == cover:
                film_made = made(partial(render, choices[seed % 3], seed), seed, cache)
                groups[seed % 3].append((seed, film_made))
    for number, take in enumerate(takes):
        groups[number % 2].append((None, whole(folder / take.name, unclear.get(take.name, []), cache)))
    return groups


def _unclear(text: str) -> tuple[str, list[tuple[int, int]]]:
    name, _, frame = text.rpartition(":")
    return name, [(int(frame) - 35, int(frame) + 35)]


def judge(classifier: Classifier, films: Sequence[Measured]) -> None:
    """Print precision and recall by kind, as the shot boundary protocol counts them."""
    hits: Counter[str] = Counter()
    there: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for each in films:
        seen = classifier.of_channels(each.channels)
        found = [c for c in candidates(seen) if (c.probability or 0) >= THRESHOLD]
        used: set[int] = set()
        for start, end, kind in each.transitions:
            there[kind] += 1
            match = next((n for n, c in enumerate(found) if n not in used and near(c.start, c.end, start, end)), None)
            if match is not None:
                used.add(match)
                hits[kind] += 1
        unclear = [c for c in found if any(near(c.start, c.end, a, b) for a, b in each.unclear)]
        wrong.update(c.kind for n, c in enumerate(found) if n not in used and c not in unclear)
    right, missed, false = hits.total(), there.total() - hits.total(), wrong.total()
    by_kind = ", ".join(f"{kind} {hits[kind]}/{there[kind]}" for kind in sorted(there))
    precision, recall = right / max(1, right + false), right / max(1, right + missed)
    print(f"  precision {precision:.3f}, recall {recall:.3f}; {by_kind}; wrong: {dict(wrong)}", flush=True)


if __name__ == "__main__":
    typer.run(main)
