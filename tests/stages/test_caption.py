"""A source's tree tiles exactly at every level; grounded captions say all that was measured and nothing else."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.caption import grounded
from stages.caption.grounded import CAMERA
from stages.caption.tree import Lengths, Take, Views, partition, tree

CLIP, SHOT, EVENT = Lengths(3, 6, 10), Lengths(20, 40, 60), Lengths(30, 120, 300)
NO_VIEWS = Views(np.empty(0), np.empty((0, 1)))


def grown(takes, end_s, views=NO_VIEWS, spoken=()):
    return list(tree(takes, end_s, views, list(spoken), CLIP, SHOT, EVENT))


@st.composite
def sources(draw):
    ends = np.cumsum(draw(st.lists(st.floats(0.04, 150), min_size=1, max_size=12)))
    starts = [0.0, *ends[:-1]]
    takes = [Take(str(n), float(s), float(e), n % 2 == 0) for n, (s, e) in enumerate(zip(starts, ends, strict=True))]
    end_s = float(ends[-1])
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    times = np.arange(0, end_s, 0.25)
    lines = np.sort(rng.uniform(0, end_s, 2 * draw(st.integers(0, 6)))).reshape(-1, 2)
    spoken = [(float(s), float(min(e, s + 15))) for s, e in lines]
    return takes, end_s, Views(times, rng.normal(size=(len(times), 8))), spoken


@settings(deadline=None, max_examples=40)
@given(sources())
def test_children_tile_their_parents_exactly_and_end_in_no_spoken_line(source):
    takes, end_s, views, spoken = source
    nodes = grown(takes, end_s, views, spoken)
    children = {}
    for node in nodes:
        children.setdefault(id(node.parent) if node.parent else None, []).append(node)
    (story,) = children[None]
    assert (story.start_s, story.end_s) == (0.0, end_s)
    cuts = {take.start_s for take in takes}
    for node in nodes:
        below = children.get(id(node), [])
        assert bool(below) == (node.level != "clip")
        if below:
            assert [below[0].start_s, *(c.end_s for c in below)] == [*(c.start_s for c in below), node.end_s]
            assert node.start_s == below[0].start_s
            assert node.kept == any(child.kept for child in below)
        assert node.end_s > node.start_s
        if node.level in ("clip", "shot"):
            assert len(node.takes) == 1
            if node.start_s not in cuts:
                assert not any(s < node.start_s < e for s, e in spoken)
        if node.level == "shot" and not spoken:
            assert node.end_s - node.start_s <= max(SHOT.most, 0) + 1e-6


def test_a_take_is_split_where_the_picture_changes():
    times = np.arange(0, 20, 0.25)
    scenes = np.eye(3)[np.searchsorted([7.0, 13.0], times, "right")]
    nodes = [n for n in grown([Take("t", 0, 20, True)], 20, Views(times, scenes)) if n.level == "clip"]
    assert [n.start_s for n in nodes] == [0, 7, 13]
    assert [n.split for n in nodes] == ["start", "meaning", "meaning"]


def test_a_long_still_take_is_split_by_length():
    times = np.arange(0, 60, 0.25)
    nodes = [
        n for n in grown([Take("t", 0, 60, True)], 60, Views(times, np.ones((len(times), 4)))) if n.level == "clip"
    ]
    assert all(CLIP.least <= n.end_s - n.start_s <= CLIP.most for n in nodes)
    assert {n.split for n in nodes[1:]} == {"length"}


@given(
    st.lists(st.floats(0.1, 3), min_size=1, max_size=9),
    st.integers(0, 100),
)
def test_no_other_partition_is_better(lengths, seed):
    places = np.concatenate([[0.0], np.cumsum(lengths)])
    alike = np.random.default_rng(seed).uniform(0, 1, len(places))
    limits = Lengths(1.0, 2.0, 4.0)

    def cost(chosen):
        total = sum(alike[n] for n in chosen[1:-1])
        for a, b in itertools.pairwise(chosen):
            length = places[b] - places[a]
            if length < limits.least - 1e-6 and len(chosen) > 2:
                return np.inf
            total += 0.5 * min(abs(length / limits.aim - 1) * 2, 4) ** 2 + 4.0 * max(0.0, length / limits.most - 1)
        return total

    inner = range(1, len(places) - 1)
    every = ([0, *(n for n in inner if mask >> n & 1), len(places) - 1] for mask in range(0, 2 ** (len(places) - 1), 2))
    if places[-1] <= 2 * limits.most:  # beyond, far places are not looked at
        assert cost(partition(places, alike, limits)) == pytest.approx(min(map(cost, every)))


def optional(strategy):
    return st.one_of(st.none(), strategy)


@given(
    optional(st.lists(st.sampled_from(sorted(CAMERA)), min_size=1, max_size=4)),
    optional(st.sampled_from(["little", "some", "much"])),
    optional(st.sampled_from(["dark", "bright"])),
    optional(st.sampled_from(["muted", "colourful", "black-and-white"])),
    optional(st.sampled_from(["red", "blue"])),
    st.booleans(),
    st.lists(st.text(st.characters(codec="utf-8"), min_size=1), max_size=6),
)
def test_each_measured_fact_and_no_other_is_said(kinds, movement, light, colour, hue, sound, read):
    camera = [{"kind": k, "start_s": 5.0 + n, "end_s": 6.0 + n} for n, k in enumerate(kinds or [])]
    text = [{"text": t, "first_s": 5.0, "last_s": 6.0} for t in read]
    facts = {"start_s": 5.0, "seconds": 12.0, "sound": sound, "camera": camera, "movement": movement, "light": light}
    facts |= {"colour": colour, "hue": hue, "text": text}
    facts = {name: value for name, value in facts.items() if value not in (None, [])}
    row = grounded.caption({"level": "shot", "start_s": 5.0}, facts, [])
    said = row["text"]
    assert "None" not in said.replace("".join(read), "") or "None" in "".join(read)
    own = said.split(" Text can be read")[0]
    assert ("camera" in own) == bool(camera)
    assert all(CAMERA[kind] in own for kind in kinds or [])
    assert ("movement" in own or "hardly moves" in own) == (movement is not None)
    assert ("dark" in own) == (light == "dark")
    assert ("mostly" in own) == (hue is not None)
    assert ("muted" in own) == (colour == "muted")
    assert ("without a sound track" in own) == (not sound)
    assert ("Text can be read" in said) == bool(read)
    assert row["text_on_screen"] == read


SHOT_FACTS = {"start_s": 3.0, "seconds": 12.0, "sound": True}


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (
            {"camera": [{"kind": "static", "start_s": 3.0, "end_s": 15.0}], "movement": "much", "light": "dark",
             "hue": "blue"},
            "A single continuous shot of 12 seconds. The camera stands still while there is a lot of movement in the "
            "scene. The picture is dark, mostly blue.",
        ),
        (
            {"sound": False, "movement": "little", "camera": [{"kind": "pan left", "start_s": 3.0, "end_s": 7.5},
             {"kind": "static", "start_s": 7.5, "end_s": 15.0}], "light_change": "darkens"},
            "A single continuous shot of 12 seconds, without a sound track. The camera pans to the left until 4.5 s, "
            "then stands still. Most of the picture hardly moves by itself. It darkens over the shot.",
        ),
        (
            {"text": [{"text": 'EXIT "B"', "first_s": 4.0, "last_s": 9.0}],
             "speech": [{"start_s": 4.0, "end_s": 5.0, "speaker": None, "text": "Go on."}]},
            "A single continuous shot of 12 seconds. Text can be read in the picture: \"EXIT 'B'\". "
            'A voice says: "Go on.".',
        ),
    ],
)  # fmt: skip
def test_sentences_read_well(facts, text):
    assert grounded.words(SHOT_FACTS | facts) == text


def test_an_event_tells_its_shots_with_their_times():
    facts = {"start_s": 60.0, "seconds": 70.0, "sound": True, "shots": 2, "light": "bright"}
    parts = [
        {"start_s": 60.0, "end_s": 70.0, "short": "A dark scene."},
        {"start_s": 70.0, "end_s": 130.0, "short": "A bright scene."},
    ]
    row = grounded.caption({"level": "event", "start_s": 60.0}, facts, parts)
    assert row["text"] == (
        "A part of 70 seconds with 2 shots. The picture is bright. From 0.0 to 10.0 s: a dark scene. "
        "From 10.0 to 70.0 s: a bright scene."
    )
    json.dumps(row)
