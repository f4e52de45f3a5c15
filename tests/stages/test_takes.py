"""Takes tile what lies between boundaries, whatever the boundaries, and say what speaks against them."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import boundaries, signals
from stages.takes import Takes

FPS = 25


def edge(start, end, kind="cut", accepted=True, probability=None, why=None):
    return {
        "start_frame": start,
        "end_frame": end,
        "start_s": start / FPS,
        "kind": kind,
        "accepted": accepted,
        "probability": probability,
        "detector": "classifier",
        "why": why,
    }


def takes(frames, edges, times=None, change=None, combing=None, looked=True, **parameters):
    times = np.arange(frames) / FPS if times is None else times
    diff = np.repeat(np.full(frames, 5.0) if change is None else change, 6)
    columns = {
        "source_id": ["0" * 32] * frames,
        "pts": np.round(times * 12800).astype(np.int64),
        "t_s": times,
        "diff": pa.FixedSizeListArray.from_arrays(pa.array(diff, pa.float32()), 6),
        "combing": [None] * frames if combing is None else combing,
    }
    schema = signals.TABLE.schema.empty_table().select(list(columns)).schema
    seen = pa.table({n: pa.array(c, schema.field(n).type) if n != "diff" else c for n, c in columns.items()})
    end = {**edge(frames, frames, "end"), "detector": "classifier, decoder"}
    rows = [*edges, end] if looked else edges
    names = Takes.reads["boundaries"]
    found = pa.Table.from_pylist(
        [{n: r[n] for n in names} for r in rows], boundaries.TABLE.schema.empty_table().select(names).schema
    )
    return list(Takes(**parameters).run({"signals": seen, "boundaries": found}, None))


@st.composite
def films(draw):
    frames = draw(st.integers(1, 400))
    starts = draw(st.lists(st.integers(1, frames - 1), unique=True, max_size=8)) if frames > 1 else []
    edges = []
    for start in sorted(starts):
        length = draw(st.integers(0, 20))
        kind = draw(st.sampled_from(["cut", "jump", "gap"] if not length else ["dissolve", "fade", "wipe"]))
        edges.append(edge(start, min(frames, start + length), kind))
    return frames, edges


@given(films(), st.integers(0, 5), st.integers(0, 5))
def test_takes_and_transitions_and_what_erosion_takes_fill_the_film(film, hard, gradual):
    frames, edges = film
    found = takes(frames, edges, erode_hard=hard, erode_gradual=gradual, erode_wipe=gradual)
    kept = np.zeros(frames, int)
    for take in found:
        kept[take["start_frame"] : take["end_frame"]] += 1
        assert take["frames"] == take["end_frame"] - take["start_frame"] > 0
        assert take["duration_s"] == pytest.approx(take["frames"] / FPS if frames > 1 else 0)
    assert kept.max(initial=0) <= 1
    lost, mixed = np.zeros(frames, bool), np.zeros(frames, bool)
    for e in edges:
        width = hard if e["kind"] in ("cut", "jump", "gap") else gradual
        lost[max(0, e["start_frame"] - width) : e["end_frame"] + width] = True
        mixed[e["start_frame"] : e["end_frame"]] = True
    assert kept[~lost].all()
    assert not kept[mixed].any()
    assert len({take["clip_id"] for take in found}) == len(found)


@given(films(), st.floats(0.1, 5))
def test_parts_of_long_takes_leave_nothing_out(film, longest):
    frames, edges = film
    whole, parts = takes(frames, edges), takes(frames, edges, max_s=longest)
    assert sum(t["frames"] for t in whole) == sum(t["frames"] for t in parts)
    assert all(t["duration_s"] <= longest + 1 / FPS + 1e-6 for t in parts)


def test_where_nobody_looked_for_boundaries_there_are_no_takes():
    assert takes(100, [], looked=False) == []


def test_a_long_take_stays_whole():
    (take,) = takes(90_000, [])
    assert take["duration_s"] == 3600
    assert take["long_enough"]


def test_boundaries_are_right_in_time_where_the_rate_varies():
    times = np.cumsum([0, *[0.02, 0.02, 0.3, 0.04] * 100])
    one, two = takes(len(times), [edge(200, 200)], times=times, erode_hard=0)
    assert (one["end_frame"], one["end_s"]) == (200, pytest.approx(times[200]))
    assert (two["start_frame"], two["start_pts"]) == (200, round(times[200] * 12800))
    assert two["longest_frame_s"] == pytest.approx(0.3)


def test_the_certificate_names_the_strongest_doubt():
    weak = edge(50, 50, "jump", accepted=False, probability=0.2, why="less likely than 0.5")
    strong = edge(120, 130, "dissolve", accepted=False, probability=0.4, why="less likely than 0.5")
    one, two = takes(400, [weak, strong, edge(200, 200)])
    assert (one["doubt_kind"], one["doubt_frame"], one["doubt"]) == ("dissolve", 120, pytest.approx(0.4))
    assert one["confidence"] == pytest.approx(0.8 * 0.6)
    assert (two["doubt"], two["doubt_kind"], two["confidence"]) == (0, None, 1)
    assert one["detectors"] == "classifier, decoder"


def test_frozen_and_still_stretches_are_marked_and_not_cut():
    change = np.full(500, 5.0)
    change[100:200] = 0
    change[150] = 1.0  # a key frame renews the noise of a frozen picture
    change[300:400] = 0.2
    (take,) = takes(500, [], change=change)
    (frozen, still) = take["still"]
    assert (frozen["kind"], frozen["start_s"], frozen["end_s"]) == ("frozen", pytest.approx(3.96), pytest.approx(8))
    assert (still["kind"], still["start_s"], still["end_s"]) == ("still", pytest.approx(11.96), pytest.approx(16))


@pytest.mark.parametrize(
    ("burst", "scan"),
    [
        ([0.01] * 5, "progressive"),
        ([0.2] * 5, "interlaced"),
        ([0.01, 0.01, 0.2, 0.15, 0.01], "telecine"),
        ([None] * 5, None),
    ],
)
def test_scan_is_what_the_bursts_show(burst, scan):
    (take,) = takes(250, [], combing=[*burst, *[None] * 20] * 10)
    assert take["scan"] == scan
