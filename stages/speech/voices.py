"""The stage `voices`: a number of vectors, one for each voice of a source, by which it is known again in another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.media.video import Timing
from curate.stage import Row, RowStage, Workspace
from schemas import Table, speech
from stages.speech import embedders
from stages.speech.diarization import LEAST_SAMPLES, ROUND_SAMPLES
from stages.speech.embedders import Embedder
from stages.speech.sound import RATE, NoSoundError, Sound, decoded
from stages.speech.stretches import LONGEST_S


class Voices(RowStage):
    """Embeds each voice that `speech` tells apart. These vectors are biometric data: they are in this table alone, and
    go into no shard. A minute of each voice costs one to two seconds; the sound is decoded once more."""

    name: ClassVar[str] = "voices"
    writes: ClassVar[Table] = speech.VOICES
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "sources": ("source_id", "path", "duration_s", "time_base_num", "time_base_den", "start_pts", "rotation"),
        "speech": ("start_s", "end_s", "kind", "voice"),
    }
    opens_media: ClassVar[bool] = True

    embedder: str = embedders.DEFAULT
    """What embeds: `campplus`, or the path of an .onnx file, as in `speech`. Only vectors of one model can be
    compared."""
    embedder_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{8,64}$")
    """What the file must hash to, its first digits at least; none takes any."""
    seconds: float = Field(60.0, ge=1)
    """Speech of a voice that is embedded at most, its longest lines: more changes the mean of its vectors little."""

    def faults(self, schemas: Mapping[str, pa.Schema]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        if missing := embedders.fault(self.embedder):
            yield ("embedder",), missing

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        (source,) = inputs["sources"].to_pylist()
        said = [line for line in inputs["speech"].to_pylist() if line["kind"] in ("speech", "song")]
        lines: defaultdict[int, list[Row]] = defaultdict(list)
        for line in said:
            if line["kind"] == "speech" and line["voice"] is not None:
                lines[line["voice"]].append(line)
        if not lines:
            return
        embed = embedders.embedder(self.embedder, self.embedder_sha256)
        timing, seconds = Timing.of(source), float(source["duration_s"] or 0)
        with work.source(source["path"]) as path:
            try:
                sound = decoded(path, timing, seconds, work.scratch, work.progress)
            except NoSoundError:
                return  # the voices are a subtitle's doing, then; nothing is heard
            for voice, mine in sorted(lines.items()):
                alone = [part for line in mine for part in _alone(line, said)]
                row: Row = {"source_id": source["source_id"], "voice": voice, "lines": len(mine)}
                yield row | self._row(embed, sound, alone, work)

    def _row(self, embed: Embedder, sound: Sound, alone: Sequence[tuple[float, float]], work: Workspace) -> Row:
        row: Row = {"seconds": 0.0, "model": embed.name}
        vectors, weights = [], []
        for start, end in self._pieces(sound, alone):
            part = sound.part(start, end)
            if len(part) >= LEAST_SAMPLES and np.abs(part).max() > 0:
                vectors.append(embed(part[: len(part) // ROUND_SAMPLES * ROUND_SAMPLES]))
                weights.append(len(part) / RATE)
            work.progress(start / RATE)
        if not vectors:
            return row | {"unmeasured": "it never speaks alone for a quarter of a second"}
        mean = np.average(vectors, axis=0, weights=weights)
        mean /= max(float(np.linalg.norm(mean)), 1e-9)
        spread = float(np.average(1 - np.stack(vectors) @ mean, weights=weights))
        return row | {"embedding": mean.tolist(), "seconds": sum(weights), "spread": max(0.0, spread)}

    def _pieces(self, sound: Sound, alone: Sequence[tuple[float, float]]) -> Iterator[tuple[int, int]]:
        """First and one past last sample of pieces of the longest stretches, as long as `speech` embeds at once."""
        left = self.seconds
        for start_s, end_s in sorted(alone, key=lambda part: part[0] - part[1]):
            long = min(end_s - start_s, left)
            parts = max(1, int(np.ceil(long / LONGEST_S)))
            edges = np.linspace(start_s, start_s + long, parts + 1) * RATE
            yield from pairwise(min(len(sound.samples), max(0, round(edge))) for edge in edges.tolist())
            left -= long
            if left <= 0:
                return


def _alone(line: Row, said: Sequence[Row]) -> Iterator[tuple[float, float]]:
    """The parts of a line in which no other voice's line goes on, seconds."""
    at = line["start_s"]
    others = [row for row in said if row["voice"] != line["voice"] or (row["voice"] is None and row is not line)]
    for other in sorted(others, key=lambda row: row["start_s"]):
        if other["end_s"] > at and other["start_s"] < line["end_s"]:
            if other["start_s"] > at:
                yield at, other["start_s"]
            at = max(at, other["end_s"])
    if at < line["end_s"]:
        yield at, line["end_s"]
