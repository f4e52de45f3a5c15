"""What speaks for a name beside a photo: titles on screen, what a voice sounds like, what a model says.

Each is a clue: a log-likelihood ratio that a voice or a person has a name, against anybody else. The weights are kept
below what the cases that were looked at would allow, for a false name is believed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.characters.evidence import Line
from stages.characters.titles import titled
from stages.faces.people import NOBODY, SCALE
from stages.text import LOW

Row = dict[str, Any]
UNDER, HEARD = 3.5, 2.0
"""Ratios for a face that is alone on screen over a name, and for a voice that alone sounds then: that names on screen
tell who is seen and speaks is what naming people in broadcasts rests on (MediaEval's Person Discovery, Poignant et al.
2015). 33 to 1 is said of a face, since now and then a cutaway is shown or a name stands a moment too long; 7 to 1 of a
voice, since a reporter often speaks over the picture of whom the title names."""
MOST_TITLES = 6.0
"""Of all titles together: the second is one more chance of the same slip."""
LARGER = 2.0
"""How many times larger than all others a face is, by side, to be the one that is shown: a crowd has no titles."""
AROUND_S, SOUNDS_S = 1.0, 0.5
"""Before and after the readings of a title a voice may sound, and how long it must, seconds."""
SURE_READING = 0.7
"""Of a line that `ocr` read; as in `text`."""
ALIKE, STEP = 0.475, 0.06
"""Cosine distance of CAM++'s embeddings at which a voice is as likely another's (that up to which `speech` joins
stretches), and by which the odds change by a factor of e. Of 16 recordings of the four readers of the tests two of one
reader lie 0.08 to 0.42 apart, half of them up to 0.17, two of two readers 0.48 and more."""
MOST_VOICE, LEAST_VOICE = 4.0, -3.0
"""The ratio of a voice is cut off here: another microphone makes one voice two, and some voices are alike."""
ANSWERED, MOST_ANSWERED = 1.0, 2.0
"""Ratio of one answer of a model, and of all: models that were asked who speaks were right three times of four
(StoryTeller, .745 to .791), but one that errs errs alike in every take. All answers together stay below `LEAST_NAME`,
so that no name rests on a model alone."""
MOST_SPEAKS = 0.8
"""Of a model's answers who speaks together: below what joins a voice and a face, for lips in stills say little."""
AGAINST, MOST_FACE = -8.0, 1.5
"""What a face that was held against photos may say against a name, and for one that it was not sure enough to give."""


@dataclass(frozen=True)
class Clue:
    """Why a voice or a person, by its number, has a name; or, with both, why they are one."""

    kind: str
    weight: float
    detail: str
    voice: int | None = None
    person: int | None = None
    name: str | None = None


def titles(
    lines: Sequence[Line],
    faces: Sequence[Row],
    people: Mapping[str, int],
    names: Mapping[str, Sequence[str]],
    written: Iterable[tuple[str, str, Sequence[float]]],
) -> Iterator[Clue]:
    """Clues of names on screen; of a take and a name one for the face, one for the voice.

    Args:
        faces: rows of `faces`.
        people: numbers of the people by id.
        names: further forms of each name.
        written: (clip id, line, times it was read at).
    """
    shown: defaultdict[tuple[str, str], set[float]] = defaultdict(set)
    for clip_id, text, times in written:
        if name := titled(text, names):
            shown[clip_id, name].update(times)
    in_clip: defaultdict[str, list[Row]] = defaultdict(list)
    for face in faces:
        in_clip[face["clip_id"]].append(face)
    totals: Counter[tuple[str, int]] = Counter()
    for (clip_id, name), moments in sorted(shown.items()):
        detail = f"{name} on screen at {min(moments):.1f} s"
        alone = {_alone(in_clip[clip_id], t_s) for t_s in moments}
        heard: Counter[int] = Counter()
        for line in lines:
            both = min(line.end_s, max(moments) + AROUND_S) - max(line.start_s, min(moments) - AROUND_S)
            if line.voice is not None and both >= SOUNDS_S:
                heard[line.voice] += 1
        (who,) = alone if len(alone) == 1 else (None,)
        if who is not None and totals[name, people[who]] < MOST_TITLES:
            totals[name, people[who]] += UNDER  # type: ignore[assignment]
            yield Clue("lower third", UNDER, detail, person=people[who], name=name)
        if len(heard) == 1:
            yield Clue("lower third", HEARD, detail, voice=next(iter(heard)), name=name)


def _alone(faces: Sequence[Row], t_s: float) -> str | None:
    """Id of the person who is on screen alone, or much larger than everybody else."""
    there = sorted((f for f in faces if f["start_s"] <= t_s < f["end_s"]), key=lambda f: -f["size_px"])
    if not there or (len(there) > 1 and there[0]["size_px"] < LARGER * there[1]["size_px"]):
        return None
    return there[0]["person_id"]


def read(ocr: Iterable[Row]) -> Iterator[tuple[str, str, Sequence[float]]]:
    """(clip id, line, time) of what stands low in the picture, out of rows of `ocr`."""
    for still in ocr:
        if still["t_s"] is not None:
            for box, text, sure in zip(still["boxes"], still["texts"], still["confidences"], strict=True):
                if sure >= SURE_READING and (box[1] + box[3]) / 2 >= LOW:
                    yield still["clip_id"], text, [still["t_s"]]


def sounds(prints: Mapping[int, np.ndarray], known: Mapping[str, np.ndarray]) -> Iterator[Clue]:
    """Clues of what voices sound like.

    Args:
        prints: unit vector by voice.
        known: unit vector by name.
    """
    for voice, vector in prints.items():
        for name, own in known.items():
            distance = 1 - float(vector @ own)
            weight = float(np.clip((ALIKE - distance) / STEP, LEAST_VOICE, MOST_VOICE))
            yield Clue("voice", weight, f"{distance:.2f} from the recording of {name}", voice=voice, name=name)


def faces_and_photos(people: Sequence[Row], with_photos: Iterable[str]) -> Iterator[Clue]:
    """Of who has no name, what the photos say: the nearest name's distance is known, no other is nearer than that of
    the second."""
    names = list(with_photos)
    for number, person in enumerate(people):
        if person["name"] or person["distance"] is None:
            continue
        for name in names:
            away = person["distance"] + (0.0 if name == person["nearest"] else person["margin"] or 0.0)
            weight = float(np.clip((NOBODY - away) / SCALE, AGAINST, MOST_FACE))
            yield Clue("face", weight, f"{away:.2f} or more from the photos of {name}", person=number, name=name)


def answers(rows: Iterable[Row], lines: Sequence[Line], people: Mapping[str, int]) -> Iterator[Clue]:
    """Clues of what a model said of takes, out of rows of `identifications`."""
    named: Counter[tuple[int, str]] = Counter()
    speaks: Counter[tuple[int, int]] = Counter()
    for row in rows:
        for face in row["faces"] or []:
            number = people.get(face["person_id"])
            if number is not None and face["name"] and named[number, face["name"]] < MOST_ANSWERED:
                named[number, face["name"]] += ANSWERED  # type: ignore[assignment]
                detail = f"{row['model']} in the take at {row['start_s']:.1f} s"
                yield Clue("model", ANSWERED, detail, person=number, name=face["name"])
        number = people.get(row["speaker"] or "")
        heard = {
            line.voice for line in lines
            if min(line.end_s, row["end_s"]) - max(line.start_s, row["start_s"]) >= SOUNDS_S
        }  # fmt: skip
        voice = next(iter(heard)) if len(heard) == 1 else None
        if number is not None and voice is not None and speaks[voice, number] < MOST_SPEAKS:
            speaks[voice, number] += MOST_SPEAKS / 2  # type: ignore[assignment]
            detail = f"{row['model']} has it speak at {row['start_s']:.1f} s"
            yield Clue("model", MOST_SPEAKS / 2, detail, voice=voice, person=number)
