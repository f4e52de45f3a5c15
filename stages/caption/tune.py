"""ViSMaP's loop: captions are generated, scored, and the instruction revised, round after round; the best is kept.

What generates, scores and revises is given, so the loop is the same with a server and with a script. The history is a
JSONL file of a line a round: with the same parts a loop that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from stages.caption.evaluate.free import statistics
from stages.caption.evaluate.words import words
from stages.caption.protocol import Backend, Reply, Request

Row = dict[str, Any]
MOST_CHARACTERS = 2000
"""Of an instruction: what is longer is no instruction but a model's ramble."""


@dataclass(frozen=True)
class Score:
    value: float
    """More is better."""
    why: tuple[str, ...] = ()
    """What the reviser is told: its parts in words."""


@dataclass(frozen=True)
class Round:
    """A line of the history."""

    number: int
    instruction: str
    score: float
    why: tuple[str, ...]
    best: float
    """Of all rounds up to this one; never falls."""


class HistoryError(Exception):
    """The history is of another loop."""


Generate = Callable[[str], Sequence[Row]]
"""Captions (rows as of `captions`) under an instruction."""
Revise = Callable[[Round, Sequence[Round]], str | None]
"""A better instruction from the best round and all rounds; None: there is none, and the loop ends."""


def optimise(
    generate: Generate,
    score: Callable[[Sequence[Row]], Score],
    revise: Revise,
    rounds: int,
    first: str,
    history: Path | None = None,
) -> Round:
    """The best of `rounds` rounds, the first of which has the instruction `first`; of equals the earliest.

    Raises:
        HistoryError: the history begins with another instruction.
    """
    done = _read(history) if history else []
    if done and done[0].instruction != first:
        raise HistoryError(f"{history}: begins with another instruction; give another file or delete it")
    while len(done) < rounds:
        instruction = revise(_best(done), done) if done else first
        if instruction is None or not instruction.strip():
            break
        instruction = " ".join(instruction.split())[:MOST_CHARACTERS]
        got = score(generate(instruction))
        best = max([got.value, *(r.score for r in done)])
        done.append(Round(len(done), instruction, got.value, got.why, best))
        if history:
            _append(history, done[-1])
    return _best(done[:rounds])


def _best(done: Sequence[Round]) -> Round:
    return max(done, key=lambda r: (r.score, -r.number))


def _read(history: Path) -> list[Round]:
    """The rounds in the file; half a line at its end, of a killed run, is cut off."""
    if not history.exists():
        return []
    data = history.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        os.truncate(history, len(whole))
    try:
        return [Round(**{**(told := json.loads(line)), "why": tuple(told["why"])}) for line in whole.splitlines()]
    except (ValueError, TypeError, KeyError) as error:
        raise HistoryError(f"{history}: is no history of rounds: {error}") from None


def _append(history: Path, done: Round) -> None:
    history.parent.mkdir(parents=True, exist_ok=True)
    with history.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(done)) + "\n")
        file.flush()
        os.fsync(file.fileno())


def free_score(rows: Sequence[Row]) -> Score:
    """Without a reference: the mean of the shares of captions that are there, are not flagged, repeat no four words,
    and of the nodes' measured words (text on screen, kinds of camera movement) that their captions say."""
    if not rows:
        return Score(0.0, ("no caption came",))
    told = statistics(rows, {})
    parts = {
        "captions that are there": told["with_text"] / told["nodes"],
        "captions without a flag": 1 - told["flagged_share"],
        "words that do not repeat": 1 - (told["rep_4"] or 0.0) if told["with_text"] else 0.0,
    }
    if agreed := [share for row in rows if (share := agreement(row)) is not None]:
        parts["measured facts that are said"] = fmean(agreed)
    return Score(fmean(parts.values()), tuple(f"{name}: {share:.2f}" for name, share in parts.items()))


def agreement(row: Mapping[str, Any]) -> float | None:
    """Share of a node's measured words that its caption says; null where none were measured."""
    facts = json.loads(row["facts"])
    wanted = {w for segment in facts.get("camera", ()) for w in words(segment["kind"])}
    wanted |= {w for text in facts.get("text", ()) for w in words(text["text"])}
    wanted |= set(words(facts.get("colour", "")))
    return len(wanted & set(words(row["text"] or ""))) / len(wanted) if wanted else None


def reviser(backend: Backend) -> Revise:
    """Has a backend write a better instruction from the best one and what became of the last rounds."""

    def revise(best: Round, done: Sequence[Round]) -> str | None:
        tried = "\n".join(f"{r.score:.3f} ({'; '.join(r.why)}): {r.instruction}" for r in done[-5:])
        request = Request(
            (
                f"Best so far, {best.score:.3f}: {best.instruction}\n\nTried:\n{tried}\n\n"
                "Write one better instruction. Reply with the instruction alone.",
            ),
            system="You improve the instruction by which a model captions video. More is better for every number.",
            asking=len(done),
        )
        for _, reply in backend.answer([request]):
            if isinstance(reply, Reply) and reply.complete:
                return reply.text
        return None

    return revise


def setting(instruction: str) -> str:
    """What to paste behind `curate run`; the model's words are one quoted argument to a shell, and one string to
    YAML."""
    return f"--set {shlex.quote(f'caption.instruction={json.dumps(instruction, ensure_ascii=False)}')}"
