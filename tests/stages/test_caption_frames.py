"""Which pictures are shown: DATE's invariants, budgets kept exactly, zooms that do not overlap."""

import json
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from looking import inputs, take

from stages.caption import auxiliary, prompts, witness
from stages.caption.frames import MOST_OVERLAP, PATCH, Frames, chosen, overlap, quota, sized, tass, zoom
from stages.caption.sight import Sight, telling
from stages.stills import opened

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=60)
SECONDS = st.floats(0, 36_000)


@given(SCORES, st.integers(1, 20), st.floats(0, 40))
def test_what_date_takes_is_at_least_its_spacing_apart(scores, most, delta):
    times = [float(n) for n in range(len(scores))]
    found, spacing = tass(times, scores, most, delta)
    assert found == sorted(set(found))
    assert 1 <= len(found) <= most
    assert all(b - a >= spacing for a, b in pairwise(found))
    candidates = [n for n, s in enumerate(scores) if s > np.mean(scores)] or list(range(len(scores)))
    assert set(found) <= set(candidates)
    assert len(found) == min(most, len(candidates))


@given(SCORES, st.integers(1, 20))
def test_without_spacing_date_is_the_best_by_score(scores, most):
    found, _ = tass(range(len(scores)), scores, most, 0.0)
    above = [n for n, s in enumerate(scores) if s > np.mean(scores)] or list(range(len(scores)))
    assert sorted(found) == sorted(sorted(above, key=lambda n: (-scores[n], n))[:most])


@given(st.lists(st.floats(0.8, 1), min_size=6, max_size=12, unique=True), st.integers(1, 4))
def test_near_duplicates_of_the_best_change_nothing(high, copies):
    times = [10.0 * n for n in range(len(high))]
    low_times = [10.0 * n + 5 for n in range(3 * len(high))]
    scores, best = [*high, *[0.0] * len(low_times)], int(np.argmax(high))
    before, spacing = tass([*times, *low_times], scores, 6, 20.0)
    again = [times[best] + 0.01 * (n + 1) for n in range(copies)]
    after, _ = tass([*times, *low_times, *again], [*scores, *[high[best] - 1e-3] * copies], 6, 20.0)
    assert spacing > 0.04
    assert after == before


@given(SCORES, st.integers(0, 10_000_000))
def test_the_pixel_budget_is_kept_and_a_better_score_gets_no_less(scores, total):
    shares = quota(scores, total)
    assert sum(shares) <= total
    ranked = sorted(zip(scores, shares, strict=True))
    assert all(a[1] <= b[1] for a, b in pairwise(ranked))


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 3_000_000))
def test_a_picture_fits_its_share(width, height, pixels):
    size = sized(width, height, pixels)
    if size:
        assert size[0] * size[1] <= pixels
        assert size[0] <= width
        assert size[1] <= height
        assert min(size) >= min(PATCH, width, height)


@given(SECONDS, st.floats(0.1, 7200), st.lists(st.tuples(st.floats(), st.floats()) | st.none(), max_size=6))
def test_zooms_stay_inside_and_hardly_overlap(start, length, wanted):
    seen = []
    for interval in wanted:
        found = zoom((start, start + length), interval, seen)
        if found:
            assert start <= found[0] < found[1] <= start + length
            assert all(overlap(found, other) <= MOST_OVERLAP for other in seen)
            seen.append(found)


def test_a_zoom_is_padded_and_wide_enough():
    assert zoom((0, 600), (300, 301), []) == pytest.approx((285.5, 315.5))
    assert zoom((0, 8), (4, 5), []) == pytest.approx((3, 6))


@given(st.integers(0, 3000), st.sampled_from(["uniform", "grid", "date", "differential"]))
def test_no_strategy_shows_more_than_it_may(count, strategy):
    how = Frames(strategy=strategy)
    found = chosen(how, [float(n) for n in range(count)], [1.0] * count)
    assert len(found) == min(count, 6 if strategy == "grid" else how.most)


@pytest.fixture(scope="module")
def pictures(footage):
    return take(footage / "footage/takes/panda_s1.mp4")[:10]


@pytest.mark.parametrize("strategy", ["uniform", "grid", "date", "differential"])
@pytest.mark.parametrize("pixels", [PATCH * PATCH * 6, 50_000, 1_000_000])
def test_what_is_shown_keeps_the_budget(pictures, strategy, pixels):
    look = Sight(inputs(pictures)["stills"], Frames(strategy=strategy, pixels=pixels)).look((0, 10))
    assert sum(int(np.prod(opened(p.jpeg).shape[:2])) for p in look.pictures) <= pixels
    assert look.pictures or pixels < 50_000


def test_a_grid_is_one_picture_of_six_with_their_times(pictures):
    look = Sight(inputs(pictures)["stills"], Frames(strategy="grid")).look((0, 10))
    [picture] = look.pictures
    tiled = opened(picture.jpeg)
    height, width = tiled.shape[0] // 2, tiled.shape[1] // 3
    last = cv2.resize(pictures[int(look.times[0][-1])], (width, height), interpolation=cv2.INTER_AREA)
    assert np.abs(tiled[height:, 2 * width :].astype(int) - last).mean() < 6
    assert prompts.marked(look, 0.0)[1] == "<0.0s> <2.0s> <4.0s> <5.0s> <7.0s> <9.0s>"


def test_a_blank_picture_tells_nothing_and_a_changed_one_most(pictures):
    shown = [pictures[0], pictures[0], np.zeros_like(pictures[0]), pictures[5]]
    scores = telling([cv2.imencode(".jpg", p)[1].tobytes() for p in shown])
    assert scores[2] == 0
    assert scores[3] > scores[1]


def test_a_span_without_a_still_shows_none(pictures):
    assert Sight(inputs(pictures)["stills"], Frames()).look((2.2, 2.8)).pictures == ()


@given(st.text(max_size=400), st.integers(0, 200))
def test_text_is_cut_to_its_tokens(text, most):
    assert auxiliary.tokens(auxiliary.cut(text, most)) <= most
    assert auxiliary.tokens(auxiliary.told(text, "whole", most)) <= most
    facts = {"speech": [{"text": text}] * 5, "light": "dark"}
    block = auxiliary.block(facts, 0.0, most)
    assert auxiliary.tokens(block) <= most
    assert block.count("</data>") == block.count("<data ")


def test_words_on_screen_reach_the_prompt_and_speech_stays_longest():
    facts = {"text": [{"text": "EXIT 12"}], "speech": [{"text": "Hello."}], "light": "dark"}
    assert "EXIT 12" in auxiliary.block(facts, 0.0, 100)
    assert "Hello" in auxiliary.block(facts, 0.0, 20)
    assert "EXIT" not in auxiliary.block(facts, 0.0, 20)


REPLY = {"raw": "a", "text": "b", "subjects": ["cat", 3], "look_closer": [1, 2]}


@pytest.mark.parametrize("form", ["{}", "```json\n{}\n```", "Sure! {} Hope this helps."])
def test_replies_are_read_in_every_form(form):
    fields, wrong = prompts.read(form.replace("{}", json.dumps(REPLY)))
    assert fields == {"raw": "a", "text": "b", "subjects": ["cat"], "look_closer": (1.0, 2.0)}
    assert wrong == []


@pytest.mark.parametrize(
    "reply",
    [
        "A cat.",
        '{"text": ' + "9" * 5000 + "}",
        '{"text": null, "look_closer": [1e999, NaN]}',
        "{",
        "{}",
        "[1]",
        "[" * 9999,
        '{"a":' * 9999 + "}" * 9999,
        '{"text": 7}',
        "x" * 4_000_000,
    ],
)
def test_garbage_is_told_and_not_raised(reply):
    fields, wrong = prompts.read(reply)
    assert wrong
    assert "text" not in fields


@given(st.text())
def test_no_reply_fails_to_be_read(reply):
    for text in (reply, '{"text": "\\ud800", "raw": ' + json.dumps(reply) + "}"):
        fields, _ = prompts.read(text)
        str(fields).encode()


def test_two_scorers_disagree_by_how_far_they_differ():
    facts = {"camera": [{"kind": "pan left"}], "light": "dark"}
    node = {"facts": json.dumps(facts)}
    row = {"text": "The camera pans to the right over a dark street.", "camera": None, "light": None, "style": None}
    row["text_on_screen"] = None
    assert witness.agreement(row, facts) == 0.5
    assert witness.disagreement(row, node, 0.5) == 0
    assert witness.disagreement(row, node, 1.0) == 0.5
    assert witness.disagreement(row, {"facts": "{}"}, 1.0) is None


def test_with_weights_nearness_to_what_the_span_is_part_of_scores(pictures, tmp_path, monkeypatch):
    import test_embed

    from stages.embed import network

    words = test_embed.CLIP | {"text_cfg": test_embed.TEXT | {"vocab_size": 49408}}
    monkeypatch.setattr(test_embed, "CLIP", words)
    weights = str(test_embed.saved(tmp_path / "tiny"))
    found = network(weights, None)
    text = found.read(["a panda eats"])[0]
    vectors = [(-text).tolist()] * 10
    vectors[7] = text.tolist()
    rows = [{"model": found.name, "stills_s": [float(n) for n in range(10)], "vectors": vectors}]
    sight = Sight(inputs(pictures)["stills"], Frames(weights=weights, most=3), rows)
    look = sight.look((0, 10), "a panda eats")
    assert [p.t_s for p in look.pictures] == [7.0]
    assert found.name in look.by
