"""Judging captions: the matching is the best there is, keys are right, and the loop's best never falls."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.caption.evaluate import ask, audit, dialogue, free, probes, questions, spans
from stages.caption.evaluate.intervals import wilson
from stages.caption.evaluate.spans import Span
from stages.caption.tune import Score, optimise


def brute(scores):
    n, m = scores.shape
    return max(
        sum(scores[i, j] for i, j in zip(rows, columns, strict=True))
        for k in range(min(n, m) + 1)
        for rows in itertools.combinations(range(n), k)
        for columns in itertools.combinations(range(m), k)
    )


@given(arrays(float, st.tuples(st.integers(0, 5), st.integers(0, 5)), elements=st.floats(0, 1)))
def test_the_order_preserving_sum_is_the_best_there_is(scores):
    assert spans.best_order(scores) == pytest.approx(brute(scores))


def test_two_thousand_captions_match_without_recursion():
    assert spans.best_order(np.eye(2000)) == pytest.approx(2000)


def test_soda_by_hand():
    mine, theirs = [Span(0, 10, "a")], [Span(5, 15, "a"), Span(20, 30, "b")]
    got = spans.soda(mine, theirs, lambda a, b: float(a == b))
    assert got == pytest.approx({"precision": 1 / 3, "recall": 1 / 6, "f1": 2 / 9})


def test_cider_and_rouge_of_the_same_words_are_full():
    likeness = pytest.importorskip("stages.caption.evaluate.likeness")
    told = likeness.corpus([("a red car turns left", "a red car turns left"), ("two men sit down", "two men sit down")])
    assert told["cider"] == pytest.approx(10)
    assert told["rouge_l"] == pytest.approx(1)
    assert likeness.rouge_l("a b c d", "a c") == pytest.approx(2 / 3)


def row(number, level="shot", source="s", text="", **facts):
    return {
        "source_id": source, "node_id": f"{source}{level}{number}", "parent_id": f"{source}story0", "level": level,
        "start_s": number * 10.0, "end_s": number * 10.0 + 10, "text": text, "model": "m", "flags": [],
        "facts": json.dumps(facts),
    }  # fmt: skip


TEXTS = (
    "A dog runs over wet sand.",
    "Two men lift a heavy box.",
    "Rain falls on green leaves.",
    "She reads an old book.",
)


def test_questions_have_right_keys_and_controls_fall():
    rows = [row(i, text=text) for i, text in enumerate(TEXTS)]
    made = questions.build(rows)
    assert made == questions.build(rows)
    places = {r["node_id"]: r for r in rows}
    for question in made:
        if question.kind == "when":
            at = places[question.node_id]["start_s"]
            assert question.options[question.answer].startswith(f"{at:.1f} to")
    told, _ = ask.run(made, rows, ask.lexical)
    assert told["all"]["blind"]["right"] == 0
    assert told["all"]["caption"]["right"] > told["all"]["shuffled"]["right"]


def test_sah_by_hand():
    assert probes.sah(0.5, 0.8) == pytest.approx(0.6)
    assert probes.sah(1.0, 1.0) is None


def test_attribution_by_hand():
    lines = [
        {"start_s": 0, "end_s": 5, "speaker": "joe_biden", "text": "we have to go home"},
        {"start_s": 5, "end_s": 9, "speaker": "obama", "text": "thank you very much"},
    ]
    text = 'Biden says "We have to go home." "Thank you very much!" Biden adds.'
    got = dialogue.score([row(0, text=text)], lines)
    assert (got["attribution"]["right"], got["attribution"]["of"]) == (1, 2)
    assert (got["names"]["right"], got["names"]["of"]) == (1, 2)
    assert (got["lines"]["right"], got["lines"]["of"]) == (1, 2)
    assert (got["precision"]["right"], got["precision"]["of"]) == (1, 2)


def test_a_quote_without_a_name_is_no_wrong_name_and_a_line_not_quoted_counts():
    lines = [
        {"start_s": 0, "end_s": 5, "speaker": "Ann", "text": "we have to go home"},
        {"start_s": 5, "end_s": 9, "speaker": "Ben", "text": "thank you very much"},
        {"start_s": 9, "end_s": 9.2, "speaker": "Cy", "text": "no"},
        {"start_s": 9.3, "end_s": 9.9, "speaker": None, "text": "who is that over there"},
    ]
    shown = [{"start_s": 0, "end_s": 4, "name": "Dee"}, {"start_s": 3, "end_s": 4, "name": None}]
    text = 'A voice says: "We have to go home." Ben says: "Thank you very much." It says: "Who is that over there?"'
    got = dialogue.score([row(0, text=text)], lines, shown=shown)
    found = {name: (got[name]["right"], got[name]["of"]) for name in dialogue.PARTS}
    assert found["attribution"] == (1, 2)
    assert found["precision"] == (1, 1)
    assert found["lines"] == (1, 3)
    assert found["names"] == (1, 3)
    nobody = dialogue.score([row(0, text=None)], lines)
    assert (nobody["lines"]["right"], nobody["lines"]["of"]) == (0, 3)
    assert dialogue.total([got, nobody])["lines"]["of"] == 6


def test_free_statistics_see_gaps_and_repeats():
    rows = [row(0, text=TEXTS[0]), row(2, text=TEXTS[0])]
    got = free.report(rows, {})["levels"]["shot"]
    assert got["coverage"] == pytest.approx(2 / 3)
    assert got["duplicates"] == 2
    assert got["rep_4"] == pytest.approx(0.5)
    assert got["passed_share"] is None


def test_the_sheet_is_escaped_and_read_back():
    sheet = [row(0, text="=1+1<script>alert(1)</script>")]
    assert "<script>alert" not in audit.page(sheet, {}, "x")
    assert "'=1+1" in audit.table(sheet)
    got = audit.read("level,verdict\nshot,true\nshot,false\nshot,\n")
    assert got["true"] == wilson(1, 2)
    with pytest.raises(audit.SheetError, match="row 2"):
        audit.read("level,verdict\nshot,perhaps\n")


def test_the_best_never_falls_and_a_stopped_loop_goes_on(tmp_path):
    values = {"a": 0.2, "b": 0.9, "c": 0.5, "d": 0.7}

    def run(rounds, history):
        asked = []
        best = optimise(
            lambda i: asked.append(i) or [{"i": i}], lambda rows: Score(values[rows[0]["i"]]),
            lambda best, done: "abcd"[len(done)], rounds, "a", history,
        )  # fmt: skip
        return best, asked

    whole, part = tmp_path / "whole", tmp_path / "part"
    assert run(4, whole)[0].instruction == "b"
    run(2, part)
    part.write_text(part.read_text() + '{"number": 2, "ins')
    assert run(4, part)[1] == ["c", "d"]
    assert part.read_text() == whole.read_text()
    bests = [json.loads(line)["best"] for line in whole.read_text().splitlines()]
    assert bests == sorted(bests)
