"""The stages `characters` and `dialogue`: who is who over a source, and who says each line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field, ValidationInfo, field_validator

from curate.stage import Row, RowStage, Workspace
from schemas import Table, characters
from stages.characters import recordings
from stages.characters.corrections import Corrections, of, read
from stages.characters.join import LEAST
from stages.characters.source import Source
from stages.faces import members

READS: Mapping[str, tuple[str, ...]] = {
    "sources": ("source_id", "path"),
    "speech": ("start_s", "end_s", "kind", "speaker", "voice", "voice_margin", "overlap_s", "text", "weak"),
    "faces": ("clip_id", "start_s", "end_s", "person_id", "size_px"),
    "people": (
        *("person_id", "label", "name", "name_confidence", "screen_s"),
        *("nearest", "distance", "margin"),
    ),
}


class Characters(RowStage):
    """Joins voices and faces, and gives names. Milliseconds a source, and a second for each recording in the cast."""

    name: ClassVar[str] = "characters"
    version: ClassVar[int] = 2
    writes: ClassVar[Table] = characters.CHARACTERS
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = READS
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "voices": ("voice", "seconds", "embedding", "model"),
        "pitches": ("voice", "seconds", "pitch_hz"),
        "ocr": ("clip_id", "t_s", "boxes", "texts", "confidences"),
        "lower_thirds": ("clip_id", "text", "times_s"),
        "identifications": ("start_s", "end_s", "faces", "speaker", "model"),
    }
    opens_media: ClassVar[bool] = True
    """The cast's recordings are decoded."""

    least: float = Field(LEAST, ge=0)
    """Evidence (log-likelihood ratio) from which a voice is given to a face. A voice that is given to nobody costs
    less than one that is given to the wrong person: a false name is believed."""

    cast: str | None = None
    """The cast that `people` has, for what is in it beside photos: aliases, descriptions, recordings of voices, and who
    has no photo."""
    cast_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", validate_default=True)
    """Of the cast; filled in when the recipe is read, so that another cast names anew."""
    corrections: Corrections = Field({})
    """What a person says of who is who, by file name of the source or `*`: `rename`, `merge`, `split`; or the path of a
    YAML file with that, which is read when the recipe is."""

    @field_validator("corrections", mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        return read(given) if isinstance(given, str) else given

    @field_validator("cast_sha256")
    @classmethod
    def _digest(cls, given: str | None, info: ValidationInfo) -> str | None:
        cast = info.data.get("cast")
        # Given by a dataset's own recipe, which is read where the cast may not be; `run` checks it.
        return None if cast is None else given or members.digest(cast)

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        (source,) = inputs["sources"].to_pylist()
        cast = members.checked(self.cast, self.cast_sha256) if self.cast and self.cast_sha256 else []
        known = {}
        if "voices" in inputs:
            known = {m.name: recordings.voice(m, work.scratch, work.progress) for m in cast if m.voices}
        for row in Source(inputs, self.least, cast, known).characters(of(self.corrections, source)):
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
