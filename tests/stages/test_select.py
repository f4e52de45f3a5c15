"""Select keeps exactly the clips that meet every rule, and says of the others which they broke and by how much."""

import json
import math

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curate import recipe
from curate.dataset import to_arrow
from curate.parts import encode_part
from curate.recipe import RecipeError
from curate.rules.judge import Judge
from curate.rules.rule import Rule
from schemas import clips, decisions, motion, screening
from stages.select.stage import Screen, Select

RULES = {
    "long": {"column": "clips.duration_s", "min": 10},
    "moving": {"column": "motion.mean_w_s", "min": 0.01, "max": 1},
    "tripod": {"column": "motion.camera", "equals": "static", "unmeasured": "accept"},
}


def tables(scores, sources=None):
    """`scores`: per clip (duration_s, mean_w_s, camera); None for a mean_w_s of "absent" leaves out the row."""
    blank = {f.name: 0 for f in clips.TABLE.schema if not f.nullable} | {"detectors": "", "still": []}
    rows, moves = [], []
    for number, (duration_s, speed, camera) in enumerate(scores):
        ids = {"clip_id": f"c{number:04d}", "source_id": sources[number] if sources else "s"}
        rows.append(blank | ids | {"duration_s": duration_s, "long_enough": True})
        if speed != "absent":
            moves.append(ids | {"pairs": 1, "backend": "x", "mean_w_s": speed, "camera": camera})
    return {
        "clips": ds.dataset(to_arrow(clips.TABLE, rows)),
        "motion": ds.dataset(to_arrow(motion.TABLE, moves)),
    }


def run(stage, inputs):
    return [row for table in stage.run(inputs, None) for row in table.to_pylist()]


def decide(scores, rules=RULES, sources=None):
    return run(Select(rules=rules), tables(scores, sources))


def kept(verdicts):
    return [int(v["clip_id"][1:]) for v in verdicts if v["kept"]]


values = st.one_of(st.none(), st.floats(0, 2, width=32))
cameras = st.sampled_from([None, "static", "pan left"])


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 60), values, cameras), max_size=8))
def test_kept_means_every_rule_is_met(scores):
    for (duration, speed, camera), verdict in zip(scores, decide(scores), strict=True):
        broken = [
            name
            for name, bad in (
                ("long", duration < 10),
                ("moving", speed is None or speed < pa.scalar(0.01, pa.float32()).as_py() or speed > 1),
                ("tripod", camera not in (None, "static")),
            )
            if bad
        ]
        assert [reason.split(":")[0] for reason in verdict["reasons"]] == broken
        assert verdict["kept"] == (not broken)
        assert verdict["first_rule"] == (broken[0] if broken else None)
        assert verdict["rule_number"] == (list(RULES).index(broken[0]) if broken else None)


leaves = st.one_of(
    st.builds(lambda low: {"column": "motion.mean_w_s", "min": low}, st.sampled_from([0.25, 0.5, 1])),
    st.builds(lambda high: {"column": "clips.duration_s", "max": high}, st.sampled_from([5, 20])),
    st.just({"column": "motion.camera", "equals": "static"}),
)
conditions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda i: {"not": i}, inner),
        st.builds(lambda i: {"any": i}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda i: {"all": i}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=5,
)


def truth(condition, clip):
    """Kleene's three values over a clip: the meaning that SQL must have."""
    if "not" in condition:
        inner = truth(condition["not"], clip)
        return None if inner is None else not inner
    for word, decisive in (("any", True), ("all", False)):
        if word in condition:
            found = [truth(child, clip) for child in condition[word]]
            return decisive if decisive in found else None if None in found else not decisive
    value = clip[{"clips.duration_s": 0, "motion.mean_w_s": 1, "motion.camera": 2}[condition["column"]]]
    if value is None:
        return None
    if "equals" in condition:
        return value == condition["equals"]
    return condition.get("min", -math.inf) <= value <= condition.get("max", math.inf)


@settings(max_examples=12, deadline=None)
@given(
    conditions.filter(lambda c: Rule.model_validate(c).depth() <= 6),
    st.lists(st.tuples(st.sampled_from([1.0, 8.0, 30.0]), values, cameras), min_size=1, max_size=5),
    st.sampled_from(["accept", "reject"]),
)
def test_any_all_and_not_mean_what_logic_says_and_an_unknown_stays_unknown(condition, scores, unmeasured):
    for clip, verdict in zip(scores, decide(scores, {"r": condition | {"unmeasured": unmeasured}}), strict=True):
        expected = truth(condition, clip)
        assert verdict["kept"] == (unmeasured == "accept" if expected is None else expected)
        assert verdict["kept"] or len(verdict["reasons"][0]) > len("r: ")


def test_reasons_carry_the_clips_own_number():
    (verdict,) = decide([(4.25, 2.0, "pan left")])
    assert verdict["reasons"] == [
        "long: clips.duration_s = 4.25 is below 10",
        "moving: motion.mean_w_s = 2 is above 1",
        "tripod: motion.camera = pan left is not static",
    ]


def test_reasons_of_conditions_in_conditions():
    either = {"any": [{"column": "clips.duration_s", "min": 30}, {"column": "motion.mean_w_s", "min": 0.5}]}
    neither = {
        "not": {"all": [{"column": "motion.camera", "equals": "static"}, {"column": "clips.duration_s", "max": 9}]}
    }
    (verdict,) = decide([(4.0, 0.25, "static")], {"either": either, "neither": neither})
    assert verdict["reasons"] == [
        "either: clips.duration_s = 4 is below 30 and motion.mean_w_s = 0.25 is below 0.5",
        "neither: motion.camera = static is static and clips.duration_s = 4 is at most 9",
    ]


@pytest.mark.parametrize("speed", [None, math.nan, math.inf, "absent"])
@pytest.mark.parametrize("unmeasured", ["accept", "reject"])
def test_what_is_no_number_is_unmeasured_not_low(speed, unmeasured):
    rules = {"slow": {"column": "motion.mean_w_s", "max": 5, "unmeasured": unmeasured}}
    (verdict,) = decide([(20, speed, None)], rules)
    assert verdict["kept"] == (unmeasured == "accept")
    assert verdict["reasons"] == [] if verdict["kept"] else ["slow: motion.mean_w_s could not be measured"]


def test_a_bound_counts_in_the_columns_own_precision():
    rules = {"r": {"column": "motion.mean_w_s", "min": 0.4, "max": 0.4}}
    assert kept(decide([(20, 0.4, None)], rules)) == [0]


def test_a_percentile_is_over_all_clips_that_were_measured():
    scores = [(20, float(n), None) for n in range(100)] + [(20, None, None)] * 50
    verdicts = decide(scores, {"fast": {"column": "motion.mean_w_s", "min_percentile": 20, "unmeasured": "accept"}})
    assert kept(verdicts) == [*range(20, 100), *range(100, 150)]
    assert verdicts[3]["reasons"] == ["fast: motion.mean_w_s = 3 is below 19.8, percentile 20 of all clips"]


def test_a_percentile_of_nothing_is_unmeasured():
    (verdict,) = decide([(20, None, None)], {"fast": {"column": "motion.mean_w_s", "max_percentile": 90}})
    assert verdict["reasons"] == ["fast: motion.mean_w_s could not be measured"]


def test_a_quota_takes_the_best_of_each_group_among_those_that_meet_the_rest():
    scores = [(20, 0.9, None), (5, 0.8, None), (20, 0.7, None), (20, 0.6, None), (20, None, None), (20, 0.1, None)]
    rules = {
        "few": {"at_most": 2, "per": "clips.source_id", "best": "motion.mean_w_s"},
        "long": {"column": "clips.duration_s", "min": 10},
    }
    verdicts = decide(scores, rules, ["a", "a", "a", "a", "a", "b"])
    assert kept(verdicts) == [0, 2, 5]
    assert verdicts[3]["reasons"] == ["few: number 3 of its clips.source_id by motion.mean_w_s; at most 2 are taken"]
    assert verdicts[1]["reasons"] == ["long: clips.duration_s = 5 is below 10"]
    assert verdicts[4]["first_rule"] == "few"


def test_hours_are_counted_best_first_and_equals_go_by_id():
    hour = 3600.0
    scores = [(hour, 0.5, None), (hour, 0.5, None), (hour, 0.9, None), (hour / 2, 0.1, None)]
    quota = {"at_most_hours": 2, "best": "motion.mean_w_s"}
    verdicts = decide(scores, {"hours": quota})
    assert kept(verdicts) == [0, 2]
    assert verdicts[1]["reasons"] == ["hours: 3 h with the better ones; at most 2 h are taken"]
    assert kept(decide(scores, {"hours": quota | {"order": "lowest"}})) == [0, 3]


def test_a_clip_without_a_group_is_as_unmeasured_says():
    quota = {"at_most": 1, "per": "motion.camera", "best": "clips.duration_s"}
    scores = [(20, 1, None), (21, 1, None), (22, 1, "static"), (23, 1, "static")]
    assert kept(decide(scores, {"one": quota})) == [3]
    assert kept(decide(scores, {"one": quota | {"unmeasured": "accept"}})) == [0, 1, 3]


def test_a_clip_that_screening_turned_down_is_out_with_those_reasons_first():
    inputs = tables([(4, "absent", None), (4, 0.5, None), (20, 0.5, None), (20, 0.5, None)])
    screened = run(Screen(rules={"long": {"column": "clips.duration_s", "min": 10}}), inputs)
    inputs["screening"] = ds.dataset(to_arrow(screening.TABLE, screened))
    rules = {
        "moving": {"column": "motion.mean_w_s", "min": 0.9},
        "one": {"at_most": 1, "best": "clips.duration_s"},
    }
    verdicts = run(Select(rules=rules), inputs)
    # The first was not looked at, so select's rules have nothing to say of it.
    assert verdicts[0]["reasons"] == ["long: clips.duration_s = 4 is below 10"]
    assert [r.split(":")[0] for r in verdicts[1]["reasons"]] == ["long", "moving"]
    assert [(v["first_rule"], v["rule_number"]) for v in verdicts] == [
        ("long", 0),
        ("long", 0),
        ("moving", 0),
        ("moving", 0),
    ]
    lenient = run(Select(rules=rules | {"moving": {"column": "motion.mean_w_s", "min": 0.1}}), inputs)
    assert kept(lenient) == [2], "a clip that is out takes no one's place"


def test_the_same_scores_give_the_same_bytes():
    scores = [(20, (n * 37 % 101) / 101, "static") for n in range(5000)]
    rules = {
        "mid": {"column": "motion.mean_w_s", "min_percentile": 10, "max_percentile": 90},
        "few": {"at_most_hours": 10, "per": "motion.camera", "best": "motion.mean_w_s"},
    }
    made = [encode_part(decisions.TABLE, Select(rules=rules).run(tables(scores), None), {}) for _ in range(2)]
    assert made[0] == made[1]


def test_a_table_with_several_rows_for_a_clip_is_refused_by_name():
    inputs = tables([(20, 0.5, "static")])
    doubled = inputs["motion"].to_table()
    inputs["motion"] = ds.dataset(pa.concat_tables([doubled, doubled]))
    with pytest.raises(ValueError, match="'motion' has several rows for c0000"):
        run(Select(rules=RULES), inputs)


HOSTILE = ["x'; drop table clips; --", '"', "$p0", "%s%n", "\x00\x1b[31m", "\\'", "🤖"]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_is_a_value_and_no_sql(value):
    rules = {"odd": {"column": "motion.camera", "equals": value}}
    verdicts = decide([(20, 0.5, "static"), (20, 0.5, value)], rules)
    assert [v["kept"] for v in verdicts] == [False, True]
    assert verdicts[0]["reasons"] == [f"odd: motion.camera = static is not {value}"]


def test_no_rules_keep_everything():
    assert all(verdict["kept"] for verdict in decide([(1, None, None), (20, 0.5, "static")], {}))


def deep(levels):
    condition = {"column": "clips.duration_s", "min": 1}
    for _ in range(levels):
        condition = {"not": condition}
    return condition


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"column": "clips.duration_s"},
        {"column": "clips.duration_s", "min": 3, "max": 2},
        {"column": "clips.duration_s", "min_percentile": 30, "max_percentile": 20},
        {"column": "clips.duration_s", "min_percentile": 101},
        {"column": "clips.duration_s", "min": 3, "equals": True},
        {"column": "clips.duration_s", "min": math.nan},
        {"column": "clips.duration_s; drop", "min": 3},
        {"column": 'clips."x', "min": 3},
        {"min": 3},
        {"any": []},
        {"any": [{"column": "clips.duration_s", "min": 3, "why": "inner conditions have no why"}]},
        {"all": [{"column": "clips.duration_s", "min": 3}], "column": "clips.duration_s", "min": 2},
        {"at_most": 3},
        {"at_most": 0, "best": "clips.duration_s"},
        {"per": "clips.source_id", "column": "clips.duration_s", "min": 3},
        {"at_most": 3, "best": "clips.duration_s", "not": {"column": "clips.duration_s", "min": 3}},
        {"column": "clips.duration_s", "min": 3, "operating_point": {"precision": 1.5, "recall": 0, "on": "x"}},
        deep(7),
        deep(300),
    ],
)
def test_rules_that_make_no_sense_are_refused(rule):
    with pytest.raises(ValidationError):
        Select(rules={"x": rule})


@pytest.mark.parametrize("name", ["it's", "a b", "", "1", "é", "x;--", "a.b", "$p0"])
def test_rule_names_are_plain(name):
    with pytest.raises(ValidationError, match="letters, digits and underscores"):
        Select(rules={name: {"column": "clips.duration_s", "min": 3}})


RECIPE = """\
name: mine
stages:
  signals: {}
  flow: {}
  cuts: {}
  takes: {}
  motion: {}
  select:
    rules:
      either:
        any:
          - {column: clips.duration_s, min: 10}
          - column: motion.mean_w_s
            min: 0.01
      camera: {column: motion.camera, equals: static}
      tall: {column: sources.height, min: 720}
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("motion.mean_w_s", "motion.men_w_s", 13, "no column 'men_w_s'; did you mean 'mean_w_s'"),
        (
            "motion.mean_w_s",
            "moton.mean_w_s",
            13,
            "no stage of this recipe writes the table 'moton'; did you mean 'motion'",
        ),
        ("motion.mean_w_s", "motion_series.flow_mean_w_s", 13, "no row per clip"),
        ("motion.mean_w_s", "motion.camera", 13, "no minimum, maximum or percentile; use equals"),
        ("equals: static", "equals: 3", 15, "never equals 3"),
        ("equals: static", "equals: true", 15, "never equals True"),
        ("motion.camera", "clips.still", 15, "a rule needs a number, a text or a truth value"),
        ("sources.height", "sources.hight", 16, "did you mean 'height'"),
    ],
)
def test_a_recipe_with_unknown_tables_or_columns_is_refused_with_its_line(old, new, line, says):
    recipe.parse(RECIPE, "mine.yaml")
    with pytest.raises(RecipeError) as caught:
        recipe.parse(RECIPE.replace(old, new), "mine.yaml")
    assert f"mine.yaml:{line}: 'select': " in str(caught.value)
    assert says in str(caught.value)


def test_an_override_reaches_into_lists_and_says_where_it_went_wrong():
    changed = recipe.parse(RECIPE, "mine.yaml", ["select.rules.either.any.1.min=0.5"])
    assert changed.dump()["stages"]["select"]["rules"]["either"]["any"][1] == {"column": "motion.mean_w_s", "min": 0.5}
    with pytest.raises(RecipeError, match="no place in a list of 2"):
        recipe.parse(RECIPE, "mine.yaml", ["select.rules.either.any.2.min=0.5"])
    with pytest.raises(RecipeError, match=r"--set .*min"):
        recipe.parse(RECIPE, "mine.yaml", ["select.rules.either.any.1.min=low"])


def test_a_recipe_as_run_gives_the_same_rules_again():
    once = recipe.parse(RECIPE, "mine.yaml").dump()
    assert recipe.parse(json.dumps(once), "again").dump() == once
    assert once["stages"]["select"]["rules"]["camera"] == {
        "column": "motion.camera",
        "equals": "static",
        "unmeasured": "reject",
        "why": "",
    }


def test_checks_show_value_threshold_percentile_and_miss():
    scores = [(20, 0.25 * n, "static") for n in range(5)]
    rules = {"fast": {"column": "motion.mean_w_s", "min": 0.75}, "tripod": {"column": "motion.camera", "equals": "pan"}}
    rules = {name: Rule.model_validate(rule) for name, rule in rules.items()}
    with Judge(rules, tables(scores)) as judge:
        found = judge.checks("c0001")
    (fast,), (tripod,) = found["fast"], found["tripod"]
    assert (fast.value, fast.wants, fast.passed, fast.missed_by) == (0.25, "≥ 0.75", False, 0.5)
    assert (fast.percentile, fast.measured) == (20.0, 5)
    assert (tripod.value, tripod.wants, tripod.passed, tripod.percentile) == ("static", "= pan", False, None)
