"""The order of takes: whatever the ranks, workers and stops, a pass holds every take once, and all ranks keep step."""

import json
import random
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.longtune.config import CaptionsConfig, CausalConfig
from pipelines.longtune.data.captions import Said, prompts, target
from pipelines.longtune.data.order import Cursor, Order
from pipelines.longtune.data.places import window_frames
from pipelines.longtune.methods.method import Prompt
from pipelines.longtune.model.masks import visible

BUCKETS = st.lists(st.integers(0, 12), min_size=1, max_size=4).filter(any)
PHASES = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 8)), min_size=1, max_size=4)
"""Stretches of a run between stops: ranks, takes a rank, steps."""


def numbered(sizes: list[int]) -> list[list[int]]:
    start, buckets = 0, []
    for size in sizes:
        buckets.append(list(range(start, start + size)))
        start += size
    return buckets


@given(BUCKETS, PHASES, st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_no_take_is_lost_or_drawn_twice_in_a_pass(sizes, phases, seed):
    buckets = numbered(sizes)
    cursor = Cursor()
    drawn: dict[tuple[int, int], list[int]] = {}
    for world, each, steps in phases:  # stopped, and resumed on another number of ranks
        cursor = Cursor.from_json(json.loads(json.dumps(cursor.to_json())))
        ranks = [Order(buckets, seed).plans(cursor, world * each) for _ in range(world)]
        for _ in range(steps):
            parts = [next(plans).part(rank, world) for rank, plans in enumerate(ranks)]
            assert {len(part.draws) for part in parts} == {each}
            assert len({(part.bucket, part.cursor) for part in parts}) == 1
            for draw in (draw for part in parts for draw in part.draws):
                assert draw.take in buckets[parts[0].bucket]
                drawn.setdefault((parts[0].bucket, draw.epoch), []).append(draw.take)
            cursor = parts[0].cursor
    for (bucket, epoch), takes in drawn.items():
        assert len(set(takes)) == len(takes)
        if (cursor.used[bucket] // len(buckets[bucket])) > epoch:
            assert sorted(takes) == buckets[bucket]
    assert sum(map(len, drawn.values())) == sum(cursor.used)


@given(BUCKETS, st.integers(1, 4), st.integers(0, 20))
@settings(max_examples=50, deadline=None)
def test_a_place_is_enough_to_go_on_from(sizes, size, done):
    order = Order(numbered(sizes), 7)
    whole = list(islice(order.plans(Cursor(), size), done + 5))
    place = whole[done - 1].cursor if done else Cursor()
    assert list(islice(order.plans(place, size), 5)) == whole[done:]


@given(BUCKETS.filter(lambda sizes: sum(map(bool, sizes)) > 1), st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_passes_over_the_buckets_keep_in_step(sizes, size):
    for plan in islice(Order(numbered(sizes), 1).plans(Cursor(), size), 40):
        ahead = [used / total for used, total in zip(plan.cursor.used, sizes, strict=True) if total]
        assert max(ahead) - min(ahead) <= size / min(total for total in sizes if total) + 1e-9
        assert plan.cursor.epoch == int(min(ahead) + 1e-9)


def test_passes_differ_in_order():
    plans = islice(Order([list(range(20))], 0).plans(Cursor(), 20), 3)
    orders = [[draw.take for draw in plan.draws] for plan in plans]
    assert len({tuple(order) for order in orders}) == 3


def test_a_place_in_other_data_is_refused():
    with pytest.raises(ValueError, match="other buckets"):
        next(Order([[0, 1], [2]], 0).plans(Cursor(0, (1,)), 1))
    with pytest.raises(ValueError, match="below zero"):
        Cursor.from_json({"epoch": 0, "used": [-1]})


@given(
    st.builds(CausalConfig, block=st.just(3), window=st.sampled_from([-1, 3, 6, 9, 12]), sink=st.integers(0, 4)),
    st.integers(1, 8),
    st.integers(0, 60),
    st.integers(0, 1000),
)
@settings(max_examples=150, deadline=None)
def test_a_trained_frame_has_all_that_a_stream_would_show_it(layout, blocks, more, seed):
    import torch

    span = 3 * blocks
    numbers, counts = window_frames(span + more, span, layout, random.Random(seed))
    assert len(numbers) == len(counts) == span
    assert numbers == sorted(set(numbers))
    assert numbers[-1] < span + more
    assert any(counts)
    assert all(number // 3 * 3 + 2 in numbers for number in numbers)  # whole blocks
    every = torch.arange(span + more)
    targets = torch.tensor([number for number, count in zip(numbers, counts, strict=True) if count])
    seen = visible(targets, every, layout, own_block=True).any(dim=0)
    assert set(every[seen].tolist()) <= set(numbers)


def test_windows_come_from_all_over_a_take():
    layout = CausalConfig(block=3, window=6, sink=3)
    places = {window_frames(60, 15, layout, random.Random(seed))[0][3] for seed in range(300)}
    assert places == set(range(3, 49, 3))


@given(
    st.lists(st.floats(0, 60), min_size=1, max_size=6),
    st.floats(0, 60),
    st.sampled_from([8.0, 16.0, 24.0]),
    st.integers(1, 8),
)
@settings(max_examples=200, deadline=None)
def test_prompts_begin_at_blocks_nearest_their_captions(starts, start_s, fps, block):
    captions = [Said(0.0, "first"), *(Said(t, f"caption {i}") for i, t in enumerate(sorted(starts)))]
    found = prompts(captions, start_s, fps, block)
    assert found[0].frame == 0
    assert all(prompt.frame % block == 0 for prompt in found)
    assert [p.frame for p in found] == sorted({p.frame for p in found})
    assert all(a.text != b.text for a, b in pairwise(found))
    begins = {caption.text: caption.start_s for caption in captions}
    for prompt in found[1:]:
        # Latent frame i is that of the four pictures from number 4i - 3 on.
        shown_s = start_s + (4 * prompt.frame - 3) / fps
        assert abs(shown_s - begins[prompt.text]) <= block * 4 / fps / 2 + 1e-6


def test_one_caption_is_trained_at_a_time():
    timeline = [Prompt(0, "a"), Prompt(3, "b"), Prompt(9, "c"), Prompt(30, "beyond")]
    config = CaptionsConfig(level="clip", drop=0)
    drawn = {}
    for seed in range(400):
        text, counts, kept = target(timeline, range(12), config, random.Random(seed))
        drawn[text] = drawn.get(text, 0) + 1
        assert [i for i, count in enumerate(counts) if count] == {"a": [*range(3)], "b": [*range(3, 9)]}.get(
            text, [*range(9, 12)]
        )
        assert kept == timeline
    assert set(drawn) == {"a", "b", "c"}
    assert drawn["b"] == pytest.approx(200, abs=40)  # half of the window's frames


def test_without_switches_the_longest_stands_for_all():
    timeline = [Prompt(0, "a"), Prompt(3, "b"), Prompt(9, "c")]
    config = CaptionsConfig(level="clip", switches=False, drop=0)
    assert target(timeline, range(12), config, random.Random(0)) == ("b", [True] * 12, [Prompt(0, "b")])


def test_text_is_dropped_as_often_as_asked():
    config = CaptionsConfig(drop=0.1)
    dropped = sum(not target([Prompt(0, "a")], range(3), config, random.Random(seed))[0] for seed in range(1000))
    assert dropped == pytest.approx(100, abs=35)
