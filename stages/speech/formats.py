"""RTTM, which diarization is scored in, and WebVTT, which players show, out of rows of `speech`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from curate.stage import Row


def who(row: Row) -> str:
    """How a row's speaker is called."""
    return row["speaker"] or (f"voice {row['voice']}" if row["voice"] else "unknown")


def rttm(rows: Iterable[Row], file: str) -> str:
    """NIST's Rich Transcription Time Marked: a SPEAKER line a spoken line.

    Args:
        file: what the recording is called in it; spaces become underscores, for fields are told by spaces.
    """
    name = _field(file)
    found = []
    for row in rows:
        if row["kind"] == "speech":
            times = f"{row['start_s']:.3f} {row['end_s'] - row['start_s']:.3f}"
            found.append(f"SPEAKER {name} 1 {times} <NA> <NA> {_field(who(row))} <NA> <NA>\n")
    return "".join(found)


def _field(text: str) -> str:
    return re.sub(r"\s+", "_", text.strip()) or "unnamed"


def vtt(rows: Iterable[Row]) -> str:
    """WebVTT with a voice tag a line; text that must not be believed is marked with a question mark before it."""
    cues = [
        f"{_time(row['start_s'])} --> {_time(row['end_s'])}\n{_said(row)}\n"
        for row in rows
        if row["kind"] != "none" and round(row["end_s"] * 1000) > round(row["start_s"] * 1000)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _said(row: Row) -> str:
    if row["kind"] != "speech":
        return _escaped(row["text"] or f"[{row['kind']}]")
    text = _escaped(row["text"] or "…")
    return f"<v {_escaped(who(row))}>{'(?) ' if row['weak'] else ''}{text}"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
