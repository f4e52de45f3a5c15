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

from stages.characters import clues, forms, words
from stages.characters.clues import Clue
from stages.characters.corrections import Correction, Group, corrected
from stages.characters.decode import Decoder
from stages.characters.evidence import Line, ratios
from stages.characters.join import LEAST, joined
from stages.characters.naming import Named, assigned
from stages.cover import Cover
from stages.faces.members import Member
from stages.speech.networks import CAMPPLUS

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
        inputs: its tables `speech`, `faces` and `people`, and what there is of `voices`, `pitches`, `ocr`,
            `lower_thirds` and `identifications`.
        least: evidence from which a voice is given to a face.
        cast: who may be named.
        recordings: unit vector of a voice by name.
    """

    def __init__(
        self,
        inputs: Mapping[str, pa.Table],
        least: float = LEAST,
        cast: Sequence[Member] = (),
        recordings: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self._inputs, self._least, self._recordings = inputs, least, recordings or {}
        self._cast = {member.name: member for member in cast}
        self._people = inputs["people"].to_pylist()
        self._names: dict[str, Sequence[str]] = {p["name"]: () for p in self._people if p["name"]}
        self._names |= {member.name: member.aliases for member in cast}
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
    def _clues(self) -> list[Clue]:
        """What speaks for names, beside the photos."""
        there = self._inputs
        texts = [
            (line.voice, row["text"])
            for line, row in zip(self._lines, self._speech, strict=True)
            if line.voice is not None and row["text"] and not row["weak"]
        ]
        said = forms.evidence(texts, self._names)
        found = [Clue("said", weight, text[:80], voice=voice, name=name) for voice, name, weight, text in said]
        written = [
            (row["clip_id"], row["text"], row["times_s"])
            for row in (there["lower_thirds"].to_pylist() if "lower_thirds" in there else [])
        ]
        written += clues.read(there["ocr"].to_pylist() if "ocr" in there else [])
        if written:
            faces = there["faces"].to_pylist()
            found += clues.titles(self._lines, faces, self._number, self._names, written)
        found += clues.sounds(self._prints, self._recordings)
        if "identifications" in there:
            found += clues.answers(there["identifications"].to_pylist(), self._lines, self._number)
        photos = [member.name for member in self._cast.values() if member.photos]
        return [*found, *clues.faces_and_photos(self._people, photos)]

    @cached_property
    def _prints(self) -> dict[int, np.ndarray]:
        """CAM++'s unit vector by place of a voice; of one that has several numbers that of the longest heard."""
        rows = self._inputs["voices"].to_pylist() if "voices" in self._inputs else []
        return {
            self._numbers[row["voice"]]: np.array(row["embedding"])
            for row in sorted(rows, key=lambda row: row["seconds"])
            if row["embedding"] and row["model"] == CAMPPLUS.name and row["voice"] in self._numbers
        }

    @cached_property
    def _pitches(self) -> dict[int, tuple[float, float]]:
        """(seconds, Hz) by number of a voice in `speech`."""
        rows = self._inputs["pitches"].to_pylist() if "pitches" in self._inputs else []
        return {row["voice"]: (row["seconds"], row["pitch_hz"]) for row in rows if row["pitch_hz"]}

    @cached_property
    def _by_clues(self) -> dict[int, Named]:
        """Names of people who have none by their photos, by number."""
        taken = {person["name"] for person in self._people}
        free = [name for name in self._names if name not in taken]
        unnamed = [n for n, person in enumerate(self._people) if not person["name"]]
        place = {person: n for n, person in enumerate(unnamed)}
        about = [clue for clue in self._clues if clue.voice is None]
        given = assigned(
            len(unnamed), free, about, lambda clue: place.get(clue.person) if clue.person is not None else None
        )
        return {unnamed[n]: named for n, named in given.items()}

    def _name(self, person: int) -> str | None:
        row, by_clues = self._people[person], self._by_clues.get(person)
        return row["name"] or (by_clues.name if by_clues else None)

    @cached_property
    def _all(self) -> np.ndarray:
        """(voices, people): what was seen, and what speaks for a name: for whose it is, against those of other names. A
        voice that subtitles name is not a face of another name."""
        total = self._ratios.copy()
        names = [self._name(person) for person in range(len(self._people))]
        for clue in self._clues:
            if clue.voice is None:
                continue
            if clue.person is not None:
                total[clue.voice, clue.person] += clue.weight
                continue
            for person, name in enumerate(names):
                if name == clue.name:
                    total[clue.voice, person] += clue.weight
                elif name is not None and clue.weight > 0:
                    total[clue.voice, person] -= clue.weight
        for voice, key in enumerate(self._voices):
            for person, name in enumerate(names):
                if isinstance(key, str) and name:
                    total[voice, person] = total[voice, person] if _same(key, name) else IMPOSSIBLE
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
        self._call(groups)
        found = self._rows(groups)
        for key, correction in corrections:
            for row, group in found:
                group.label = row["label"]
            found = self._rows(corrected([group for _, group in found], self._numbers, key, correction))
        for number, (row, _) in enumerate(found):
            yield {"character_id": f"c{number:03d}"} | {k: v for k, v in row.items() if k != "first"}

    def _call(self, groups: Sequence[Group]) -> None:
        """Give names to those who have none by what speaks for their voices and their faces together."""
        numbers = [[self._number[who] for who in group.people] for group in groups]
        for group, mine in zip(groups, numbers, strict=True):
            group.named = next((self._by_clues[person] for person in mine if person in self._by_clues), None)
        spoken = {key.replace("_", " ").casefold() for key in self._voices if isinstance(key, str)}
        taken = {self._name(person) for mine in numbers for person in mine}
        free = [name for name in self._names if name not in taken and name.replace("_", " ").casefold() not in spoken]
        nameless = [
            n
            for n, (group, mine) in enumerate(zip(groups, numbers, strict=True))
            if not any(self._name(person) for person in mine)
            and not any(isinstance(self._voices[voice], str) for voice in group.voices)
        ]
        of_voice = {voice: n for n, place in enumerate(nameless) for voice in groups[place].voices}
        of_person = {person: n for n, place in enumerate(nameless) for person in numbers[place]}

        def place(clue: Clue) -> int | None:
            if clue.voice is not None:
                return of_voice.get(clue.voice)
            return None if clue.person is None else of_person.get(clue.person)

        for n, named in assigned(len(nameless), free, self._clues, place).items():
            groups[nameless[n]].named = named

    def _rows(self, groups: Sequence[Group]) -> list[tuple[Row, Group]]:
        found = [(self._row(group), group) for group in groups]
        found.sort(key=lambda pair: (-pair[0]["speaking_s"], -pair[0]["screen_s"], pair[0]["first"]))
        self._label([row for row, _ in found])
        return found

    def _row(self, group: Group) -> Row:
        lines = [line for line in self._lines if line.voice in group.voices]
        people = [self._people[self._number[who]] for who in group.people]
        spoken_as = [key for key in (self._voices[voice] for voice in group.voices) if isinstance(key, str)]
        faces = max((p for p in people if p["name"]), key=lambda p: p["name_confidence"] or 0.0, default=None)
        by_clues = group.named
        named = [
            *([(group.name, 1.0, "hand")] if group.name else []),
            *((name, 1.0, "subtitle") for name in spoken_as),
            *([(faces["name"], faces["name_confidence"], "face")] if faces else []),
            *([(by_clues.name, by_clues.confidence, by_clues.by)] if by_clues else []),
        ]
        name, name_confidence, named_by = named[0] if named else (None, None, None)
        label = name or next((person["label"] for person in people), None)
        numbers = sorted(number for number, voice in self._numbers.items() if voice in group.voices)
        pitches = [self._pitches[number] for number in numbers if number in self._pitches]
        row = {
            "label": label,
            "name": name,
            "name_confidence": name_confidence,
            "named_by": named_by,
            "voices": numbers,
            "spoken_as": spoken_as,
            "people": list(group.people),
            "speaking_s": sum(line.end_s - line.start_s for line in lines),
            "screen_s": sum(person["screen_s"] for person in people),
            "on_screen_s": sum(
                (x.end_s - x.start_s) * min(1.0, sum(x.seen.get(who, 0.0) for who in group.people)) for x in lines
            ),
            "pitch_hz": max(pitches)[1] if pitches else None,
            "confidence": group.confidence,
            "by_hand": group.by_hand,
            "cast_description": self._cast[name].description if name in self._cast else None,
            "evidence": self._evidence(group.voices, group.people, name),
            "first": min((line.start_s for line in lines), default=float("inf")),
        }
        return row | {"description": words.described(row)}

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

    def _evidence(self, voices: Sequence[int], people: Sequence[str], name: str | None) -> list[Row]:
        """What joined these voices and people, and what speaks for and against their name."""
        numbers = {self._number[who]: who for who in people}
        found = [
            Clue("seen", float(self._ratios[voice, person]), "seen while it sounds", voice, person)
            for voice in voices
            for person in numbers
        ]
        found += [
            clue
            for clue in self._clues
            if (clue.voice is None or clue.voice in voices)
            and (clue.person is None or clue.person in numbers)
            and (clue.name is None or clue.name == name)
        ]
        rows = [
            {
                "voice": k if clue.voice is not None and isinstance(k := self._voices[clue.voice], int) else None,
                "kind": clue.kind,
                "weight": clue.weight,
                "detail": clue.detail,
                "person": numbers.get(clue.person) if clue.person is not None else None,
                "name": clue.name,
            }
            for clue in found
        ]
        return sorted(rows, key=lambda row: -abs(float(row["weight"] or 0.0)))

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
