"""Who is one person, on made-up embeddings: what may never happen does not, whatever the tracks."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dataset import to_arrow
from schemas import faces
from stages.faces import clusters
from stages.faces.cast import Cast
from stages.faces.people import People
from tests.stages.looking import run


def track(number, embedding, times):
    return {
        "source_id": "s",
        "track_id": f"t{number:02d}",
        "clip_id": "c",
        "start_s": float(min(times)),
        "end_s": float(max(times)) + 0.5,
        "times_s": [float(t) for t in times],
        "detections": len(times),
        "quality": 0.5,
        "embedding": [float(x) for x in embedding],
        "portrait": b"",
    }


@st.composite
def sources(draw):
    """Tracks of up to four people, so near each other that only a shared still tells them apart."""
    seed, count = draw(st.integers(0, 2**16)), draw(st.integers(1, 12))
    rng = np.random.default_rng(seed)
    faces_of = rng.normal(0, draw(st.sampled_from([0.0, 0.01, 0.05])), (4, 128))
    times = [draw(st.lists(st.integers(0, 8), min_size=1, max_size=3, unique=True)) for _ in range(count)]
    return [track(n, faces_of[rng.integers(4)] + rng.normal(0, 0.01, 128), t) for n, t in enumerate(times)], rng


@settings(max_examples=150, deadline=None)
@given(sources(), st.booleans(), st.sampled_from([0.2, 0.45, 1.0]))
def test_no_two_tracks_that_share_a_still_are_one_person(made, with_cast, same):
    rows, rng = made
    cast = Cast(("a", "b"), (0, 1, 1), rng.normal(0, 0.02, (3, 128))) if with_cast else None
    people = People(same=same, cast_margin=0).people(rows, cast)
    assert sorted(n for person in people for n in person.tracks) == list(range(len(rows)))
    for person in people:
        seen = [t for n in person.tracks for t in rows[n]["times_s"]]
        assert len(seen) == len(set(seen))
        assert {n for merge in person.merges for n in (*merge.one, *merge.other)} <= set(person.tracks)
        assert len(person.merges) == len(person.tracks) - 1
        assert all(merge.between <= merge.distance + 1e-9 for merge in person.merges)
    names = [person.name for person in people if person.name]
    assert len(names) == len(set(names))


@settings(max_examples=60, deadline=None)
@given(sources())
def test_the_evidence_tells_how_each_person_came_to_be(made):
    rows, _ = made
    for person in People().people(rows, None):
        groups = {(n,) for n in person.tracks}
        for merge in person.merges:
            groups -= {merge.one, merge.other}
            groups.add(tuple(sorted(merge.one + merge.other)))
        assert groups == {tuple(person.tracks)}


def test_a_chain_of_likenesses_is_not_one_person():
    """Each face is near the next, the ends are far apart: single linkage would make all of them one."""
    steps = [np.eye(128)[0] * 0.3 * n for n in range(6)]
    groups, merges = clusters.grouped(clusters.distances(np.array(steps)), np.zeros((6, 6), bool), 0.45)
    assert max(map(len, groups)) < 4
    assert all(merge.distance <= 0.45 for merge in merges)


def test_a_name_is_given_only_where_it_is_near_and_alone():
    a, b = np.zeros(128), np.eye(128)[0] * 0.9
    cast = Cast(("a", "b"), (0, 1), np.array([a, b]))

    def person(at):
        (found,) = People().people([track(0, np.eye(128)[0] * at, [0])], cast)
        return found

    assert (person(0.1).name, person(0.8).name) == ("a", "b")
    between = person(0.46)
    assert between.name is None
    assert "as near to" in between.unnamed
    far, apart_enough = (People().people([track(0, np.eye(128)[1] * at, [0])], cast)[0] for at in (0.6, 0.53))
    assert (far.name, far.nearest) == (None, "a")
    assert "not in the cast" in far.unnamed
    assert apart_enough.name == "a"  # b is 1.04 away
    alone = Cast(("a",), (0,), np.zeros((1, 128)))
    assert People().people([track(0, np.eye(128)[1] * 0.53, [0])], alone)[0].name is None
    sure = [person(at).confidence for at in (0.1, 0.3, 0.42)]
    assert all(one > other for one, other in pairwise(sure))


def test_a_cast_of_two_hundred_names_who_is_in_it_and_nobody_else():
    rng = np.random.default_rng(7)
    known = rng.normal(0, 0.07, (200, 128))  # about 1.1 apart; dlib's strangers are 0.8
    cast = Cast(tuple(f"n{n}" for n in range(200)), tuple(range(200)), known)
    rows = [track(n, known[n % 5] + rng.normal(0, 0.02, 128), [n]) for n in range(20)]
    rows += [track(n, rng.normal(0, 0.07, 128), [n]) for n in range(20, 30)]
    people = People().people(rows, cast)
    named = {person.name: person.tracks for person in people if person.name}
    assert named == {f"n{n}": [n, n + 5, n + 10, n + 15] for n in range(5)}
    assert sum(person.name is None for person in people) == 10


def test_two_in_one_still_who_look_like_one_name_do_not_both_get_it():
    cast = Cast(("a",), (0,), np.zeros((1, 128)))
    rows = [track(0, np.eye(128)[0] * 0.1, [0]), track(1, np.eye(128)[0] * 0.2, [0])]
    first, second = People().people(rows, cast)
    assert {first.name, second.name} == {"a", None}
    assert (first if first.name else second).tracks == [0]
    assert "seen beside a" in (second if first.name else first).unnamed


def test_parts_of_one_person_are_joined_by_the_name_and_that_is_written_down():
    cast = Cast(("a",), (0,), np.zeros((1, 128)))
    rows = [track(n, np.eye(128)[n] * 0.4, [n]) for n in range(2)]
    assert len(People().people(rows, None)) == 2
    tracks = to_arrow(faces.TRACKS, [row | filler() for row in rows])
    (person,) = People().people(rows, cast)
    assert [merge.why for merge in person.merges] == ["one name"]
    assert person.distance == pytest.approx(0.4)
    assert [row["label"] for row in run(People(), {"face_tracks": tracks})] == ["unknown 1", "unknown 2"]


def filler():
    zeros = {"sharpness": 0.0, "frontality": 0.0, "size_px": 50.0, "confidence": 0.9, "looks": 1, "model": "made up"}
    return zeros | {"boxes": [], "scores": [], "qualities": []}
