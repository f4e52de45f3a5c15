"""Clips: each kept take becomes a file of its own, exact to the frame, sound in sync."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import ClassVar

import pyarrow as pa
from pydantic import Field, model_validator

from curate.keys import stage_digest
from curate.media.clip import write_clip
from curate.media.encode import Box
from curate.media.encoder import Codec, Encoding, Mode, Preset
from curate.media.spans import Reader, Span
from curate.media.video import Timing, lead_of
from curate.stage import Failure, Row, RowStage, Workspace
from schemas import Table, media
from stages.faces.hidden import Blur, hidden


class Clips(RowStage):
    """Writes the kept takes as MP4 with AAC, H.264 unless another codec is asked for: every trainer's decoder reads it.

    Out of an H.264 source the packets of a take are copied, and only the pictures before its first IDR picture and
    the last few are encoded anew. Where that cannot be, all pictures are, and the row says why.
    """

    name: ClassVar[str] = "clips"
    version: ClassVar[int] = 2
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
        "decodes": ("corrupt_frames", "decode_errors"),
    }
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "crop": ("clip_id", "box", "reasons"),
        "faces": ("clip_id", "name", "times_s", "boxes"),
    }
    opens_media: ClassVar[bool] = True

    mode: Mode = "smart"
    """smart: copy what can be copied, which costs a fraction and loses nothing; encode: encode every picture anew, all
    clips alike."""
    codec: Codec = "h264"
    """What is encoded. Only h264 can be copied; another codec is the same as the mode encode."""
    crf: int = Field(20, ge=0, le=63)
    """Constant rate factor: with h264, 20 is visually near the source, which has been compressed once already. Up to 51
    for h264 and hevc, where hevc looks alike at about 4 more; up to 63 for av1, where about 30 looks alike."""
    preset: Preset = "veryfast"
    """Encoder's effort, in x264's words: veryfast takes half of medium's time for a tenth more bytes."""
    keyframe_s: float = Field(2.0, gt=0)
    """Longest distance between keyframes among encoded pictures, seconds: a trainer that reads a window decodes at most
    this much in vain. Copied pictures keep the source's keyframes."""
    max_gop_s: float | None = Field(None, gt=0)
    """Encode a take anew where the source's keyframes are further apart than this, seconds; null copies any. Web video
    has 2 to 10 s; a trainer that reads many short windows out of long takes may want 2."""
    crop: bool = False
    """Cut off what the table `crop` says: borders, subtitles, an edge's watermark. Such a clip is encoded anew as a
    whole, which is dear and loses a little, so it is done only where it is asked for."""
    blur_faces: bool = False
    """Blur all faces in the clips, for data that is published. Each clip is decoded once more to look for them, at 30
    ms a look of 640 px; those with a face are encoded anew as a whole. Needs the extra `people`; without it clips
    fail."""
    blur: Blur = Blur()
    """How they are found and hidden, and whose are not."""
    audio_kbps: int = Field(128, ge=16, le=512)
    """AAC's bit rate, kbit/s: transparent for speech, good for music in stereo."""

    @model_validator(mode="after")
    def _crf_of_codec(self) -> Clips:
        if self.codec != "av1" and self.crf > 51:
            raise ValueError(f"crf {self.crf} is beyond 51, the most that {self.codec} has")
        return self

    def inputs(self, there: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Where nothing is cut off, another crop box is no reason to write the clips again; nor are other names, where
        nobody is spared."""
        unread = {"crop"} if not self.crop else set()
        if not (self.blur_faces and self.blur.consenting):
            unread.add("faces")
        return super().inputs(set(there) - unread)

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row | Failure]:
        kept = {row["clip_id"] for row in inputs["decisions"].to_pylist() if row["kept"]}
        wanted = [clip for clip in inputs["clips"].to_pylist() if clip["clip_id"] in kept]
        wanted.sort(key=lambda clip: clip["start_pts"])
        if not wanted:
            return
        (source,) = inputs["sources"].to_pylist()
        boxes, known = self._boxes(inputs), self._known(inputs)
        with work.source(source["path"]) as path:
            damaged = sum(row["corrupt_frames"] + row["decode_errors"] for row in inputs["decodes"].to_pylist())
            audio = source["audio_codec"] is not None
            reader = Reader(path, Timing.of(source), source["fps"], audio, damaged, work.progress)
            for clip in wanted:
                try:
                    yield self._write(reader, source, clip, boxes.get(clip["clip_id"]), known, work)
                except Exception as error:
                    yield Failure(clip["clip_id"], error)
                work.progress(clip["end_s"])

    def _boxes(self, inputs: Mapping[str, pa.Table]) -> dict[str, Box]:
        """What to keep of the pictures of those clips of which something is to be cut off."""
        if not self.crop:
            return {}
        if "crop" not in inputs:
            raise ValueError("clips.crop is on, but the recipe has no stage `crop` that says what to cut off")
        rows = inputs["crop"].to_pylist()
        return {row["clip_id"]: tuple(row["box"]) for row in rows if row["box"] and row["reasons"]}

    def _known(self, inputs: Mapping[str, pa.Table]) -> list[Row]:
        """Faces by name, where some are not to be blurred."""
        if not (self.blur_faces and self.blur.consenting):
            return []
        if "faces" not in inputs:
            raise ValueError("clips.blur.consenting names people, but the recipe has no stage `faces` that finds them")
        return inputs["faces"].to_pylist()

    def _write(self, reader: Reader, source: Row, clip: Row, box: Box | None, known: list[Row], work: Workspace) -> Row:
        how = Encoding(
            self.mode,
            self.crf,
            self.preset,
            self.keyframe_s,
            self.audio_kbps * 1000,
            self.codec,
            self.max_gop_s,
        )
        out = work.scratch / "clip.mp4"
        span = _span(source, clip)
        known = [face for face in known if face["clip_id"] == clip["clip_id"]]
        places = hidden(reader, span, self.blur, known) if self.blur_faces else None
        written = write_clip(reader, span, how, out, box, places.at if places else None)
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
            "mode": written.mode,
            "encoded_frames": written.encoded,
            "why": written.why,
            "crop": list(box) if box else None,
        }


def _span(source: Row, clip: Row) -> Span:
    """The clip with the place to decode from, as in the analysis."""
    lead = lead_of(source["split_pts"], clip["start_pts"])
    return Span(clip["start_pts"], clip["end_pts"], clip["start_s"], clip["end_s"], lead, clip["frames"])
