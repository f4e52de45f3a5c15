"""A source's voices, people and lines, and what is made of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow as pa

from stages.characters import forms
from stages.characters.corrections import Correction, Group, corrected
from stages.characters.decode import Decoder
from stages.characters.evidence import Line, ratios
from stages.characters.join import LEAST, joined
from stages.cover import Cover

Row = dict[str, Any]
TOGETHER_S = 0.5
"""How long two voices sound at once before they cannot be one: the edges of lines are no more exact than that."""
NARRATES, SELDOM = 0.25, 0.5
"""Share of all speech from which a voice without a face may be a narrator, and of speech with a face on screen below
which one may be in a film where nobody is known to speak."""
IMPOSSIBLE = -1e3
MOSTLY = 0.8
"""Share of a voice's named speech that must have one name for its lines without a name to have it, too. Not all: a line
that is cut a little off begins with somebody else's last word."""
STRAY_S = 1.5
"""Seconds of speech, in all, of the smallest voice: embeddings of less are hardly better than a guess."""


class Source:
    """What is known of one source.

    Args:
        inputs: its tables `speech`, `faces` and `people`.
        least: evidence from which a voice is given to a face.
    """

    def __init__(self, inputs: Mapping[str, pa.Table], least: float = LEAST) -> None:
        self._least = least
        self._people = inputs["people"].to_pylist()
        self._number = {person["person_id"]: n for n, person in enumerate(self._people)}
        spans: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for face in inputs["faces"].to_pylist():
            if face["person_id"] is not None:
                spans[face["person_id"]].append((face["start_s"], face["end_s"]))
        seen = {who: Cover(of) for who, of in spans.items()}
        anybody = Cover(span for of in spans.values() for span in of)
        rows = [row for row in inputs["speech"].to_pylist() if row["kind"] == "speech"]
        self._speech = sorted(rows, key=lambda row: (row["start_s"], row["end_s"]))
        owners = _owners(self._speech)
        keys = [row["speaker"] or owners[row["voice"]] for row in self._speech]
        self._voices = list(dict.fromkeys(key for key in keys if key is not None))
        place = {key: n for n, key in enumerate(self._voices)}
        self._numbers = {n: place[key] for n, key in owners.items() if n is not None and key in place}
        """By number of a voice in `speech` the place of whose it is."""
        self._lines = [
            Line(
                row["start_s"],
                row["end_s"],
                None if key is None else place[key],
                {who: cover.share(row["start_s"], row["end_s"]) for who, cover in seen.items()},
                anybody.share(row["start_s"], row["end_s"]),
            )
            for row, key in zip(self._speech, keys, strict=True)
        ]

    @cached_property
    def _ratios(self) -> np.ndarray:
        """(voices, people): what was seen."""
        return ratios(self._lines, range(len(self._voices)), [person["person_id"] for person in self._people])

    @cached_property
    def _said(self) -> list[tuple[int, int, float, str]]:
        texts = [
            (line.voice, row["text"])
            for line, row in zip(self._lines, self._speech, strict=True)
            if line.voice is not None and row["text"] and not row["weak"]
        ]
        return forms.evidence(texts, {p["name"]: n for n, p in enumerate(self._people) if p["name"]})

    @cached_property
    def _all(self) -> np.ndarray:
        """(voices, people): what was seen and said. A voice that subtitles name is not a face of another name."""
        total = self._ratios.copy()
        for voice, person, ratio, _ in self._said:
            total[voice, person] += ratio
        for voice, key in enumerate(self._voices):
            for person, row in enumerate(self._people):
                if isinstance(key, str) and row["name"]:
                    total[voice, person] = total[voice, person] if _same(key, row["name"]) else IMPOSSIBLE
        return total

    def _apart(self) -> set[tuple[int, int]]:
        """Pairs of voices that sound at once."""
        together: Counter[tuple[int, int]] = Counter()
        for number, one in enumerate(self._lines):
            for other in self._lines[number + 1 :]:
                if other.start_s >= one.end_s:
                    break  # lines stand in order of their starts
                if one.voice is not None and other.voice is not None and one.voice != other.voice:
                    both = min(one.end_s, other.end_s) - other.start_s
                    together[min(one.voice, other.voice), max(one.voice, other.voice)] += both  # type: ignore[assignment]
        named = [n for n, key in enumerate(self._voices) if isinstance(key, str)]
        return {pair for pair, seconds in together.items() if seconds > TOGETHER_S} | set(combinations(named, 2))

    def characters(self, corrections: Sequence[tuple[str, Correction]] = ()) -> Iterator[Row]:
        """Rows of `characters` without their source.

        Raises:
            CorrectionError: a correction speaks of somebody who is not there.
        """
        short = [n for n in range(len(self._voices)) if sum(line.voice == n for line in self._lines) == 1]
        chosen = joined(self._all, self._apart(), self._least, short)
        groups: list[Group] = []
        for n, person in enumerate(self._people):
            mine = {voice: given[1] for voice, given in enumerate(chosen) if given and given[0] == n}
            groups.append(Group(list(mine), [person["person_id"]], min(mine.values(), default=None)))
        groups += [Group([voice], [], None) for voice, who in enumerate(chosen) if who is None]
        found = self._rows(groups)
        for key, correction in corrections:
            for row, group in found:
                group.label = row["label"]
            found = self._rows(corrected([group for _, group in found], self._numbers, key, correction))
        for number, (row, _) in enumerate(found):
            yield {"character_id": f"c{number:03d}"} | {k: v for k, v in row.items() if k != "first"}

    def _rows(self, groups: Sequence[Group]) -> list[tuple[Row, Group]]:
        found = [(self._row(group), group) for group in groups]
        found.sort(key=lambda pair: (-pair[0]["speaking_s"], -pair[0]["screen_s"], pair[0]["first"]))
        self._label([row for row, _ in found])
        return found

    def _row(self, group: Group) -> Row:
        lines = [line for line in self._lines if line.voice in group.voices]
        people = [self._people[self._number[who]] for who in group.people]
        spoken_as = [key for key in (self._voices[voice] for voice in group.voices) if isinstance(key, str)]
        named = [name for name in (group.name, *spoken_as, *(person["name"] for person in people)) if name]
        labels = [*named, *(person["label"] for person in people)]
        return {
            "label": labels[0] if labels else None,
            "name": named[0] if named else None,
            "voices": sorted(number for number, voice in self._numbers.items() if voice in group.voices),
            "spoken_as": spoken_as,
            "people": list(group.people),
            "speaking_s": sum(line.end_s - line.start_s for line in lines),
            "screen_s": sum(person["screen_s"] for person in people),
            "on_screen_s": sum(
                (x.end_s - x.start_s) * min(1.0, sum(x.seen.get(who, 0.0) for who in group.people)) for x in lines
            ),
            "confidence": group.confidence,
            "by_hand": group.by_hand,
            "evidence": [row for person in people for row in self._evidence(group.voices, person)],
            "first": min((line.start_s for line in lines), default=float("inf")),
        }

    def _label(self, found: Sequence[Row]) -> None:
        """Labels for those who have none: a narrator, and `unknown N` on from the faces' numbers.

        A narrator speaks a good part of the film, is the only such without a face, and is known not to be seen: others
        are while they speak, or nobody is while it does.
        """
        taken = {row["label"] for row in found}
        total = sum(row["speaking_s"] for row in found)
        heard = [row for row in found if row["label"] is None and row["speaking_s"] >= NARRATES * total > 0]
        if len(heard) == 1 and "narrator" not in taken:
            others = any(row["people"] and row["speaking_s"] for row in found)
            alone = fmean(line.anybody for line in self._lines) < SELDOM
            heard[0]["label"] = "narrator" if others or alone else None
        number = 0
        for row in found:
            if row["label"] is None:
                number += 1
                while f"unknown {number}" in taken:
                    number += 1
                row["label"] = f"unknown {number}"

    def _evidence(self, voices: Sequence[int], person: Row) -> list[Row]:
        column = self._number[person["person_id"]]
        found = [(voice, "seen", self._ratios[voice, column], "seen while it sounds") for voice in voices]
        found += [(v, "said", ratio, text[:80]) for v, p, ratio, text in self._said if p == column and v in voices]
        rows = [
            {"voice": k if isinstance(k := self._voices[voice], int) else None, "kind": kind, "weight": w, "detail": d}
            for voice, kind, w, d in found
        ]
        return sorted(rows, key=lambda row: -abs(row["weight"]))

    def dialogue(self, told: Sequence[Row]) -> Iterator[Row]:
        """Rows of `dialogue` without their source."""
        owner = {key: row for row in told for key in (*row["voices"], *row["spoken_as"])}
        faces = {who: row for row in told for who in row["people"]}
        heard = [None if line.voice is None else owner.get(self._voices[line.voice]) for line in self._lines]
        decoder = Decoder(self._lines, self._speech, heard, faces, len(told))
        for number, (line, row) in enumerate(zip(self._lines, self._speech, strict=True)):
            character, confidence, by = decoder.decoded(number)
            seen = sorted(line.seen.items(), key=lambda item: -item[1])
            yield {
                **{name: row[name] for name in ("start_s", "end_s", "voice", "text", "weak")},
                "character_id": character and character["character_id"],
                "label": character and character["label"],
                "name": character and character["name"],
                "seen": [faces[who]["label"] for who, share in seen if share > 0.1 and who in faces],
                "confidence": confidence,
                "by": by,
            }


def _owners(speech: Sequence[Row]) -> dict[int | None, int | str | None]:
    """By number of a voice the name that subtitles give nearly all of its named lines, else the number. None for no
    voice, and for one of so little speech that it is rather a part of another."""
    seconds: Counter[int | None] = Counter()
    named: defaultdict[int | None, Counter[str]] = defaultdict(Counter)
    for row in speech:
        seconds[row["voice"]] += row["end_s"] - row["start_s"]
        if row["speaker"]:
            named[row["voice"]][row["speaker"]] += row["end_s"] - row["start_s"]
    owners: dict[int | None, int | str | None] = {
        voice: voice if total >= STRAY_S else None for voice, total in seconds.items()
    }
    for voice, names in named.items():
        ((name, most),) = names.most_common(1)
        if voice is not None and most >= MOSTLY * names.total():
            owners[voice] = name
    return owners


def _same(one: str, other: str) -> bool:
    return one.replace("_", " ").casefold() == other.replace("_", " ").casefold()
