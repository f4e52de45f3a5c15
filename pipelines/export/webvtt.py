"""WebVTT: captions that a player shows over the video, for a take's file and for the whole source."""

from __future__ import annotations

import html
from collections.abc import Iterable
from itertools import groupby

from curate.stage import Row
from pipelines.export.folder import Out
from pipelines.export.taken import Taken, line


def webvtt(taken: Taken, out: Out, prompts: int) -> int:
    """`clips/<clip>.vtt` beside `clips/<clip>.mp4`; `sources/<source>.<level>.vtt` in the source's own time, a file a
    level, so that no two cues cover each other, and `sources/sources.json` that says of which file each is."""
    for take in taken.takes:
        out.media(f"clips/{take.clip_id}.mp4", take.media)
        out.text(f"clips/{take.clip_id}.vtt", cues(take.timeline))
    paths = {}
    for (source_id, level), nodes in groupby(
        sorted(taken.spans, key=lambda s: (s["source_id"], s["level"], s["start_s"])),
        lambda s: (s["source_id"], s["level"]),
    ):
        spans = list(nodes)
        paths[source_id] = spans[0]["path"]
        out.text(f"sources/{source_id}.{level}.vtt", cues(spans))
    out.json("sources/sources.json", paths)
    return len(taken.takes)


def cues(nodes: Iterable[Row]) -> str:
    """A file of cues. Text is escaped, so that nothing in it is markup or, as `-->`, the next cue."""
    parts = ["WEBVTT\n"]
    for number, node in enumerate(nodes, 1):
        text = html.escape(line(node["text"]), quote=False)
        parts.append(f"\n{number}\n{_clock(node['start_s'])} --> {_clock(node['end_s'])}\n{text}\n")
    return "".join(parts)


def _clock(seconds: float) -> str:
    ms = round(max(0.0, seconds) * 1000)
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"
