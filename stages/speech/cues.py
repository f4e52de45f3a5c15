"""What a subtitle cue says and who says it: names, dashes, songs and noises out of its text.

The forms are those of broadcasters' and streaming services' guides: `<v Name>` (WebVTT), `NAME:`, a dash before each of
two speakers, brackets around what is heard and notes around what is sung.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

MOST_LETTERS = 500
"""Of a line; what is longer is no subtitle, and is cut."""
VOICE = re.compile(r"<v(?:\.[\w.-]*)?[ \t]+([^>\n]{1,80})>")
MARKED = re.compile("\ue000([^\ue001]{1,80})\ue001")
"""A voice tag in the form in which it survives the reading of the file."""
NAME = re.compile(r"^([A-Z][A-Z0-9 .'’&-]{0,38}[A-Z0-9.]):[ \n]+(?=\S)")
"""Capitals before a colon. Names in small letters are not told from words such as "Note:"."""
DASH = re.compile(r"^[-–—‐]\s*(?=\S)", re.MULTILINE)
HEARD = re.compile(r"^\s*(?:\[[^\]]*\]|\([^)]*\)|\*[^*]*\*)\s*$", re.DOTALL)
SUNG = re.compile(r"[♩-♬]|^#\s.*\s#$")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


@dataclass(frozen=True)
class Cue:
    """A piece of text with its times, seconds of the source."""

    start_s: float
    end_s: float
    text: str
    speaker: str | None = None
    kind: str = "speech"


def marked(text: str) -> str:
    """A WebVTT file's text with its voice tags so marked that a reader of subtitles leaves them in."""
    return VOICE.sub(lambda tag: f"\ue000{tag[1]}\ue001", text.replace("\ue000", "").replace("\ue001", ""))


def lines(cues: Iterable[Cue]) -> Iterator[Cue]:
    """The lines of cues, one a speaker, in order of time."""
    for cue in sorted(cues, key=lambda c: (c.start_s, c.end_s)):
        parts = [part for part in _parts(CONTROL.sub("", cue.text)) if part[1]]
        letters = sum(len(text) for _, text in parts)
        at = cue.start_s
        for n, (speaker, text) in enumerate(parts):
            # Two speakers share a cue's time by how much they say; nothing else is known.
            last = n == len(parts) - 1
            end = cue.end_s if last else at + (cue.end_s - cue.start_s) * len(text) / letters
            kind = "song" if SUNG.search(text) else "sound" if HEARD.match(text) else "speech"
            yield replace(cue, start_s=at, end_s=end, text=text[:MOST_LETTERS], speaker=speaker, kind=kind)
            at = end


def _parts(text: str) -> Iterator[tuple[str | None, str]]:
    """(speaker or None, what is said) of each speaker in a cue."""
    voices = MARKED.split(text)
    for n, piece in enumerate(voices[0::2]):
        voice = " ".join(voices[2 * n - 1].split()) or None if n else None
        bits = DASH.split(piece.strip())
        for bit in bits if len(bits) > 2 else [DASH.sub("", piece.strip(), count=1)]:
            named = None if voice else NAME.match(bit.strip())
            said = bit.strip()[named.end() :] if named else bit
            yield voice or (_cased(named[1]) if named else None), " ".join(said.split())


def _cased(name: str) -> str:
    """A name in capitals as names are written."""
    return " ".join(word if any(c.isdigit() for c in word) else word.capitalize() for word in name.split())
