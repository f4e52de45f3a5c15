"""A small dataset with real tars and tables, made without a run, for what only reads one."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from curate import history
from curate.dataset import Dataset, to_arrow
from curate.workspace import open_workspace
from schemas import clips, decisions, ledger, media, motion, shards, sources
from stages.shard import Index, Shard

A_SHARD = 2
"""Clips in a shard."""


def filled(table, **given):
    """A row in which what may not be null has a blank value."""
    blanks = {pa.types.is_nested: [], pa.types.is_string: "", pa.types.is_boolean: False}
    row = {f.name: next((v for is_, v in blanks.items() if is_(f.type)), 0) for f in table.schema if not f.nullable}
    return row | given


def made_dataset(folder: Path, clips: int = 4, user: dict | None = None, seen: list | None = None) -> Path:
    """Write it: each clip is a source of its own, the last one in `val`.

    Args:
        user: columns of the list, of every source.
        seen: what the samples say of who is there.
    """
    place = Dataset(str(folder))
    rows = [_clip(place, number, clips, user or {}, seen) for number in range(clips)]
    tables = [clip[0] for clip in rows]
    for table, key in ((t, t.name) for t in tables[0]):
        _write(place, table, [row[table] for row in tables], key)
    samples = [clip[1] for clip in rows]
    _write(place, shards.SAMPLES, samples, "samples")
    packed = []
    with open_workspace(place.url) as work:
        for name in sorted({sample["shard"] for sample in samples}):
            mine = pa.Table.from_pylist([s for s in samples if s["shard"] == name], schema=shards.SAMPLES.schema)
            packed += list(Shard().run({"samples": mine}, work))
        _write(place, shards.SHARDS, packed, "shards")
        for table in Index().run({"shards": place.scan(shards.SHARDS)}, work):
            place.write_part(Index.writes, "indexes", table, {"stage": "index", "stage_version": 1, "parameters": {}})
    kept = {"name": "kept", "count": clips, "hours": clips * 12 / 3600}
    place.write("summary.json", json.dumps({"funnel": [kept], "states": {}}).encode())
    stages = {"pack": {}, "caption": {"openai": {"url": "http://10.0.0.7/v1"}}, "people": {"cast": "/home/me/cast.csv"}}
    recipe = {"name": "made", "description": "A | table's\nenemy", "stages": stages, "longtake": "0.1.0"}
    place.write("recipe.yaml", json.dumps(recipe).encode())
    with history.recorded(place, "made"):
        pass
    return folder


def _write(place, table, rows, key):
    provenance = {"stage": table.name, "stage_version": 1, "parameters": {}, "versions": {"longtake": "0.1.0"}}
    place.write_part(table, key, to_arrow(table, rows), provenance)


def _clip(place, number, count, user, seen):
    source = f"{number:032x}"
    clip, split = f"{source}-0000000-0000288", "val" if number == count - 1 else "train"
    film = f"clips/{clip}.mp4"
    place.write(film, f"film of {number}".encode() * 100)
    with place.fetch(film) as path:
        import hashlib

        checksum, size = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size
    ids = {"source_id": source, "clip_id": clip}
    told = f"Somebody walks, number {number}."
    node = {"level": "shot", "start_s": 0.0, "end_s": 12.0, "text": told, "prompt": told, "short": None, "model": "vlm"}
    score = {"mean_w_s": 0.1, "backend": "opencv-dis-fast", "camera": None if number < 3 else "static"}
    sample = {
        **ids, "start_s": 0.0, "end_s": 12.0, "duration_s": 12.0, "frames": 288, "fps": 24.0, "width": 64, "height": 36,
        "audio_s": None, "captions": [node], "scores": {"motion": score if number else {}}, "source": user,
    } | ({"seen": seen, "dialogue": []} if seen is not None else {})  # fmt: skip
    shard = "shards/val/000000.tar" if split == "val" else f"shards/train/{number // A_SHARD:06d}.tar"
    place_ = {"shard": shard, "position": 0 if split == "val" else number % A_SHARD, "split": split}
    packed = filled(
        shards.SAMPLES,
        **ids,
        **place_,
        media=film,
        media_sha256=checksum,
        bytes=size,
        json=json.dumps(sample),
        txt=told,
    )
    ledger_row = {"kind": "clip", "path": f"/home/me/{number}.mp4", "state": "kept", "duration_s": 12.0}
    return {
        sources.SOURCES: filled(
            sources.SOURCES, source_id=source, path=f"/home/me/{number}.mp4", user=json.dumps(user)
        ),
        clips.TABLE: filled(clips.TABLE, **ids),
        decisions.TABLE: filled(decisions.TABLE, **ids, kept=True),
        media.TABLE: filled(media.TABLE, **ids, path=film),
        motion.TABLE: filled(motion.TABLE, **ids, **{k: v for k, v in score.items() if v}),
        ledger.TABLE: filled(ledger.TABLE, **ids, **ledger_row),
    }, packed
