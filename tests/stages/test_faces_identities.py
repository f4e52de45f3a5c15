"""Who is one over all sources: as if all were clustered at once, never two of one source, put right by hand."""

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.dataset import to_arrow
from schemas import characters, faces, speech
from stages.faces import clusters, identities
from stages.faces.identities import Identities
from stages.speech.networks import CAMPPLUS
from tests.stages.looking import Desk

EAST, NORTH = np.eye(128)[0], np.eye(128)[1]


def dataset(people, voices=()):
    """Tables of people given as (source, embedding, columns of `people`); each has one track."""
    rows, tracks, told = [], [], []
    for n, (source, embedding, more) in enumerate(people):
        person = f"{source}-p{n:03d}"
        blank = {
            "label": person,
            "screen_s": 1.0,
            "start_s": 0.0,
            "end_s": 1.0,
            "clips": [],
            "merges": [],
            "portrait": b"",
        }
        rows.append({"source_id": source, "person_id": person, "tracks": [f"t{n}"], **blank, **more})
        track = dict.fromkeys(("start_s", "end_s", "size_px", "confidence", "sharpness", "frontality"), 0.0)
        track |= {name: [] for name in ("times_s", "boxes", "scores", "qualities")}
        tracks.append(
            {"source_id": source, "track_id": f"t{n}", "clip_id": "c", "detections": 1, "quality": 0.5, "looks": 1}
            | {"portrait": b"", "model": "m", "embedding": [float(x) for x in embedding]}
            | track
        )
        if n < len(voices):
            zeros = {"label": person, "spoken_as": [], "speaking_s": 1.0, "screen_s": 1.0, "on_screen_s": 1.0}
            zeros |= {"by_hand": False, "evidence": [], "description": ""}
            told.append({"source_id": source, "character_id": f"c{n}", "people": [person], "voices": [n], **zeros})
    prints = [
        {
            "source_id": source,
            "voice": n,
            "seconds": 9.0,
            "lines": 1,
            "model": CAMPPLUS.name,
            "embedding": list(map(float, voice)),
        }
        for n, (voice, (source, *_)) in enumerate(zip(voices, people, strict=False))
    ]
    tables = [(faces.PEOPLE, rows), (faces.TRACKS, tracks)]
    tables += [(characters.CHARACTERS, told), (speech.VOICES, prints)] if voices else []
    return {table.name: ds.dataset(to_arrow(table, made)) for table, made in tables}


def run(people, voices=(), **parameters):
    """Rows by the number of the person."""
    batches = list(Identities(**parameters).run(dataset(people, voices), Desk()))
    rows = pa.concat_tables(batches).to_pylist() if batches else []
    assert [row["source_id"] for row in rows] == sorted(row["source_id"] for row in rows)
    return {int(row["person_id"].rpartition("p")[2]): row for row in rows}


def groups(rows):
    return {
        frozenset(n for n in rows if rows[n]["identity_id"] == i) for i in {r["identity_id"] for r in rows.values()}
    }


@st.composite
def casts(draw):
    """Up to thirty people of up to six sources, many near each other."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    centres = rng.normal(0, draw(st.sampled_from([0.01, 0.03, 0.06])), (5, 128))
    count = draw(st.integers(0, 30))
    return [
        (f"s{draw(st.integers(0, 5))}", centres[rng.integers(5)] + rng.normal(0, 0.02, 128), {}) for _ in range(count)
    ]


@settings(max_examples=60, deadline=None)
@given(casts(), st.sampled_from([0.2, 0.4]))
def test_it_is_as_if_all_were_clustered_at_once(people, same):
    rows = run(people, same=same)
    assert set(rows) == set(range(len(people)))
    order = sorted(range(len(people)), key=lambda n: f"{people[n][0]}-p{n:03d}")
    embeddings = np.array([people[n][1] for n in order], np.float32).reshape(-1, 128).astype(float)
    sources = np.array([people[n][0] for n in order])
    cannot = (sources[:, None] == sources[None]) & ~np.eye(len(order), dtype=bool)
    expected, _ = clusters.grouped(clusters.distances(embeddings), cannot, same)
    assert groups(rows) == {frozenset(order[n] for n in group) for group in expected}
    for group in groups(rows):
        assert len({people[n][0] for n in group}) == len(group)  # never two of one source
        assert sum(len(rows[n]["merges"]) for n in group) == 2 * (len(group) - 1)


def test_a_group_that_is_too_large_is_parted_and_nobody_is_lost(monkeypatch):
    monkeypatch.setattr(identities, "LARGEST", 5)
    rng = np.random.default_rng(1)
    people = [(f"s{n:02d}", rng.normal(0, 0.005, 128) + EAST * (n % 2), {}) for n in range(40)]
    rows = run(people)
    assert set(rows) == set(range(40))
    assert all(len({n % 2 for n in group}) == 1 for group in groups(rows))
    assert run([(f"s{n:02d}", EAST, {}) for n in range(12)]).keys() == set(range(12))  # copies of one picture


def test_a_name_in_one_source_is_the_identitys_everywhere_with_less_confidence():
    people = [
        ("s1", EAST, {"name": "Ann", "name_confidence": 0.9}),
        ("s2", EAST + 0.3 * NORTH, {}),
        ("s3", -EAST, {}),
    ]
    rows = run(people)
    assert [rows[n]["name"] for n in range(3)] == ["Ann", "Ann", None]
    assert [rows[n]["label"] for n in range(3)] == ["Ann", "Ann", "unknown 1"]
    assert rows[0]["name_confidence"] == pytest.approx(0.9)
    assert 0.8 < rows[1]["name_confidence"] < 0.9
    assert {rows[n]["named_in"] for n in range(2)} == {"s1"}
    assert (rows[1]["sources"], rows[1]["people"]) == (2, 2)
    assert rows[1]["merges"] == [
        {"why": "alike", "person_id": "s1-p000", "source_id": "s1", "voices": None}
        | {"distance": pytest.approx(0.3), "between": pytest.approx(0.3)}
    ]


def test_two_names_are_two_however_alike_and_one_name_is_one_however_unlike():
    named = [("s1", EAST, {"name": "Ann"}), ("s2", EAST, {"name": "Bo"}), ("s3", -EAST, {"name": "Ann"})]
    named += [("s4", NORTH, {"name": "Ann"})]
    rows = run(named)
    assert groups(rows) == {frozenset({0, 2, 3}), frozenset({1})}
    assert {link["why"] for link in rows[2]["merges"]} == {"one name"}


def test_voices_speak_against_more_than_for():
    one, other = np.eye(4)[0], np.eye(4)[1]
    near = [("s1", EAST, {}), ("s2", EAST + 0.35 * NORTH, {})]
    far = [("s1", EAST, {}), ("s2", EAST + 0.43 * NORTH, {})]
    assert len(groups(run(near))) == 1
    assert len(groups(run(near, (one, other)))) == 2
    assert len(groups(run(far))) == 2
    rows = run(far, (one, one))
    assert len(groups(rows)) == 1
    assert rows[0]["merges"][0]["voices"] == pytest.approx(0, abs=1e-6)


def test_corrections_part_and_join(tmp_path):
    people = [("s1", EAST, {}), ("s2", EAST, {}), ("s2", -EAST, {}), ("s3", NORTH, {})]
    assert groups(run(people)) == {frozenset({0, 1}), frozenset({2}), frozenset({3})}
    file = tmp_path / "who.yaml"
    file.write_text(
        "apart: [[s1-p000, s2-p001]]\ntogether: [[s2-p001, s2-p002], [s2-p002, s3-p003], [gone, s1-p000]]\n"
    )
    rows = run(people, corrections=str(file))
    assert groups(rows) == {frozenset({0}), frozenset({1, 2, 3})}
    assert {link["why"] for link in rows[2]["merges"]} == {"by hand"}
    stage = Identities(corrections=str(file))
    assert Identities.model_validate(stage.model_dump(mode="json")) == stage


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("apart: [[a]]", "apart.0.*the form is"),
        ("[", "is no YAML"),
        ("near: []", "the form is"),
        ("- a", "the form is"),
    ],
)
def test_wrong_corrections_are_told(text, wrong, tmp_path):
    (tmp_path / "who.yaml").write_text(text)
    with pytest.raises(ValidationError, match=rf"(?s)who.yaml: .*{wrong}"):
        Identities(corrections=str(tmp_path / "who.yaml"))


def test_nobody_at_all():
    assert run([]) == {}
