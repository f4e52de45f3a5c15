"""The detectors over stored scores cut exactly where PySceneDetect's own cut on the same frames."""

import numpy as np
import pytest
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from curate.media.probe import probe
from curate.media.video import Decode, Timing
from curate.stage import Row
from stages.cuts import Cuts, Signals

ROW = {"source_id": "0" * 32}


@pytest.fixture(scope="module", params=["edited/bbb30.webm", "edited/Megamind.avi", "takes/cockatoo.mp4"])
def film(request, footage):
    """(frames' BGR pictures, rows of signals) of a real file."""
    path = str(footage / "footage" / request.param)
    source = probe(path)
    run = Signals().start(source)
    pictures, rows = [], []
    for number, frame in enumerate(Decode(path, Timing.of(source))):
        pictures.append(frame.bgr)
        rows.append({**ROW, "frame": number, "pts": frame.pts, "t_s": frame.t_s, **(run.update(frame) or {})})
    return pictures, rows


def cut_frames(rows: list[Row], **parameters) -> list[int]:
    from curate.dataset import to_arrow
    from schemas import signals

    found = Cuts(**parameters).run({"signals": to_arrow(signals.TABLE, rows)}, None)
    return [row["start_frame"] for row in found if row["kind"] == "cut"]


def reference(detector, pictures: list[np.ndarray]) -> list[int]:
    found = []
    for number, picture in enumerate(pictures):
        found += [c.frame_num for c in detector.process_frame(FrameTimecode(number, 25.0), picture)]
    found += [c.frame_num for c in detector.post_process(FrameTimecode(len(pictures) - 1, 25.0))]
    return sorted(found)


def test_content_equals_the_library(film):
    pictures, rows = film
    assert cut_frames(rows, detector="content") == reference(ContentDetector(27.0, min_scene_len=0), pictures)


def test_adaptive_equals_the_library(film):
    pictures, rows = film
    assert cut_frames(rows, detector="adaptive") == reference(AdaptiveDetector(3.0, min_scene_len=0), pictures)


def test_union_has_the_cuts_of_both(film):
    _, rows = film
    both = {*cut_frames(rows, detector="content"), *cut_frames(rows, detector="adaptive")}
    assert set(cut_frames(rows, detector="union")) == both


def test_lost_packets_are_boundaries(film):
    _, rows = film
    damaged = [{**row, "errors_before": 3 if row["frame"] == 40 else 0} for row in rows]
    from curate.dataset import to_arrow
    from schemas import signals

    found = Cuts().run({"signals": to_arrow(signals.TABLE, damaged)}, None)
    assert [r["start_frame"] for r in found if r["kind"] == "gap"] == [40]
