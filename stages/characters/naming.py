"""Which name is whose, by clues: one assignment over the source, in which nobody has two names, no name two people."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from stages.characters.clues import Clue

LEAST_NAME = 3.0
"""Log-likelihood ratio from which a name is given: 20 to 1, so that a title over a lone face is enough and one that a
voice has to itself is not."""
SURE = 0.8
"""How sure a name must be, held against the next: two titles over one face name neither. As in captions."""


@dataclass(frozen=True)
class Named:
    """A name, how sure it is (0 to 1), and by what kinds of clue, the strongest first."""

    name: str
    confidence: float
    by: str


def assigned(
    count: int,
    names: Sequence[str],
    clues: Iterable[Clue],
    place: Callable[[Clue], int | None],
    least: float = LEAST_NAME,
) -> dict[int, Named]:
    """The names of things by their number, in the assignment that the clues speak for most.

    Args:
        count: how many things there are.
        names: those that may be given.
        place: number of the thing that a clue is about; None: of none.
        least: sum of clues from which a name is given.
    """
    from scipy.optimize import linear_sum_assignment

    if not count or not names:
        return {}
    column = {name: n for n, name in enumerate(names)}
    total = np.zeros((count, len(names)))
    kinds: defaultdict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    for clue in clues:
        row = place(clue)
        if row is not None and clue.name in column:
            total[row, column[clue.name]] += clue.weight
            kinds[row, column[clue.name]][clue.kind] += clue.weight  # type: ignore[assignment]
    found = {}
    rows, columns = linear_sum_assignment(np.maximum(total - least, 0), maximize=True)
    for row, chosen in zip(rows.tolist(), columns.tolist(), strict=True):
        weight = total[row, chosen]
        if weight < least:
            continue
        # Against nobody of the cast, and against the name that comes next.
        rivals = np.delete(total[row], chosen)
        odds = float(np.exp(weight) / (1 + np.exp(rivals.max(initial=-np.inf))))
        if odds / (1 + odds) < SURE:
            continue
        by = ", ".join(kind for kind, part in kinds[row, chosen].most_common() if part > 0)
        found[row] = Named(names[chosen], odds / (1 + odds), by)
    return found
