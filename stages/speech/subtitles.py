"""Subtitles that come with a source, in a file beside it or in a track within it: better text than any recognition.

They are other people's files: bounded in size, read as text, never followed anywhere. What cannot be read is said in
the row, and the sound is listened to instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from html import unescape
from itertools import islice
from pathlib import Path

import av
import pysubs2

from curate.media.container import open_media
from curate.media.video import Timing
from stages.speech.cues import Cue, lines, marked

SUFFIXES = (".vtt", ".srt")
"""Kinds of files, the better first: WebVTT can say who speaks."""
MOST_BYTES = 8 * 2**20
"""Of a file: a film's subtitles have 0.1 MB."""
MOST_CUES = 50_000
"""Of a source: twenty hours of dense talk."""
MOST_TEXT = 4000
"""Letters of a cue, formatting and all: pysubs2 takes time that grows with the square of them."""
LANGUAGE = re.compile(r"^[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,2}$")
TEXT_CODECS = ("subrip", "srt", "mov_text", "webvtt", "ass", "ssa", "text")
BEYOND = 0.5
"""Share of cues past the source's end from which subtitles belong to another film."""
NOT_A_CUE = re.compile(r"\A(?:NOTE|STYLE|REGION)(?:[ \t\n]|\Z)")


class SubtitleError(Exception):
    """Subtitles that are there and cannot be used; the message names them and says why."""


@dataclass(frozen=True)
class Subtitles:
    """The lines that came with a source.

    Attributes:
        origin: `subtitle file` or `subtitle track`.
    """

    lines: list[Cue]
    origin: str
    language: str | None


def beside(path: str, language: str | None, seconds: float) -> Subtitles | None:
    """The file beside a local source that has its name, with or without a language before its suffix; None: no file.

    Args:
        language: which to take of several, BCP 47's first part; None takes the one without a language, else the first.

    Raises:
        SubtitleError: the file cannot be used.
    """
    found = sorted(_files(Path(path)), key=lambda f: (not _same(f[1], language), f[1] is not None, f[2], f[0].name))
    if not found or (language and found[0][1] and not _same(found[0][1], language)):
        return None
    place, spoken, _ = found[0]
    return Subtitles(_within(read(place), seconds, place.name), "subtitle file", spoken)


def _files(source: Path) -> Iterator[tuple[Path, str | None, int]]:
    try:
        names = [entry for entry in source.parent.iterdir() if entry.name.startswith(f"{source.stem}.")]
    except OSError:
        return
    for place in names:
        middle = place.name[len(source.stem) : -len(place.suffix)].strip(".")
        if place.suffix.lower() in SUFFIXES and (not middle or LANGUAGE.match(middle)):
            yield place, middle or None, SUFFIXES.index(place.suffix.lower())


def _same(spoken: str | None, wanted: str | None) -> bool:
    return (spoken or "").split("-")[0].lower() == (wanted or "").split("-")[0].lower()


def read(place: Path) -> list[Cue]:
    """The cues of a .srt or .vtt file.

    Raises:
        SubtitleError: it is no regular file, is too large, or holds no cue.
    """
    if place.is_symlink() or not place.is_file():
        raise SubtitleError(f"{place.name}: is no regular file; put a copy there")
    try:
        with place.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SubtitleError(f"{place.name}: cannot be read ({error.strerror})") from None
    if len(data) > MOST_BYTES:
        raise SubtitleError(f"{place.name}: has more than {MOST_BYTES >> 20} MiB; it is no subtitle file")
    text = _text(data).replace("\r\n", "\n").replace("\r", "\n")
    kind = place.suffix.lower()[1:]
    if kind == "vtt":
        if not text.startswith("WEBVTT"):
            raise SubtitleError(f"{place.name}: does not begin with WEBVTT, so it is no WebVTT file")
        blocks = re.split(r"\n{2,}", text)
        text = marked("\n\n".join(block for block in blocks if not NOT_A_CUE.match(block)))
    try:
        events = pysubs2.SSAFile.from_string(text, format_=kind)
    except Exception as error:  # pysubs2 raises errors of many kinds
        raise SubtitleError(f"{place.name}: cannot be read as .{kind} ({error})") from None
    plain = unescape if kind == "vtt" else str
    cues = [Cue(e.start / 1000, e.end / 1000, plain(_plain(e.text))) for e in events[:MOST_CUES]]
    if not cues:
        raise SubtitleError(f"{place.name}: holds no cue; it is empty or of another format than .{kind}")
    return cues


def _plain(text: str) -> str:
    """The start of a cue's text without its formatting."""
    return pysubs2.SSAEvent(text=text[:MOST_TEXT]).plaintext


def _text(data: bytes) -> str:
    """UTF-8 or UTF-16 by their marks, else UTF-8 if it is valid, else Windows-1252, in which old .srt files are."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _within(cues: list[Cue], seconds: float, name: str) -> list[Cue]:
    """The lines of the cues that lie within the source.

    Raises:
        SubtitleError: most lie past its end, or there is none.
    """
    timed = [cue for cue in cues if 0 <= cue.start_s < cue.end_s]
    inside = [cue for cue in timed if cue.start_s < seconds]
    if len(timed) - len(inside) > BEYOND * len(timed):
        late = max(cue.end_s for cue in timed)
        raise SubtitleError(f"{name}: goes on to {late:.0f} s, the source to {seconds:.0f} s; it is another film's")
    cut = [Cue(cue.start_s, min(cue.end_s, seconds), cue.text) for cue in inside]
    found = list(islice(lines(cut), MOST_CUES))
    if not found:
        raise SubtitleError(f"{name}: has no cue with text and times that can be used")
    return found


def inside(path: str, timing: Timing, language: str | None, seconds: float) -> Subtitles | None:
    """The text track within a source: the wanted language's, else the default, else the first; None: no text track.

    Raises:
        SubtitleError: there is one, and it holds no text that can be used.
    """
    zero = float(timing.start_pts * timing.base)
    with open_media(path) as container:
        able = [s for s in container.streams.subtitles if s.codec_context and s.codec_context.name in TEXT_CODECS]
        forced, default = av.stream.Disposition.forced, av.stream.Disposition.default
        able = [s for s in able if not s.disposition & forced]  # those tell foreign lines only
        if not able:
            return None
        order = lambda s: (not _same(_tag(s), language), not s.disposition & default, s.index)  # noqa: E731
        stream = min(able, key=order) if language else min(able, key=lambda s: order(s)[1:])
        cues: list[Cue] = []
        try:
            for packet in container.demux(stream):
                base = packet.time_base or Fraction(1, 1000)
                if packet.pts is None or not packet.size:
                    continue
                start = float(packet.pts * base) - zero
                end = start + float((packet.duration or 0) * base)
                cues += [Cue(start, end, text) for text in _texts(packet) if text.strip()]
                if len(cues) >= MOST_CUES:
                    break
        except av.error.FFmpegError:
            pass  # what could be read before the damage is used
        if not cues:
            raise SubtitleError("the subtitle track holds no text")
        return Subtitles(_within(cues, seconds, "the subtitle track"), "subtitle track", _tag(stream))


def _texts(packet: av.Packet) -> Iterator[str]:
    try:
        decoded = packet.decode()
    except av.error.FFmpegError:
        return  # a damaged cue; its neighbours go on
    for subtitle in decoded:
        dialogue = getattr(subtitle, "dialogue", None)
        if dialogue:
            yield _plain(dialogue.decode("utf-8", "replace").replace("\n", "\\N"))


def _tag(stream: av.stream.Stream) -> str | None:
    tag = stream.metadata.get("language")
    return tag if tag and tag != "und" and LANGUAGE.match(tag) else None
