"""Takes tile what lies between boundaries, whatever the boundaries."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from schemas import boundaries, signals
from stages.takes import Takes

FPS = 25


def takes(frames, cuts, **parameters):
    times = np.arange(frames) / FPS
    columns = {"source_id": ["0" * 32] * frames, "pts": np.arange(frames) * 512, "t_s": times}
    seen = pa.table(columns, schema=signals.TABLE.schema.empty_table().select(list(columns)).schema)
    found = {"start_frame": [a for a, _ in cuts], "end_frame": [b for _, b in cuts]}
    edges = pa.table(found, schema=boundaries.TABLE.schema.empty_table().select(list(found)).schema)
    return list(Takes(**parameters).run({"signals": seen, "boundaries": edges}, None))


@st.composite
def films(draw):
    frames = draw(st.integers(1, 400))
    starts = draw(st.lists(st.integers(1, frames - 1), unique=True, max_size=8)) if frames > 1 else []
    return frames, [(start, min(frames, start + draw(st.integers(0, 20)))) for start in sorted(starts)]


@given(films(), st.integers(0, 5))
def test_takes_keep_clear_of_boundaries_and_miss_no_other_frame(film, erode):
    frames, cuts = film
    covered = np.zeros(frames, int)
    for take in takes(frames, cuts, erode_frames=erode):
        assert take["start_frame"] < take["end_frame"]
        covered[take["start_frame"] : take["end_frame"]] += 1
        assert take["frames"] == take["end_frame"] - take["start_frame"]
        assert take["duration_s"] == take["end_s"] - take["start_s"]
    assert covered.max(initial=0) <= 1
    forbidden = np.zeros(frames, bool)
    for start, end in cuts:
        forbidden[max(0, start - erode) : end + erode] = True
    assert not covered[forbidden].any()
    # A frame between two boundaries is lost only to erosion or to a transition.
    assert covered[~forbidden].all()


def test_the_ends_of_the_file_are_not_eroded_and_short_takes_are_marked():
    first, second = takes(500, [(300, 300)], min_s=10)
    assert (first["start_frame"], first["end_frame"]) == (0, 297)
    assert (second["start_frame"], second["end_frame"]) == (303, 500)
    assert (first["long_enough"], second["long_enough"]) == (True, False)
    assert second["end_pts"] == 500 * 512


def test_nothing_decoded_is_no_take():
    assert takes(0, []) == []
