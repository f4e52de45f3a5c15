"""`speech`: who speaks when in a source, and what is said, from its subtitles or by recognition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.media.video import Timing
from curate.stage import Row, RowStage, Workspace
from schemas import Table, speech
from stages import looks
from stages.speech import diarization, embedders, events, language, subtitles, transcribers, transcription
from stages.speech.cues import Cue
from stages.speech.diarization import Turn
from stages.speech.events import Events
from stages.speech.sound import NoSoundError, Sound, decoded
from stages.speech.subtitles import SubtitleError, Subtitles

MARGIN_S = 0.2
"""Before and after speech that a transcriber hears too, so that no sound of a word is cut off, where nobody else
speaks: Silero's and faster-whisper's padding is 0.03 to 0.4 s."""


@dataclass(frozen=True)
class _Heard:
    """What came of listening: the sound and its turns, or why there are none."""

    sound: Sound | None
    turns: list[Turn]
    why_not: str | None
    model: str | None = None
    events: Events | None = None


class Speech(RowStage):
    """Who speaks when. An hour takes one and a half to two minutes on one core, transcription apart.

    Subtitle files are looked for beside local sources only. One that is added later is not noticed by itself: change a
    parameter, or give a new dataset.
    """

    name: ClassVar[str] = "speech"
    writes: ClassVar[Table] = speech.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "sources": ("source_id", "path", "duration_s", "time_base_num", "time_base_den", "start_pts", "rotation"),
    }
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {"screening": looks.SCREENING}
    opens_media: ClassVar[bool] = True

    every_source: bool = False
    """Whether sources of which `screen` leaves no take are listened to, too."""
    subtitles: bool = True
    """Whether text is taken from a `.vtt` or `.srt` file of the source's name beside it, or a text track in it."""
    language: str | None = Field(None, pattern=r"^[a-z]{2,3}$")
    """Which subtitles are taken where there are several, ISO 639; by default those without a language or marked as
    default, else the first."""
    transcriber: transcribers.Name = "pocketsphinx"
    """Who writes down what no subtitle has: `pocketsphinx` (English, weak: its text is never quoted; about as slow as
    the talk itself), `faster-whisper` or `transformers` with a `model` of yours, or `none`: times and voices only."""
    model: str = ""
    """For `faster-whisper` the folder of a Whisper model in CTranslate2's form; for `transformers` a folder with a
    Whisper or Parakeet (CTC, TDT) model in .safetensors, or a repository on Hugging Face."""
    revision: str = "main"
    """Of that repository: a commit makes runs repeatable."""
    spoken: str | None = Field(None, pattern=r"^[a-z]{2,3}$")
    """The language that is spoken, ISO 639-1, told to Whisper; by default Whisper tells it, once a source."""
    device: transcribers.Device = "auto"
    """Where the model runs; `auto` is a GPU where there is one."""
    compute: transcribers.Compute = "auto"
    """How it computes; `auto` is as it was saved (faster-whisper), else float32 on a CPU and bfloat16 on a GPU. `int8`
    is the fastest for faster-whisper on a CPU."""
    batch: int = Field(8, ge=1, le=256)
    """Spans of up to 30 s that the model is given at once: faster-whisper's default. A span takes 2.4 MB as Whisper
    hears it, and its decoding some tens of MB."""
    events: bool = True
    """Whether music and noise are told, and how much music is under each line, at a three-hundredth of the sound's
    length."""
    vad: float = Field(0.5, gt=0, lt=1)
    """Silero's probability from which there is speech: its authors' default."""
    embedder: str = embedders.DEFAULT
    """What makes vectors of voices: `campplus`, which ships, or the path of an .onnx file as WeSpeaker and 3D-Speaker
    export them (ResNet34-LM, ECAPA-TDNN, ERes2Net). Another one needs another `distance`."""
    embedder_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{8,64}$")
    """What the file must hash to, its first digits at least; none takes any."""
    distance: float = Field(0.475, gt=0, lt=1)
    """Mean cosine distance of embeddings up to which groups of stretches are one voice. It is CAM++'s: another embedder
    has its own, to be set on films of yours whose voices are known. On four films of 2 to 4 voices, not those that are
    judged but with voices of the same four readers, everything from 0.45 to 0.55 was without fault: within a voice
    groups merge up to 0.38, and two voices not below 0.57."""
    sure_s: float = Field(1.5, ge=0)
    """Seconds of speech from which a stretch may make a voice of its own: the window of 3D-Speaker, whose network CAM++
    is. Shorter ones join the nearest voice, if one is near and clearly nearest."""
    gap_s: float = Field(0.5, ge=0)
    """Pause up to which turns of one voice are one line: most pauses within a sentence are shorter."""
    line_s: float = Field(10.0, gt=0)
    """Longest line, seconds; longer ones are parted at their longest pauses. No span of a caption ends inside a line,
    so it is as long as the longest clip of `tree`."""

    def faults(self, schemas: Mapping[str, pa.Schema]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        if wrong := transcribers.fault(self.transcriber, self.model, self.compute):
            yield (wrong[0],), wrong[1]
        if missing := embedders.fault(self.embedder):
            yield ("embedder",), missing

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        (source,) = inputs["sources"].to_pylist()
        screened = inputs.get("screening")
        if screened is not None and not self.every_source and not any(screened.column("kept").to_pylist()):
            yield self._none(source["source_id"], "screening left none of its takes", None)
            return
        timing, seconds = Timing.of(source), float(source["duration_s"] or 0)
        with work.source(source["path"]) as path:
            written, trouble = self._written(path, timing, seconds)
            heard = self._heard(path, timing, seconds, work)
            rows = list(self._rows(written, heard, work))
        if heard.why_not and rows:
            trouble = f"{trouble}; {heard.why_not}" if trouble else heard.why_not
        if not rows:
            yield self._none(source["source_id"], heard.why_not or "nobody is heard to speak", trouble)
        for row in sorted([*rows, *_events(heard)], key=lambda row: (row["start_s"], row["end_s"])):
            yield {"source_id": source["source_id"], "trouble": trouble, **row}

    def _none(self, source_id: str, why: str, trouble: str | None) -> Row:
        times = {"source_id": source_id, "start_s": 0.0, "end_s": 0.0}
        return times | {"kind": "none", "weak": False, "origin": "none", "unmeasured": why, "trouble": trouble}

    def _written(self, path: str, timing: Timing, seconds: float) -> tuple[Subtitles | None, str | None]:
        """The first subtitles that can be used, and what is wrong with those before them."""
        wrong: list[str] = []
        if self.subtitles:
            for attempt in (
                lambda: subtitles.beside(path, self.language, seconds),
                lambda: subtitles.inside(path, timing, self.language, seconds),
            ):
                try:
                    found = attempt()
                except SubtitleError as error:
                    wrong.append(str(error))
                    continue
                if found:
                    return found, "; ".join(wrong) or None
        return None, "; ".join(wrong) or None

    def _heard(self, path: str, timing: Timing, seconds: float, work: Workspace) -> _Heard:
        try:
            sound = decoded(path, timing, seconds, work.scratch, work.progress)
        except NoSoundError as error:
            return _Heard(None, [], str(error))
        embed = embedders.embedder(self.embedder, self.embedder_sha256)
        how = (self.distance, self.sure_s, self.gap_s, self.line_s, self.vad)
        found = diarization.turns(sound, embed, *how, work.progress)
        chosen = None if sound.tracks == 1 else f"audio track {sound.track + 1} of {sound.tracks} was listened to"
        heard = events.events(sound, work.progress) if self.events else None
        return _Heard(sound, found, chosen, diarization.model(embed), heard)

    def _rows(self, written: Subtitles | None, heard: _Heard, work: Workspace) -> Iterator[Row]:
        """Lines: those of the subtitles, and the turns that they leave out."""
        turns, sound = heard.turns, heard.sound
        overlaps = list(diarization.overlaps(turns))
        start, end = (np.array([getattr(t, name) for t in turns]) for name in ("start_s", "end_s"))
        told = np.zeros(len(turns), bool)
        found: list[Row] = []
        spoken: Row = {}
        if written:
            spoken = {"language": written.language, "language_from": "tag"}
            if not written.language:
                spoken = _language(cue.text for cue in written.lines if cue.kind == "speech")
        for cue in written.lines if written else ():
            assert written is not None  # noqa: S101 - for the type checker
            within = np.flatnonzero((start < cue.end_s) & (end > cue.start_s))
            told[within] |= cue.kind != "sound"
            row = _line(cue, [(turns[n], overlaps[n]) for n in within.tolist()], heard.model)
            found.append(row | {"origin": written.origin} | spoken)
        left = np.flatnonzero(~told).tolist()
        said = self._transcribed(sound, turns, left, work)
        found += [_turn(turns[n], overlaps[n], heard.model) | said[n] for n in left]
        if heard.events:
            for row in found:
                row["music_share"] = heard.events.music_share(row["start_s"], row["end_s"])
                by_ear = row["kind"] == "speech" and not row["origin"].startswith("subtitle")
                if by_ear and heard.events.sung(row["start_s"], row["end_s"]):
                    row["kind"] = "song"
        yield from found

    def _transcribed(self, sound: Sound | None, turns: list[Turn], left: list[int], work: Workspace) -> dict[int, Row]:
        """What is said in each of the turns that no subtitle tells, by number."""
        if sound is None or self.transcriber == "none" or not left:
            return {n: {"origin": "none"} for n in left}
        writer = transcribers.transcriber(
            self.transcriber, self.model, self.revision, self.spoken, self.device, self.compute, self.batch
        )
        assert writer is not None  # noqa: S101 - for the type checker
        margin_s = MARGIN_S if writer.joins else 0.0
        spans = transcription.spans(turns, left, writer.longest_s, writer.joins, margin_s)
        told = writer(sound, spans, work.progress)
        words = transcription.assigned(turns, spans, told.words)
        lines = {n: transcription.line(turns[n], words[n], writer.weak) for n in left if words.get(n)}
        spoken: Row = {}
        if told.language and not writer.weak:
            spoken = {"language": told.language, "language_confidence": told.language_sure}
            spoken["language_from"] = "transcriber"
        elif not writer.weak:
            spoken = _language(line["text"] for line in lines.values())
        blank: Row = {"origin": writer.name, "weak": writer.weak}
        return {n: blank | (lines[n] | spoken if n in lines else {}) for n in left}


def _events(heard: _Heard) -> Iterator[Row]:
    """Rows of music and noise."""
    for kind, start_s, end_s in heard.events.spans(heard.turns) if heard.events else ():
        times = {"start_s": start_s, "end_s": min(end_s, heard.sound.seconds if heard.sound else end_s)}
        yield times | {"kind": kind, "weak": False, "origin": "none", "model": events.MODEL}


def _language(texts: Iterable[str]) -> Row:
    """The columns about the language of lines that nothing else tells of."""
    spoken, sure = language.told(texts)
    return {"language": spoken, "language_confidence": sure, "language_from": "text" if spoken else None}


def _turn(turn: Turn, overlap_s: float, model: str | None) -> Row:
    voice = turn.voice + 1 or None
    times = {"start_s": turn.start_s, "end_s": turn.end_s, "kind": "speech", "weak": False, "model": model}
    return times | {"voice": voice, "voice_margin": turn.margin, "overlap_s": overlap_s}


def _line(cue: Cue, heard: list[tuple[Turn, float]], model: str | None) -> Row:
    """A subtitle's line with the voice that is heard for most of it.

    Args:
        heard: the turns that it touches, each with how long another voice sounds in it.
    """
    row: Row = {"start_s": cue.start_s, "end_s": cue.end_s, "kind": cue.kind, "text": cue.text, "weak": False}
    if cue.kind != "speech":
        return row
    row["speaker"] = cue.speaker
    if not heard:
        return row
    shares: dict[int, float] = defaultdict(float)
    for turn, _ in heard:
        shares[turn.voice] += min(turn.end_s, cue.end_s) - max(turn.start_s, cue.start_s)
    voice = max(shares, key=lambda v: shares[v])
    mine = [(turn.margin, overlap) for turn, overlap in heard if turn.voice == voice]
    row["overlap_s"] = min(sum(overlap for _, overlap in mine), cue.end_s - cue.start_s)
    margin = min((margin for margin, _ in mine if margin is not None), default=None)
    return row | {"model": model, "voice": voice + 1 or None, "voice_margin": margin}
