"""What a person says of who is who: a file of corrections, honoured on every run after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from stages.characters.naming import Named
from stages.faces.by_hand import read_corrections

EVERY = "*"
"""Stands for all sources."""


class CorrectionError(Exception):
    """A correction speaks of somebody who is not there; the message names the source, and who is."""


class Split(BaseModel):
    """A voice or a person that is a character of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    voice: int | None = None
    """Number of the voice in `speech`."""
    person: str | None = None
    """Id of the person in `people`."""

    @model_validator(mode="after")
    def _one(self) -> Split:
        if (self.voice is None) == (self.person is None):
            raise ValueError("name a voice or a person")
        return self


class Correction(BaseModel):
    """The corrections of a source, done in this order. Labels are those of the run without them, but for `rename`'s."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    split: tuple[Split, ...] = ()
    merge: tuple[tuple[str, ...], ...] = Field((), description="labels of one character; the first stays")
    rename: dict[str, str] = {}
    """New names by label; of those that `merge` joined, by the first's."""


Corrections = dict[str, Correction]
"""By file name or id of the source, or `*`."""


@dataclass
class Group:
    """Voices (by their places in the source) and people that are one character."""

    voices: list[int]
    people: list[str]
    confidence: float | None
    label: str = ""
    name: str | None = None
    """Given by hand."""
    by_hand: bool = False
    named: Named | None = None
    """By clues."""


def read(path: str) -> Corrections:
    """The corrections in a YAML file. Raises `ValueError` that says where it is wrong and what it should be."""
    form = "{film.mp4: {rename: {unknown 1: Ann}, merge: [[Ann, unknown 2]], split: [{voice: 3}]}}"
    return read_corrections(path, TypeAdapter(Corrections), form)


def of(corrections: Mapping[str, Correction], source: Mapping[str, Any]) -> list[tuple[str, Correction]]:
    """Those for a source with `source_id` and `path`, those for all first, each with the key that it stands under."""
    names = (EVERY, source["source_id"], PurePosixPath(source["path"]).name)
    return [(name, corrections[name]) for name in dict.fromkeys(names) if name in corrections]


def corrected(groups: Sequence[Group], voices: Mapping[int, int], key: str, correction: Correction) -> list[Group]:
    """The characters after the corrections under a key. Those for all sources pass over labels that are not there.

    Args:
        voices: places of the voices by their numbers in `speech`.

    Raises:
        CorrectionError: a voice, person or label is not there.
    """
    found = list(groups)

    def there(label: str) -> Group | None:
        group = next((group for group in found if group.label == label), None)
        if group is None and key != EVERY:
            known = ", ".join(repr(group.label) for group in found if group.label)
            raise CorrectionError(f"corrections for {key}: {label!r} is not there; there are {known or 'none'}")
        return group

    for split in correction.split:
        group = next((g for g in found if voices.get(split.voice or 0) in g.voices or split.person in g.people), None)
        if group is None:
            if key != EVERY:
                raise CorrectionError(f"corrections for {key}: {split.model_dump(exclude_none=True)} is not there")
            continue
        if split.voice is not None:
            group.voices.remove(voices[split.voice])
            found.append(Group([voices[split.voice]], [], None, by_hand=True))
        else:
            group.people.remove(str(split.person))
            found.append(Group([], [str(split.person)], None, by_hand=True))
        group.confidence, group.by_hand = group.confidence if group.voices and group.people else None, True
    for labels in correction.merge:
        members = [group for group in map(there, labels) if group is not None]
        for other in members[1:]:
            members[0].voices += other.voices
            members[0].people += other.people
            members[0].by_hand = True
            found.remove(other)
    for label, name in correction.rename.items():
        if group := there(label):
            group.name, group.by_hand = name, True
    return [group for group in found if group.voices or group.people]
