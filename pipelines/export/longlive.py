"""LongLive's layouts: prompts that are switched in the course of a video (1.0), and shots on disk (2.0)."""

from __future__ import annotations

from itertools import groupby

from pipelines.export.folder import Out
from pipelines.export.taken import ExportError, Take, Taken, layer_of

LATENTS = 240
"""Latent frames of a video that LongLive 1 generates or trains on at most."""
BLOCK = 3
"""Latent frames that LongLive 1 generates at once: a prompt is switched between two blocks."""

FPS = 24
"""Frame rate to which LongLive 2's loader brings every video."""
FIRST, NEXT = 29, 32
"""Frames of a sample's first block of 8 latents, 1 + 7 * 4, and of each that follows, 8 * 4."""


def longlive1(taken: Taken, out: Out, prompts: int) -> int:
    """`prompts.jsonl`, a row of `prompts` prompts a take, all of one length; `switch_frame_indices.txt` for the config.

    For training, whose videos have one switch, also `prompts.txt` and `switch_prompts.txt`, aligned line by line. A
    model sees one prompt at a time, so that each says again what the take shows. Takes with fewer parts stay out.
    """
    rows = [_restated(take, prompts) for take in taken.takes if len(take.timeline) >= prompts]
    if not rows:
        most = max(len(take.timeline) for take in taken.takes)
        raise ExportError(f"no take has {prompts} captions in a row; the most is {most}: try --prompts {most}")
    out.lines("prompts.jsonl", ({"prompts": row} for row in rows))
    out.text("switch_frame_indices.txt", ",".join(map(str, switches(prompts))) + "\n")
    if prompts > 1:
        out.text("prompts.txt", "".join(f"{row[0]}\n" for row in rows))
        out.text("switch_prompts.txt", "".join(f"{row[1]}\n" for row in rows))
    return len(rows)


def switches(prompts: int) -> list[int]:
    """Latent frames at which the next prompt begins: even parts, on the borders of blocks."""
    return [round(LATENTS * n / prompts / BLOCK) * BLOCK for n in range(1, prompts)]


def _restated(take: Take, prompts: int) -> list[str]:
    """As many of the take's parts, from its first to its last, each after what the take as a whole shows."""
    parts, count = take.timeline, len(take.timeline)
    chosen = [parts[n * (count - 1) // (prompts - 1)] if prompts > 1 else parts[0] for n in range(prompts)]
    subject = layer_of(take.shots[0], "short")
    told = [layer_of(part) for part in chosen]
    return [text if subject in text else f"{subject} {text}" for text in told]


def longlive2(taken: Taken, out: Out, prompts: int) -> int:
    """`video/<source>/000001.mp4` and on, a source's takes in order, and `caption/<source>/000001.json` and on.

    `shot_durations.txt` says how many blocks each lasts. The loader drops what is shorter than a block, and itself says
    "The scene transitions." between takes. A caption that ends in two parts (a take of more than one shot's length) is
    joined: the loader has one for a video.
    """
    count = 0
    for source_id, takes in groupby(taken.takes, lambda take: take.source_id):
        durations: list[int] = []
        for take in takes:
            frames = int(take.duration_s * FPS)
            blocks = frames // NEXT if durations else (frames >= FIRST) + max(0, frames - FIRST) // NEXT
            if not blocks:
                continue
            durations.append(blocks)
            stem = f"{source_id}/{len(durations):06d}"
            out.media(f"video/{stem}.mp4", take.media)
            out.json(f"caption/{stem}.json", {"caption": take.told("text")})
        if durations:
            out.text(f"caption/{source_id}/shot_durations.txt", " ".join(map(str, durations)) + "\n")
        count += len(durations)
    return count
