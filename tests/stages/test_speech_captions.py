"""What captions make of speech: believed lines are quoted, weak ones never, and no span ends inside any of them."""

import json

import pytest

from curate.dataset import to_arrow
from schemas import boundaries, clips, decisions, motion, quality, sources, speech
from stages.caption.stage import Caption, Tree
from stages.motion.flow import Flow
from tests.stages.looking import clip, run

LENGTH_S = 40.0


def line(start_s, end_s, text, weak=False, voice=1, kind="speech", speaker=None):
    row = {"source_id": "s", "start_s": start_s, "end_s": end_s, "kind": kind, "voice": voice, "text": text}
    return row | {"weak": weak, "origin": "subtitle file", "speaker": speaker}


def told(*lines):
    """(nodes of level clip, captions of the shot) of one take in which these lines are heard."""
    start = {"source_id": "s", "path": "x", "paths": ["x"], "user": "{}", "duration_s": LENGTH_S, "audio_codec": "aac"}
    tables = {
        "clips": to_arrow(clips.TABLE, [clip(0.0, LENGTH_S)]),
        "decisions": to_arrow(decisions.TABLE, [{"clip_id": "c", "source_id": "s", "kept": True, "reasons": []}]),
        "boundaries": to_arrow(boundaries.TABLE, []),
        "motion": to_arrow(motion.TABLE, []),
        "motion_series": to_arrow(Flow.writes, []),
        "picture_series": to_arrow(quality.SERIES, []),
        "sources": to_arrow(sources.SOURCES, [start]),
        "speech": to_arrow(speech.TABLE, list(lines)),
    }
    nodes = run(Tree(), tables)
    rows = run(Caption(), {"tree": to_arrow(Tree.writes, nodes)})
    (shot,) = [row["text"] for row in rows if row["level"] == "shot"]
    return [node for node in nodes if node["level"] == "clip"], shot


def test_believed_lines_are_quoted_with_their_speaker():
    _, shot = told(line(2, 5, "We go now.", speaker="Ann"), line(7, 9, "Why?", voice=2))
    assert 'Ann says: "We go now."' in shot
    assert 'A voice says: "Why?"' in shot


def test_weak_text_sounds_and_songs_are_not_quoted():
    lines = line(2, 5, "when shit she adds yarn", weak=True), line(7, 9, None, voice=2), line(9.2, 9.5, None, voice=3)
    nodes, shot = told(*lines, line(12, 14, "[door slams]", kind="sound"), line(15, 17, "♪ la ♪", kind="song"))
    assert "says" not in shot
    assert "yarn" not in shot
    assert "2 voices are heard." in shot  # the third says less than can be told from a noise
    assert all("door" not in json.dumps(node["facts"]) for node in nodes)
    assert "One voice is heard." in told(lines[0])[1]
    assert "voice" not in told({**line(0, 0, None, voice=None, kind="none"), "unmeasured": "no audio track"})[1]


@pytest.mark.parametrize("weak", [True, False])
def test_no_span_ends_inside_a_line_whether_or_not_it_is_believed(weak):
    free, _ = told()
    inner = [node["start_s"] for node in free[1:]]
    assert inner
    nodes, _ = told(*(line(at - 1, at + 1, "x", weak=weak) for at in inner))
    assert len(nodes) > 1
    assert not [n for n in nodes for at in inner if at - 1 < n["start_s"] < at + 1]
