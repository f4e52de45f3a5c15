"""The stage `pitches`: how high each voice of a source is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.media.video import Timing
from curate.stage import Row, RowStage, Workspace
from schemas import Table, characters
from stages.characters.pitch import median_hz
from stages.speech.sound import RATE, NoSoundError, decoded


class Pitches(RowStage):
    """Measures each voice's longest lines, for which the sound is decoded once more."""

    name: ClassVar[str] = "pitches"
    writes: ClassVar[Table] = characters.PITCHES
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "sources": ("source_id", "path", "duration_s", "time_base_num", "time_base_den", "start_pts", "rotation"),
        "speech": ("start_s", "end_s", "kind", "voice", "overlap_s"),
    }
    opens_media: ClassVar[bool] = True

    most_s: float = Field(30.0, gt=0)
    """Of a voice that are measured, its longest lines first: the median of 3000 pitches hardly moves."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        (source,) = inputs["sources"].to_pylist()
        lines: defaultdict[int, list[Row]] = defaultdict(list)
        for line in inputs["speech"].to_pylist():
            if line["kind"] == "speech" and line["voice"] is not None:
                lines[line["voice"]].append(line)
        if not lines:
            return
        with work.source(source["path"]) as path:
            try:
                sound = decoded(path, Timing.of(source), float(source["duration_s"] or 0), work.scratch, work.progress)
            except NoSoundError:
                return  # no sound, no pitch: the voices are a subtitle's doing
            for voice, mine in sorted(lines.items()):
                parts = [sound.part(round(start * RATE), round(end * RATE)) for start, end in self._chosen(mine)]
                row: Row = {"source_id": source["source_id"], "voice": voice}
                row["seconds"] = sum(len(part) for part in parts) / RATE
                pitch = median_hz(np.concatenate(parts), RATE)
                work.progress(max(line["end_s"] for line in mine))
                yield row | ({"unmeasured": "too little of it is voiced"} if pitch is None else {"pitch_hz": pitch})

    def _chosen(self, lines: Sequence[Row]) -> list[tuple[float, float]]:
        """The longest lines in which nobody else is heard; where there are none, the longest."""
        pure = [line for line in lines if not line["overlap_s"]] or list(lines)
        found, total = [], 0.0
        for line in sorted(pure, key=lambda line: (line["start_s"] - line["end_s"], line["start_s"])):
            if total >= self.most_s:
                break
            found.append((line["start_s"], min(line["end_s"], line["start_s"] + self.most_s)))
            total += found[-1][1] - found[-1][0]
        return sorted(found)
