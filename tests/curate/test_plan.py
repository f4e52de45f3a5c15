"""Planning: which tasks there are, and what their names depend on."""

import pytest

from curate import plan, recipe
from curate.plan import Segment, State
from stages.motion.flow import Flow

HOUR = 3600


class FarSighted(Flow):
    """A probe that looks back further than an interval's lead reaches."""

    @property
    def lookback_s(self):
        return 10.0


@pytest.fixture
def source():
    return {
        "source_id": "0" * 32, "path": "/films/a.mp4", "paths": ["/films/a.mp4"], "user": "{}", "duration_s": HOUR,
        "seekable": True, "time_base_num": 1, "time_base_den": 1000, "start_pts": 0, "rotation": 0, "fps": 25.0,
        "audio_codec": None, "width": 640, "height": 360, "split_pts": list(range(0, HOUR * 1000, 5000)),
    }  # fmt: skip


def tasks(segment, sources, present=None):
    tables = {s.writes.name: set() for s in segment.stages} | {"decodes": set()}
    return list(plan.source_tasks(segment, State(sources), present or tables, 300.0))


def test_an_hour_is_analysed_in_intervals_that_tile_it(source):
    ((*intervals, last),) = tasks(Segment((Flow(),)), [source])
    assert [t["kind"] for t in intervals] == ["interval"] * 12
    assert last["kind"] == "source"
    spans = [(t["interval"]["start_pts"], t["interval"]["end_pts"]) for t in intervals]
    assert [start for start, _ in spans[1:]] == [end for _, end in spans[:-1]]
    assert spans[0][0] is None
    assert spans[-1][1] is None
    assert all(t["interval"]["lead_pts"] == t["interval"]["start_pts"] - 5000 for t in intervals[1:])


def test_a_probe_that_looks_far_back_gets_its_source_in_one_piece(source):
    ((only,),) = tasks(Segment((FarSighted(),)), [source])
    assert only["kind"] == "source"


def test_a_source_that_cannot_be_seeked_stays_whole(source):
    ((only,),) = tasks(Segment((Flow(),)), [source | {"seekable": False}])
    assert only["intervals"] == 1


def test_a_key_changes_with_content_and_parameters_and_not_with_the_place(source):
    loaded = recipe.load("long_take")
    segment = plan.segments(loaded)[0]
    probes = ["signals", "flow", "vectors", "picture", "stills", "hashes"]
    assert [s.name for s in segment.stages] == [*probes, "cuts", "takes", "motion", "motion_seconds", "quality"]

    def keys(segment, source):
        state = State([source], loaded.tables)
        tables = {s.writes.name: set() for s in segment.stages} | {"decodes": set()}
        list(plan.source_tasks(segment, state, tables, 300.0))
        return {table: found[source["source_id"]] for table, found in state.source_keys.items()}

    before = keys(segment, source)
    assert keys(segment, source | {"path": "/elsewhere/b.mp4", "paths": []}) == before
    assert not set(keys(segment, source | {"source_id": "1" * 32}).values()) & set(before.values())
    other = plan.segments(recipe.load("long_take", ["cuts.threshold=30"]))[0]
    changed = {table for table, key in keys(other, source).items() if key != before[table]}
    assert changed == {"boundaries", "clips", "motion", "motion_seconds", "quality"}


def test_what_was_made_from_a_failure_is_made_anew_with_it(source):
    """Its key is the same: it says from what it was made, not what came to it."""
    segment = plan.segments(recipe.load("long_take"))[0]
    source |= {"seekable": False}
    state = State([source])
    names = {s.writes.name for s in segment.stages} | {"decodes"}
    list(plan.source_tasks(segment, state, {name: set() for name in names}, 300.0))
    there = {name: set(state.source_keys[name].values()) for name in names}
    assert not list(plan.source_tasks(segment, state, there, 300.0))
    ((whole,),) = plan.source_tasks(segment, state, there | {"decodes": set()}, 300.0)
    assert {name for name, _ in whole["stale"]} == names - {"decodes"}
    assert len(whole["probes"]) + len(whole["steps"]) == len(segment.stages)
    ((later,),) = plan.source_tasks(segment, state, there | {"boundaries": set()}, 300.0)
    assert later["decode"] is None
    assert [step["stage"] for step in later["steps"]][:2] == ["cuts", "takes"]
    assert "boundaries" not in {name for name, _ in later["stale"]}
