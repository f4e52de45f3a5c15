"""The stage pair `characters` and `dialogue`: who is who over a source, and who says each line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field, field_validator

from curate.stage import Row, RowStage, Workspace
from schemas import Table, characters
from stages.characters.corrections import Corrections, of, read
from stages.characters.join import LEAST
from stages.characters.source import Source

READS: Mapping[str, tuple[str, ...]] = {
    "sources": ("source_id", "path"),
    "speech": ("start_s", "end_s", "kind", "speaker", "voice", "voice_margin", "overlap_s", "text", "weak"),
    "faces": ("start_s", "end_s", "person_id"),
    "people": ("person_id", "label", "name", "screen_s"),
}


class Characters(RowStage):
    """Joins voices and faces. A few milliseconds a source."""

    name: ClassVar[str] = "characters"
    writes: ClassVar[Table] = characters.CHARACTERS
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = READS

    least: float = Field(LEAST, ge=0)
    """Evidence (log-likelihood ratio) from which a voice is given to a face. A voice that is given to nobody costs
    less than one that is given to the wrong person: a false name is believed."""

    corrections: Corrections = Field({})
    """What a person says of who is who, by file name of the source or `*`: `rename`, `merge`, `split`; or the path of a
    YAML file with that, which is read when the recipe is."""

    @field_validator("corrections", mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        return read(given) if isinstance(given, str) else given

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        (source,) = inputs["sources"].to_pylist()
        for row in Source(inputs, self.least).characters(of(self.corrections, source)):
            yield {"source_id": source["source_id"]} | row


class Dialogue(RowStage):
    """Says who speaks each line: its voice's character, unless the line itself says otherwise."""

    name: ClassVar[str] = "dialogue"
    writes: ClassVar[Table] = characters.DIALOGUE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **READS,
        "characters": ("character_id", "label", "name", "voices", "spoken_as", "people", "confidence"),
    }

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        (source,) = inputs["sources"].to_pylist()
        for row in Source(inputs).dialogue(inputs["characters"].to_pylist()):
            yield {"source_id": source["source_id"]} | row
