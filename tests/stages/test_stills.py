"""Stills kept from the shared decode of real footage."""

import numpy as np

from curate import analyze
from curate.media.probe import probe
from curate.media.video import Decode, Timing
from schemas import stills
from stages.stills import opened


def test_a_still_a_second_is_kept_as_the_decoder_showed_it(footage):
    path = str(footage / "footage/takes/panda_s1.mp4")
    source = {"source_id": "s", "path": path} | probe(path)
    _, tables = analyze.analyze(path, source, {"stills": {}}, analyze.Interval().dump(), lambda _: None)
    rows = tables[stills.TABLE.name].to_pylist()
    assert len(rows) == np.ceil(source["duration_s"])
    shown = {frame.frame_number: frame for frame in numbered(path, {row["frame"] for row in rows})}
    for row in rows:
        kept = opened(row["jpeg"])
        assert (row["width"], row["height"]) == (kept.shape[1], kept.shape[0]) == (640, 360)
        assert row["pts"] == shown[row["frame"]].pts
        assert np.abs(kept.astype(int) - shown[row["frame"]].picture(640)).mean() < 4


def numbered(path, numbers):
    for number, frame in enumerate(Decode(path, Timing.of(probe(path)))):
        if number in numbers:
            frame.frame_number = number
            yield frame


def test_vectors_and_packet_sizes_come_with_the_frames_where_asked_for(footage):
    path = str(footage / "footage/takes/panda_s1.mp4")
    timing = Timing.of(probe(path))
    frames = list(zip(Decode(path, timing), Decode(path, timing, vectors=True), strict=False))
    assert all(plain.vectors is None for plain, _ in frames)
    assert np.mean([asked.vectors is not None for _, asked in frames]) > 0.9
    assert frames[0][1].vectors is None
    assert all(asked.coded_bytes for _, asked in frames)
    assert all((a.bgr == b.bgr).all() for a, b in frames[:20])
