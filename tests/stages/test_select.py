"""Select keeps exactly the clips that meet every rule, and says of the others which they broke and by how much."""

import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.dataset import to_arrow
from schemas import clips, motion, quality
from stages.select import Select

RULES = {
    "long": {"column": "clips.duration_s", "min": 10},
    "moving": {"column": "motion.mean_w_s", "min": 0.01, "max": 1},
    "tripod": {"column": "motion.camera", "equals": "static", "unmeasured": "pass"},
}


def decide(scores, rules=RULES):
    """`scores`: per clip (duration_s, mean_w_s, camera)."""
    blank = {f.name: 0 for f in clips.TABLE.schema if not f.nullable} | {"detectors": "", "still": []}
    ids = [f"c{n:04d}" for n in range(len(scores))]
    rows = [
        blank | {"clip_id": i, "source_id": "s", "duration_s": s[0], "long_enough": True}
        for i, s in zip(ids, scores, strict=True)
    ]
    moves = [
        {"clip_id": i, "source_id": "s", "pairs": 1, "backend": "x", "mean_w_s": s[1], "camera": s[2]}
        for i, s in zip(ids, scores, strict=True)
    ]
    inputs = {
        "clips": ds.dataset(to_arrow(clips.TABLE, rows)),
        "motion": ds.dataset(to_arrow(motion.TABLE, moves)),
        "quality": ds.dataset(to_arrow(quality.TABLE, [])),
    }
    return [row for table in Select(rules=rules).run(inputs, None) for row in table.to_pylist()]


values = st.one_of(st.none(), st.floats(0, 2, width=32))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 60), values, st.sampled_from([None, "static", "pan left"])), max_size=8))
def test_kept_means_every_rule_is_met(scores):
    for (duration, speed, camera), verdict in zip(scores, decide(scores), strict=True):
        broken = [
            name
            for name, bad in (
                ("long", duration < 10),
                ("moving", speed is None or not 0.01 <= speed <= 1),
                ("tripod", camera not in (None, "static")),
            )
            if bad
        ]
        assert [reason.split(":")[0] for reason in verdict["reasons"]] == broken
        assert verdict["kept"] == (not broken)
        assert verdict["first_rule"] == (broken[0] if broken else None)
        assert verdict["rule_number"] == (list(RULES).index(broken[0]) if broken else None)


def test_reasons_carry_the_clips_own_number():
    (verdict,) = decide([(4.25, 2.0, "pan left")])
    assert verdict["reasons"] == [
        "long: clips.duration_s = 4.25 is below 10",
        "moving: motion.mean_w_s = 2 is above 1",
        "tripod: motion.camera is not static",
    ]


def test_a_value_with_quotes_is_a_value_and_no_sql():
    rules = {"odd": {"column": "motion.camera", "equals": "x'; drop table clips; --"}}
    (verdict,) = decide([(20, 0.5, "static")], rules)
    assert verdict["reasons"] == ["odd: motion.camera is not x'; drop table clips; --"]


def test_no_rules_keep_everything():
    assert all(verdict["kept"] for verdict in decide([(1, None, None), (20, 0.5, "static")], {}))


@pytest.mark.parametrize(
    "rule",
    [
        {"column": "clips.duration_s"},
        {"column": "clips.duration_s", "min": 3, "max": 2},
        {"column": "clips.duration_s", "min": 3, "equals": True},
        {"column": "clips.nonsense", "min": 3},
        {"column": "clips.duration_s; drop", "min": 3},
    ],
)
def test_rules_that_make_no_sense_are_refused(rule):
    with pytest.raises(ValidationError):
        Select(rules={"x": rule})


def test_rule_names_are_plain():
    with pytest.raises(ValidationError, match="letters, digits and underscores"):
        Select(rules={"it's": {"column": "clips.duration_s", "min": 3}})
