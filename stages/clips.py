"""Clips: each kept take becomes a file of its own, exact to the frame, sound in sync."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from curate.keys import stage_digest
from curate.media.encode import Encoding, Reader, Span, write_clip
from curate.media.video import Timing
from curate.stage import Failure, Row, RowStage, Workspace
from schemas import Table, media


class Clips(RowStage):
    """Encodes the kept takes as H.264 with AAC in MP4: what every trainer's decoder reads."""

    name: ClassVar[str] = "clips"
    writes: ClassVar[Table] = media.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clips": (),
        "decisions": ("clip_id", "kept"),
        "sources": (
            "path",
            "fps",
            "rotation",
            "time_base_num",
            "time_base_den",
            "start_pts",
            "split_pts",
            "audio_codec",
        ),
    }
    opens_media: ClassVar[bool] = True

    crf: int = Field(20, ge=0, le=51)
    """x264's constant rate factor: 20 is visually near the source, which has been compressed once already."""
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"] = "veryfast"
    """x264's effort: veryfast takes half of medium's time for a tenth more bytes."""
    keyframe_s: float = Field(2.0, gt=0)
    """Longest distance between keyframes, seconds: a trainer that reads a window decodes at most this much in vain."""
    audio_kbps: int = Field(128, ge=16, le=512)
    """AAC's bit rate, kbit/s: transparent for speech, good for music in stereo."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row | Failure]:
        kept = {row["clip_id"] for row in inputs["decisions"].to_pylist() if row["kept"]}
        wanted = [clip for clip in inputs["clips"].to_pylist() if clip["clip_id"] in kept]
        wanted.sort(key=lambda clip: clip["start_pts"])
        if not wanted:
            return
        (source,) = inputs["sources"].to_pylist()
        with work.source(source["path"]) as path:
            reader = Reader(path, Timing.of(source))
            for clip in wanted:
                try:
                    yield self._write(reader, source, clip, work)
                except Exception as error:
                    yield Failure(clip["clip_id"], error)
                work.progress(clip["end_s"])

    def _write(self, reader: Reader, source: Row, clip: Row, work: Workspace) -> Row:
        how = Encoding(self.crf, self.preset, self.keyframe_s, self.audio_kbps * 1000)
        out = work.scratch / "clip.mp4"
        written = write_clip(
            reader,
            _span(source, clip),
            source["fps"],
            source["audio_codec"] is not None,
            how,
            out,
            work.progress,
        )
        if written.frames != clip["frames"]:
            raise ValueError(
                f"{written.frames} pictures were decoded where the analysis saw {clip['frames']}; "
                "the source has changed or is damaged there"
            )
        with open(out, "rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        size = out.stat().st_size
        # Another encoding has another name, so a run that is cut short never leaves a table naming the wrong file.
        relative = f"clips/{clip['clip_id'][:2]}/{clip['clip_id']}.{stage_digest(self)[:8]}.mp4"
        work.publish(out, relative)
        return {
            "clip_id": clip["clip_id"],
            "source_id": clip["source_id"],
            "path": relative,
            "sha256": checksum,
            "bytes": size,
            "frames": written.frames,
            "duration_s": written.duration_s,
            "width": written.width,
            "height": written.height,
            "fps": written.frames / written.duration_s,
            "audio_s": written.audio_s,
            "mode": "encode",
        }


def _span(source: Row, clip: Row) -> Span:
    """The clip with the place to decode from: as in the analysis, a whole split earlier than the nearest one."""
    splits: list[int] = source["split_pts"]
    nearest = bisect.bisect_right(splits, clip["start_pts"]) - 1
    lead = splits[max(0, nearest - 1)]
    return Span(clip["start_pts"], clip["end_pts"], clip["start_s"], clip["end_s"], lead)
