"""Which voice is which person's: one assignment over the whole source, as an integer program.

A voice is one person's or nobody's who is seen; two voices that sound at once are not one person's. That a person has
a second voice is allowed, since voices are told apart with precision rather than recall, but costs evidence.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

LEAST = 1.0
"""Log-likelihood ratio from which a voice is given to a person: below it, 1 in 4 would be wrong by chance alone."""
ANOTHER = 1.5
"""What each further voice of a person must bring on top: most people have one."""

Pair = tuple[int, int]
"""A voice and a person, or two voices."""


def joined(
    ratios: np.ndarray, apart: Collection[Pair], least: float = LEAST, stray: Collection[int] = ()
) -> list[tuple[int, float] | None]:
    """By voice its person's number and how sure that is, or None: an off-screen speaker, a narrator, an unknown face.

    How sure, 0 to 1, is by how much the best assignment is better than the best one without that pair.

    Args:
        ratios: (voices, people) evidence.
        apart: pairs of voices that are not one person's.
        stray: voices of so little speech that they are more likely parts of another than somebody else's: as further
            voices they cost nothing.

    Raises:
        RuntimeError: the solver found no solution, though giving every voice to nobody is one.
    """
    # What brings less than `least` is never part of the best assignment.
    pairs = [(int(voice), int(person)) for voice, person in np.argwhere(ratios > least)]
    gains = np.array([ratios[pair] - least for pair in pairs])
    best, chosen = _best(pairs, gains, apart, stray)
    found: list[tuple[int, float] | None] = [None] * len(ratios)
    for number in chosen:
        rest = [n for n in range(len(pairs)) if n != number]
        without, _ = _best([pairs[n] for n in rest], gains[rest], apart, stray)
        voice, person = pairs[number]
        found[voice] = person, float(1 / (1 + np.exp(without - best)))
    return found


def _best(
    pairs: Sequence[Pair], gains: np.ndarray, apart: Collection[Pair], stray: Collection[int]
) -> tuple[float, list[int]]:
    """The gain of the best assignment, and the numbers of the pairs in it."""
    if not pairs:
        return 0.0, []
    people = list(dict.fromkeys(person for _, person in pairs))
    count = len(pairs)
    # One variable for each pair, and one for each person: how many voices it has beyond the first.
    rows: list[dict[int, float]] = []
    for voice in dict.fromkeys(voice for voice, _ in pairs):
        rows.append({n: 1.0 for n, pair in enumerate(pairs) if pair[0] == voice})
    for place, person in enumerate(people):
        mine = {pair[0]: n for n, pair in enumerate(pairs) if pair[1] == person}
        rows.append({n: 1.0 for voice, n in mine.items() if voice not in stray} | {count + place: -1.0})
        rows += [{mine[a]: 1.0, mine[b]: 1.0} for a, b in apart if a in mine and b in mine]
    where = [(r, c, v) for r, row in enumerate(rows) for c, v in row.items()]
    matrix = csr_array(
        ([v for *_, v in where], ([r for r, _, _ in where], [c for _, c, _ in where])),
        shape=(len(rows), count + len(people)),
    )
    solved = milp(
        -np.concatenate([gains, np.full(len(people), -ANOTHER)]),
        constraints=LinearConstraint(matrix, -np.inf, 1),
        integrality=np.ones(count + len(people)),
        bounds=Bounds(0, np.concatenate([np.ones(count), np.full(len(people), np.inf)])),
    )
    if solved.x is None:
        raise RuntimeError(f"voices and faces could not be joined: {solved.message}")
    return -float(solved.fun), [int(n) for n in np.flatnonzero(solved.x[:count] > 0.5)]
