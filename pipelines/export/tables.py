"""The lists of Open-Sora, Panda-70M, LVD-2M (CSV) and VideoX-Fun (JSON), with their columns exactly.

Lists in a cell of a CSV are Python literals.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from pipelines.export.folder import Out
from pipelines.export.taken import Take, Taken, layer_of

OPEN_SORA = (
    *("path", "text", "num_frames", "width", "height", "aspect_ratio", "resolution", "fps", "text_len"),
    *("cmotion", "id"),
)
"""The first six are what its trainer asks for; scores of networks that did not run here are left out, not made up."""

PANDA = ("url", "timestamp", "caption", "matching_score", "desirable_filtering", "shot_boundary_detection")

LVD2M = (
    *("raw_caption", "refined_caption", "rewritten_caption", "key", "video_id", "url", "dataset_src", "orig_caption"),
    *("total score", "span", "video_time", "orig_span", "scene_cut"),
)


def open_sora(taken: Taken, out: Out, prompts: int) -> int:
    """`meta.csv`, a row a take, and the files under `videos/`; `path` counts from the folder of the CSV."""
    out.csv("meta.csv", OPEN_SORA, [_open_sora(take, out) for take in taken.takes])
    return len(taken.takes)


def _open_sora(take: Take, out: Out) -> dict[str, Any]:
    text = take.told("text")
    return {
        "path": out.media(f"videos/{take.clip_id}.mp4", take.media),
        "text": text,
        "num_frames": take.frames,
        "width": take.width,
        "height": take.height,
        "aspect_ratio": take.height / take.width,
        "resolution": take.height * take.width,
        "fps": take.fps,
        "text_len": len(text.split()),
        "cmotion": take.camera or "",
        "id": take.clip_id,
    }


def videox_fun(taken: Taken, out: Out, prompts: int) -> int:
    """`metadata.json`, an object a take, and the files under `videos/`; paths count from the folder of the JSON."""
    rows = [
        {
            "file_path": out.media(f"videos/{take.clip_id}.mp4", take.media),
            "text": take.told("text"),
            "type": "video",
            "width": take.width,
            "height": take.height,
        }
        for take in taken.takes
    ]
    out.json("metadata.json", rows)
    return len(rows)


def panda(taken: Taken, out: Out, prompts: int) -> int:
    """`panda.csv`, a row a source, whose cells list its takes. Nobody scored how well text and picture match: None."""
    rows = []
    for _, group in groupby(taken.takes, lambda take: take.source_id):
        takes = list(group)
        rows.append(
            {
                "url": _url(takes[0]),
                "timestamp": [[clock(take.start_s), clock(take.end_s)] for take in takes],
                "caption": [take.told("short") for take in takes],
                "matching_score": [None] * len(takes),
                "desirable_filtering": ["desirable"] * len(takes),
                "shot_boundary_detection": [[[clock(0), clock(take.end_s - take.start_s)]] for take in takes],
            }
        )
    out.csv("panda.csv", PANDA, rows)
    return len(taken.takes)


def lvd2m(taken: Taken, out: Out, prompts: int) -> int:
    """`lvd2m.csv`, a row a take, with every layer of its caption."""
    out.csv("lvd2m.csv", LVD2M, [_lvd2m(take) for take in taken.takes])
    return len(taken.takes)


def _lvd2m(take: Take) -> dict[str, Any]:
    span = [_padded(take.start_s), _padded(take.end_s)]
    return {
        "raw_caption": " ".join(f"Caption {n}: {layer_of(shot, 'raw')}" for n, shot in enumerate(take.shots, 1)),
        "refined_caption": take.told("text"),
        "rewritten_caption": take.told("prompt", "short"),
        "key": take.clip_id,
        "video_id": take.source_id,
        "url": _url(take),
        "dataset_src": "longtake",
        "orig_caption": str(take.user.get("caption") or ""),
        "total score": "" if take.flow_px is None else take.flow_px,
        "span": span,
        "video_time": take.duration_s,
        "orig_span": span,
        "scene_cut": [],
    }


def _url(take: Take) -> str:
    return str(take.user.get("url") or take.source)


def clock(seconds: float) -> str:
    """Panda's way to write a time: `0:01:02.345`."""
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"


def _padded(seconds: float) -> str:
    """LVD-2M's way: `00:01:02.345`."""
    return f"{clock(seconds):0>12}"
