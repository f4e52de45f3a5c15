"""Voices and faces joined: evidence, the assignment against brute force, what is said, turns; a film with its truth."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

from curate.dataset import to_arrow
from curate.workspace import open_workspace
from schemas import characters as schema
from schemas import faces, speech
from stages.characters import forms
from stages.characters.command import characters as command
from stages.characters.corrections import CorrectionError
from stages.characters.join import ANOTHER, LEAST, joined
from stages.characters.source import Source
from stages.characters.stage import Characters, Dialogue
from stages.characters.turns import turns
from stages.cover import Cover

spans = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted), max_size=6)


@given(spans)
def test_a_cover_counts_each_moment_once(given_spans):
    moments = [any(a <= t + 0.5 <= b for a, b in given_spans) for t in range(5, 25)]
    cover = Cover(map(tuple, given_spans))
    assert cover.share(5, 25) == pytest.approx(np.mean(moments))
    assert cover.seconds(-10, 100) == pytest.approx(sum(b - a for a, b in cover.spans))
    assert all(one[1] < other[0] for one, other in itertools.pairwise(cover.spans))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_the_assignment_is_the_best_there_is(data):
    voices, people = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    numbers = st.floats(-5, 8).map(lambda value: round(value, 2))
    ratios = np.array(
        data.draw(st.lists(st.lists(numbers, min_size=people, max_size=people), min_size=voices, max_size=voices))
    )
    pairs = list(itertools.combinations(range(voices), 2))
    apart = data.draw(st.sets(st.sampled_from(pairs))) if pairs else set()
    stray = data.draw(st.sets(st.integers(0, voices - 1)))

    def gain(chosen):
        if any(chosen[a] == chosen[b] is not None for a, b in apart):
            return None
        total = sum(ratios[v, p] - LEAST for v, p in enumerate(chosen) if p is not None)
        for person in range(people):
            count = sum(p == person and v not in stray for v, p in enumerate(chosen))
            total -= ANOTHER * max(0, count - 1)
        return total

    every = (gain(c) for c in itertools.product([None, *range(people)], repeat=voices))
    found = joined(ratios, apart, stray=stray)
    assert gain([pair and pair[0] for pair in found]) == pytest.approx(max(g for g in every if g is not None))
    assert all(0.5 <= pair[1] <= 1 for pair in found if pair)


def test_names_that_are_said():
    ann = forms.spoken("ann_lee", ["Annie"])
    assert forms.introduced("Hi, I'm Ann.", ann)
    assert forms.introduced("My name is Ann Lee", ann)
    assert forms.introduced("Call me Annie.", ann)
    assert not forms.introduced("I'm annoyed", ann)
    assert forms.addressed("Thanks, Ann.", ann)
    assert forms.addressed("Annie, come here!", ann)
    assert not forms.addressed("Ann came here", ann)
    two = {"Ann Lee": ["Annie"], "Bo Lee": []}
    assert forms.evidence([(0, "Thanks, Lee."), (1, "Sure.")], two) == []
    assert forms.evidence([(0, "I'm Lee, and Ann is away")], two) == []
    for text in ("Thanks, Ann.", "Thanks, Annie."):
        told = forms.evidence([(0, text), (1, "Sure.")], two)
        assert [(voice, name, ratio > 0) for voice, name, ratio, _ in told] == [
            (0, "Ann Lee", False),
            (1, "Ann Lee", True),
        ]


def joined_tables(heard, seen, names=(), cast=(), recordings=None, of_people=None, **given):
    """The two tables of a source.

    Args:
        heard: (start, end, voice, more) of each line.
        seen: (start, end, person) of each face.
        names: people who have their id for a name.
        cast: who may be named.
        recordings: unit vector of a voice by name.
        of_people: columns of `people` by person.
        given: parameters, and rows of further tables.
    """
    people = sorted({person for *_, person in seen})
    blank = {"weak": False, "origin": "none", "kind": "speech"}
    lines = [{"source_id": "s", "start_s": a, "end_s": b, "voice": v, **blank, **more} for a, b, v, more in heard]
    tracks = [
        {"source_id": "s", "track_id": f"t{n}", "clip_id": "k", "start_s": a, "end_s": b, "person_id": p, "model": "m"}
        | {"times_s": [], "boxes": [], "detections": 1, "size_px": 50.0, "confidence": 1.0, "quality": 1.0}
        for n, (a, b, p) in enumerate(seen)
    ]
    rows = [
        {"source_id": "s", "person_id": p, "label": p, "name": p if p in names else None, "portrait": b""}
        | {"screen_s": 1.0, "start_s": 0.0, "end_s": 1.0, "clips": [], "tracks": [], "merges": []}
        | (of_people or {}).get(p, {})
        for p in people
    ]
    inputs = {
        "sources": pa.table({"source_id": ["s"], "path": ["/films/a film.mp4"]}),
        "speech": to_arrow(speech.TABLE, lines),
        "faces": to_arrow(faces.FACES, tracks),
        "people": to_arrow(faces.PEOPLE, rows),
    }
    for table in (speech.VOICES, schema.PITCHES, schema.LOWER_THIRDS, schema.IDENTIFICATIONS):
        if table.name in given:
            inputs[table.name] = to_arrow(table, given.pop(table.name))
    with open_workspace("memory://x") as work:
        if cast:
            told = list(Source(inputs, cast=cast, recordings=recordings).characters())
            told = [{"source_id": "s"} | row for row in told]
        else:
            told = list(Characters(**given).run(inputs, work))
        inputs["characters"] = to_arrow(schema.CHARACTERS, told)
        return told, list(Dialogue().run(inputs, work))


def shot_and_reverse():
    """Two people who are each seen for four of their five lines, and once while the other speaks."""
    heard, seen = [], []
    for n in range(10):
        voice = n % 2
        heard.append((4.0 * n, 4.0 * n + 3, voice + 1, {}))
        seen.append((4.0 * n, 4.0 * n + 3.5, "ab"[voice if n % 5 else 1 - voice]))
    return heard, seen


def test_who_listens_is_not_who_speaks():
    told, lines = joined_tables(*shot_and_reverse(), names=("a",))
    assert {(row["label"], *row["voices"]) for row in told} == {("a", 1), ("b", 2)}
    assert [line["label"] for line in lines] == ["a", "b"] * 5
    assert {line["name"] for line in lines} == {"a", None}
    assert lines[0]["seen"] == ["b"]
    assert {evidence["kind"] for row in told for evidence in row["evidence"]} == {"seen"}


def test_a_voice_that_is_seen_with_nobody_in_particular_is_a_narrators():
    heard, seen = shot_and_reverse()
    heard += [(40.0 + 5 * n, 44.0 + 5 * n, 3, {}) for n in range(6)]
    seen += [(40.0 + 5 * n, 44.0 + 5 * n, "ab"[n % 2]) for n in range(6)]
    told, lines = joined_tables(heard, seen)
    assert {row["label"]: row["voices"] for row in told} == {"a": [1], "b": [2], "narrator": [3]}
    assert {line["label"] for line in lines[10:]} == {"narrator"}


def test_two_who_speak_at_once_are_two():
    heard = [(5.0 * n, 5.0 * n + 4, 1 + n % 2, {}) for n in range(8)] + [(1.0, 4.0, 2, {})]
    told, _ = joined_tables(heard, [(0.0, 40.0, "a"), (40.0, 60.0, "b")])
    assert all(len(row["voices"]) < 2 for row in told)


def test_a_name_that_subtitles_give_is_kept_and_a_line_without_a_voice_is_its_neighbours():
    heard, seen = shot_and_reverse()
    heard = [(a, b, v, {"speaker": "Cy"} if v == 2 else {}) for a, b, v, _ in heard] + [(43.0, 43.4, None, {})]
    heard[8] = (32.0, 32.6, None, {})
    _, lines = joined_tables(heard, seen)
    assert [(line["label"], line["by"]) for line in lines if line["voice"] == 2] == [("Cy", "subtitle")] * 5
    assert (lines[8]["label"], lines[8]["by"]) == ("a", "seen")
    assert lines[-1]["label"] is None


def test_corrections_are_honoured(tmp_path):
    file = tmp_path / "who.yaml"
    file.write_text(
        "'*': {rename: {nobody: X}}\n"
        "a film.mp4: {split: [{voice: 2}], rename: {a: Ann}}\n"
        "other.mp4: {rename: {nobody: X}}\n"
    )
    told, lines = joined_tables(*shot_and_reverse(), corrections=str(file))
    assert {row["label"]: (row["voices"], row["by_hand"]) for row in told} == {
        "Ann": ([1], True),
        "narrator": ([2], True),
        "b": ([], True),
    }
    assert [line["name"] for line in lines] == ["Ann", None] * 5
    given = {"s": {"merge": [["a", "b"]], "rename": {"a": "Al"}}}
    told, lines = joined_tables(*shot_and_reverse(), corrections=given)
    assert [(row["label"], row["voices"], row["people"]) for row in told] == [("Al", [1, 2], ["a", "b"])]
    assert {line["name"] for line in lines} == {"Al"}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("s: {rename: {c: Ann}}", "'c' is not there; there are 'a', 'b'"),
        ("s: {split: [{voice: 9}]}", "'voice': 9.* is not there"),
        ("s: {split: [{}]}", "name a voice or a person"),
        ("s: {drop: [a]}", "s.drop: .*; the form is"),
        ("[", "is no YAML"),
        ("!!python/object/apply:os.system [true]", "is no YAML"),
        ("- a", "the form is"),
    ],
)
def test_wrong_corrections_are_told(tmp_path, text, wrong):
    (tmp_path / "who.yaml").write_text(text)
    with pytest.raises((CorrectionError, ValidationError), match=wrong):
        joined_tables(*shot_and_reverse(), corrections=str(tmp_path / "who.yaml"))


def test_a_voice_that_subtitles_name_in_part_has_that_name():
    heard, seen = shot_and_reverse()
    heard = [(a, b, v, {"speaker": "Cy"} if n in (1, 3) else {}) for n, (a, b, v, _) in enumerate(heard)]
    told, lines = joined_tables(heard, seen)
    assert {(row["label"], *row["voices"]) for row in told} == {("a", 1), ("Cy", 2)}
    assert [line["name"] for line in lines] == [None, "Cy"] * 5
    assert [line["by"] for line in lines[1::2]] == ["subtitle", "subtitle", "voice", "voice", "voice"]
    heard = [(a, b, v, more | ({"speaker": "Di"} if n == 5 else {})) for n, (a, b, v, more) in enumerate(heard)]
    _, lines = joined_tables(heard, seen)  # two names: its other lines are of neither
    assert [line["name"] for line in lines[1::2]] == ["Cy", "Cy", "Di", None, None]


def test_nobody_seen_and_nobody_heard():
    assert joined_tables([], []) == ([], [])
    told, lines = joined_tables([(0.0, 2.0, 1, {})], [])
    assert [row["label"] for row in told] == ["narrator"]
    assert lines[0]["label"] == "narrator"
    told, _ = joined_tables([], [(0.0, 2.0, "a")])
    assert [(row["label"], row["speaking_s"]) for row in told] == [("a", 0)]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 5), st.sampled_from(["a", "b", None])), max_size=12))
def test_turns_hold_their_lines_and_do_not_overlap_more_than_these(made):
    lines = [
        {"start_s": start, "end_s": start + length, "label": who, "seen": [], "confidence": None}
        for start, length, who in sorted(made, key=lambda line: line[0])
    ]
    found = list(turns(lines))
    for line in lines:
        assert any(
            turn["character"] == line["label"]
            and turn["start"] <= line["start_s"] + 1e-3
            and turn["end"] >= line["end_s"] - 1e-3
            for turn in found
        )
    apart = all(one["end_s"] <= other["start_s"] for one, other in itertools.pairwise(lines))
    if apart:
        assert all(one["end"] <= other["start"] + 2e-3 for one, other in itertools.pairwise(found))


@pytest.mark.slow
def test_a_film_with_known_truth(footage, tmp_path):
    film = footage / "footage/edited/dialogue.mp4"
    import typer

    app = typer.Typer()
    app.command()(command)
    words = [str(film), "--cast", str(film.with_suffix(".cast")), "--json", "--set", "speech.transcriber=none"]
    done = CliRunner().invoke(app, [*words, "--rttm", str(tmp_path / "a.rttm"), "--vtt", str(tmp_path / "a.vtt")])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    right = total = 0.0
    for line in json.loads(film.with_suffix(".json").read_text())["utterances"]:
        mine = [
            Cover([(turn["start"], turn["end"])]).share(line["start"], line["end"])
            for turn in found["utterances"]
            if turn["character"] == line["character"]
        ]
        right += min(1.0, sum(mine)) * (line["end"] - line["start"])
        total += line["end"] - line["start"]
    assert right / total >= 0.95
    assert "<v biden>" in (tmp_path / "a.vtt").read_text()
    assert "SPEAKER dialogue 1 " in (tmp_path / "a.rttm").read_text()
