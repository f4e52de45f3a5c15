"""Moments are found by their captions' words and meaning, told once, and only where a caption may be used."""

import json
import math
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from curate.cli import app
from curate.dataset import Dataset, to_arrow
from curate.plugins import recipe_text
from pipelines.search import moments
from pipelines.search.command import clock, search
from pipelines.search.moments import SearchError, once, opened
from schemas import caption_checks, caption_vectors, captions, clips, decisions, sources, tree
from schemas.tree import LEVELS
from stages.caption.judge import Verify
from stages.caption.meaning import Meaning
from tests.curate.engine import curate
from tests.curate.excerpts import excerpt

STAGES = Path(__file__).parents[1] / "stages"
app.command("search")(search)


class Kept(ProcessPoolExecutor):
    """The process that encodes queries, for all tests: loading torch takes it longer than all that they ask."""

    def shutdown(self, *given, **more):
        """The next index wants it."""


@pytest.fixture(scope="module", autouse=True)
def encoder():
    kept = Kept(1, get_context("spawn"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moments, "ProcessPoolExecutor", lambda *given: kept)
        yield
    ProcessPoolExecutor.shutdown(kept)


def filled(table, **given):
    blanks = {pa.types.is_nested: [], pa.types.is_string: "", pa.types.is_boolean: False}
    row = {f.name: next((v for is_, v in blanks.items() if is_(f.type)), 0) for f in table.schema if not f.nullable}
    return row | given


def put(place, table, rows):
    place.write_part(table, "k", to_arrow(table, rows), {})


def dataset(folder, rows):
    """Captions of one source, all but those of take `b` kept."""
    place = Dataset(str(folder))
    place.write("recipe.yaml", recipe_text("long_take").encode())
    put(place, captions.TABLE, rows)
    takes = {row["clip_id"]: row for row in rows if row.get("clip_id")}
    spans = [filled(clips.TABLE, source_id="made", clip_id=c, start_s=0.0, end_s=9.0) for c in takes]
    put(place, clips.TABLE, spans)
    put(place, decisions.TABLE, [filled(decisions.TABLE, source_id="made", clip_id=c, kept=c != "b") for c in takes])
    put(place, sources.SOURCES, [filled(sources.SOURCES, source_id="made", path="/films/a [b].mp4", user="{}")])
    return place


def row(node_id, text, level="shot", start_s=0.0, end_s=9.0, **given):
    return filled(
        captions.TABLE, source_id="made", node_id=node_id, text=text, level=level, start_s=start_s, end_s=end_s,
        facts="{}", model="m", **given,
    )  # fmt: skip


def asked(place, *arguments, status=0):
    done = CliRunner().invoke(app, ["search", place.url, *arguments])
    assert done.exit_code == status, done.output
    return done


def nodes(place, *arguments):
    return [m["node_id"] for m in json.loads(asked(place, *arguments, "--json").stdout)["moments"]]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(dataset, rows of `captions`) of a made source, its captions checked and embedded by the stages themselves."""
    sys.path.insert(0, str(STAGES))
    from scenario import scenario

    story = scenario(5, events=3, shots=2, clips=3)
    place = dataset(tmp_path_factory.mktemp("made"), story.captions)
    inputs = {
        "captions": pa.Table.from_pylist(story.captions, captions.TABLE.schema),
        "tree": pa.Table.from_pylist(story.tree, tree.TABLE.schema),
    }
    put(place, caption_vectors.TABLE, list(Meaning().run(inputs, None)))
    checked = list(Verify().run({name: ds.dataset(table) for name, table in inputs.items()}, None))
    put(place, caption_checks.TABLE, [r for part in checked for r in part.to_pylist()])
    return place, story.captions


@pytest.fixture(scope="module")
def index(made):
    with opened(made[0]) as found:
        yield found


@pytest.fixture(scope="module")
def bags(index, made):
    """Of each caption that may be used: its row, and its words by their stems."""
    checked = made[0].scan(caption_checks.TABLE).to_table().to_pylist()
    usable = {r["node_id"] for r in checked if r["passed"] and not r["text_from"]}
    found = {}
    for mine in made[1][::2]:
        if mine["node_id"] in usable:
            forms = {word: index.words.split(word)[1] for word in index.words.split(mine["text"])[0]}
            found[mine["node_id"]] = (mine, {stems[0]: word for word, stems in forms.items() if stems})
    return found


def related(one, other):
    return one["start_s"] <= other["start_s"] + 1e-6 and other["end_s"] <= one["end_s"] + 1e-6


@settings(deadline=None, max_examples=10)
@given(number=st.integers(0, 10**6), many=st.integers(1, 4))
def test_a_captions_rarest_words_always_find_its_moment(index, bags, number, many):
    name = sorted(bags)[number % len(bags)]
    count = Counter(stem for _, stems in bags.values() for stem in stems)
    mine, stems = bags[name]
    rarest = sorted(stems, key=lambda stem: (count[stem], stem))[:many]
    index.hear(" ".join(stems[stem] for stem in rarest))
    found = once(index.ranked(1000, words=True, meaning=False), 1000)
    assert any(related(m, mine) or related(mine, m) for m in found)
    best = max(found, key=lambda m: m["coverage"])
    assert math.isclose(best["coverage"], 1.0)
    for one in found:
        assert not any(one is not two and related(one, two) for two in found)


def test_a_whole_caption_finds_itself_by_words_by_meaning_and_by_both(index, bags):
    clips_told = [(name, r) for name, (r, _) in sorted(bags.items()) if r["level"] == "clip"]
    for words, meaning in ((True, False), (False, True), (True, True)):
        right = 0
        for name, mine in clips_told:
            index.hear(mine["text"])
            right += once(index.ranked(100, words, meaning), 1)[0]["node_id"] == name
        assert right >= 0.9 * len(clips_told)


@pytest.mark.parametrize(
    ("query", "word"),
    [("somebody gathers ripe fruit in an orchard", "apple"), ("a ship's crew looks after their boats", "harbour")],
)
def test_other_words_find_a_moment_by_meaning(index, query, word):
    found = index.find(query, 3)
    assert found.by_meaning is None
    assert index.model == "all-MiniLM-L6-v2"
    assert word in found.moments[0]["text"]
    assert not set(index.words.split(query)[1]) & set(index.words.split(found.moments[0]["text"])[1])


def test_stop_words_alone_are_looked_for_by_meaning_only(index):
    found = index.find("what is over there", 5)
    assert found.by_words == "the query has only stop words"
    assert found.by_meaning is None
    assert found.moments


spans = st.builds(
    lambda depth, at: {
        "source_id": "s", "level": LEVELS[3 - depth], "start_s": float(at // 2 ** (3 - depth) * 2 ** (3 - depth)),
        "end_s": float((at // 2 ** (3 - depth) + 1) * 2 ** (3 - depth)),
    },
    st.integers(0, 3), st.integers(0, 7),
)  # fmt: skip


@given(
    st.lists(st.tuples(spans, st.integers(0, 3), st.integers(0, 3)), unique_by=lambda x: tuple(x[0].values())),
    st.integers(1, 9),
)
def test_a_moment_is_told_once(ranked, limit):
    hits = [span | {"node_id": n, "score": -n, "coverage": c, "cosine": d} for n, (span, c, d) in enumerate(ranked)]
    taken = once(hits, limit)
    assert len(taken) <= limit
    for one in taken:
        assert not any(one is not two and related(one, two) for two in taken)
    if len(taken) < limit:
        assert all(any(related(hit, t) or related(t, hit) for t in taken) for hit in hits)
    assert [t["score"] for t in taken] == sorted((t["score"] for t in taken), reverse=True)


def test_a_moment_is_told_at_the_finest_span_that_matches_as_well(tmp_path):
    rows = [
        row("event", "Anna saws an oak plank. Then Boris mends a net and paints it.", "event", 0.0, 20.0),
        row("shot", "Anna saws an oak plank.", "shot", 0.0, 10.0, clip_id="a"),
        row(
            "clip",
            "In a dusty workshop Anna, who has all the time in the world, saws a plank of oak.",
            "clip",
            0.0,
            5.0,
        ),
    ]
    place = dataset(tmp_path, rows)
    assert nodes(place, "saw an oak plank") == ["clip"]
    assert nodes(place, "an oak plank and a net") == ["event"]
    assert nodes(place, "saw an oak plank", "--level", "shot") == ["shot"]


def test_only_captions_that_may_be_used_are_found_where_they_belong(tmp_path):
    rows = [row("a", "A red car waits.", clip_id="a"), row("b", "A green bus stops.", start_s=9.0, end_s=18.0)]
    rows += [row("c", "A blue tram rings.", start_s=18.0, end_s=27.0), row("d", "A tram.", flags=["loop: it"])]
    place = dataset(tmp_path, rows)
    assert nodes(place, "trams") == ["c"]
    verdicts = [("a", True, "b"), ("b", True, "a"), ("c", False, None)]
    checks = [filled(caption_checks.TABLE, source_id="made", node_id=n, passed=p, text_from=t) for n, p, t in verdicts]
    put(place, caption_checks.TABLE, checks)
    assert nodes(place, "cars") == ["b"]
    assert nodes(place, "trams") == []
    assert "No caption of 2 has any of these words" in asked(place, "trams").stdout


def test_kept_takes_alone(tmp_path):
    rows = [row("a", "A red car.", clip_id="a"), row("b", "A red bus.", clip_id="b", start_s=9.0, end_s=18.0)]
    rows.append(row("above", "Red things.", "event", 0.0, 18.0))
    place = dataset(tmp_path, rows)
    assert sorted(nodes(place, "red")) == ["a", "b"]
    assert nodes(place, "red", "--kept") == ["a"]
    assert nodes(place, "red", "--kept", "--level", "event") == ["above"]


def test_every_layer_is_searched_and_scripts_without_spaces(tmp_path):
    facts = json.dumps({"speech": [{"text": "a penguin"}], "text": [{"text": "EXIT"}]})
    rows = [row("a", "A man walks.", subjects=["a heron"], setting="the quay", text_on_screen=["OPEN"])]
    rows[0]["facts"] = facts
    rows.append(row("b", "一只红色的猫在跑。", start_s=9.0, end_s=18.0))
    place = dataset(tmp_path, rows)
    for word in ("herons", "QUAY", "open", "exit", "penguins", "walking"):
        assert nodes(place, word) == ["a"]
    assert nodes(place, "红猫") == ["b"]


HOSTILE = ["'; drop table told; --", "[red]car[/red]", "car [/]", "car \x1b[31m\x00", "car" + "%_\\" * 50, "{car} $1 ?"]


@pytest.mark.parametrize("query", HOSTILE)
def test_hostile_queries_and_captions_do_no_harm(query, tmp_path):
    place = dataset(tmp_path, [row("a", "A [red]car[/red]\x1b[2J drops a table [/]; it is red.", clip_id="a")])
    done = asked(place, query)
    assert "\x1b" not in done.output
    assert nodes(place, query) in ([], ["a"])
    told = " ".join(asked(place, "car").stdout.split())
    assert "[red]" in told
    assert "/films/a [b].mp4 at 0:00:00" in told


def test_what_cannot_be_searched_is_told(tmp_path):
    place = dataset(tmp_path / "in", [row("a", "A red car.")])
    for query in ("", "  ", "[/]", "the of and"):
        assert "say what is seen" in asked(place, query, status=2).stderr
    assert "is no dataset" in asked(Dataset(str(tmp_path / "none")), "car", status=2).stderr
    bare = Dataset(str(tmp_path / "bare"))
    bare.write("recipe.yaml", recipe_text("long_take").encode())
    assert "has no captions" in asked(bare, "car", status=1).stderr
    flagged = dataset(tmp_path / "flagged", [row("a", "A red car.", flags=["loop: it"])])
    assert "of its 1 captions, of which 0 may be used" in asked(flagged, "car", status=1).stderr
    assert "of level story" in asked(place, "car", "--level", "story", status=1).stderr


def test_vectors_of_another_encoder_are_not_compared_and_that_is_said(tmp_path):
    place = dataset(tmp_path, [row("a", "A red car.", clip_id="a")])
    vector = filled(caption_vectors.TABLE, source_id="made", node_id="a", model="other:1", vector=[1.0, 0.0])
    put(place, caption_vectors.TABLE, [vector])
    told = " ".join(asked(place, "car").stdout.split())
    assert "Ranked by words (BM25F, 1 captions)." in told
    assert "Not by meaning: no caption has a vector of all-MiniLM-L6-v2" in told


def test_kept_without_decisions_is_refused(tmp_path):
    place = Dataset(str(tmp_path))
    place.write("recipe.yaml", recipe_text("long_take").encode())
    put(place, captions.TABLE, [row("a", "A red car.")])
    with pytest.raises(SearchError, match="has no decisions"), opened(place, kept=True):
        pass


def test_times_as_people_read_them():
    assert [clock(t) for t in (0.0, 59.99, 61, 3725.5)] == ["0:00:00", "0:00:59", "0:01:01", "1:02:05"]


@pytest.mark.slow
def test_a_real_take_is_found_and_its_file_named(footage, scheduler, tmp_path):
    (tmp_path / "in").mkdir()
    excerpt(footage / "footage/takes/dj2.mp4", tmp_path / "in/dj2.mp4", 8)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        (STAGES / "captioned.yaml").read_text().replace("  caption: {}\n", "  caption: {}\n  meaning: {}\n")
    )
    assert curate([tmp_path / "in"], tmp_path / "out", scheduler, [], str(recipe)).failed == 0
    told = json.loads(asked(Dataset(str(tmp_path / "out")), "the camera shakes", "--kept", "--json").stdout)
    assert [one["missing"] for one in told["rankings"]] == [None, None]
    moment = told["moments"][0]
    assert set(moment["matched"]) == {"camera", "shakes"}
    assert Path(moment["watch"]["path"]).is_relative_to(tmp_path / "out/clips")
    assert Path(moment["watch"]["path"]).is_file()
    assert 0 <= moment["watch"]["start_s"] < moment["end_s"]
