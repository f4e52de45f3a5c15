"""Recipes: what is wrong is refused with its line and its cure before anything starts."""

import json

import jsonschema
import pytest

from curate import recipe
from curate.recipe import RecipeError

GOOD = """\
name: mine
limits:
  attempts: 2
stages:
  signals: {}
  cuts:
    detector: adaptive
  takes:
    min_s: 12
"""


def refused(text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe.parse(text, "mine.yaml", overrides)
    return str(caught.value)


def test_a_good_recipe_has_its_values_and_every_default():
    loaded = recipe.parse(GOOD, "mine.yaml")
    dumped = loaded.dump()
    assert dumped["stages"]["takes"] == {
        "min_s": 12.0,
        "max_s": None,
        "erode_hard": 0,
        "erode_gradual": 1,
        "erode_wipe": 2,
    }
    assert dumped["limits"]["attempts"] == 2
    assert recipe.parse(json.dumps(dumped), "again") == loaded


def test_stages_are_ordered_by_what_they_read():
    shuffled = "name: x\nstages: {takes: {}, cuts: {}, signals: {}}\n"
    assert [s.name for s in recipe.parse(shuffled, "x").stages] == ["signals", "cuts", "takes"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD.replace("min_s", "min_seconds"), ["mine.yaml:9", "min_seconds", "did you mean 'min_s'"]),
        (GOOD.replace("takes", "taks"), ["mine.yaml:8", "'taks'", "did you mean 'takes'"]),
        (GOOD.replace("12", "twelve"), ["mine.yaml:9", "valid number", "twelve"]),
        (GOOD.replace("12", "-1"), ["mine.yaml:9", "greater than 0", "-1"]),
        (GOOD.replace("adaptive", "magic"), ["mine.yaml:7", "'transnetv2', 'adaptive' or 'content'"]),
        (GOOD.replace("attempts", "atempts"), ["mine.yaml:3", "did you mean 'attempts'"]),
        (GOOD.replace("  signals: {}\n", ""), ["mine.yaml:5", "reads the table 'signals'", "add the stage 'signals'"]),
        ("name: [", ["mine.yaml", "no valid YAML"]),
        ("- a\n- b\n", ["mine.yaml:1", "mapping"]),
        ("stages: {}\n", ["name"]),
        ("name: x\nstages: {}\nextra: 1\n", ["mine.yaml:3", "extra"]),
        ("name: x\nstages: !!python/object/apply:os.system ['true']\n", ["no valid YAML"]),
    ],
)
def test_a_fault_is_named_with_its_line_and_cure(text, expected):
    message = refused(text)
    for part in expected:
        assert part in message


def test_all_faults_are_told_at_once():
    message = refused(GOOD.replace("min_s: 12", "min_s: 0\n    erode: 1").replace("adaptive", "magic"))
    assert message.count("\n") == 2


def test_overrides_reach_stages_limits_and_nested_values():
    loaded = recipe.parse(GOOD, "mine.yaml", ["takes.min_s=20", "limits.memory_gib=2", "cuts.threshold=30.5"])
    assert loaded.dump()["stages"]["takes"]["min_s"] == 20
    assert loaded.dump()["stages"]["cuts"]["threshold"] == 30.5
    assert loaded.limits.memory_gib == 2
    changed = recipe.load("long_take", ["select.rules.moving.min=0.5"])
    assert changed.dump()["stages"]["select"]["rules"]["moving"]["min"] == 0.5


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("takes.min_s", "stage.parameter=value"),
        ("min_s=3", "stage.parameter=value"),
        ("takse.min_s=3", "did you mean 'takes'"),
        ("takes.mins=3", "--set takes.mins: "),
        ("takes.min_s=-3", "--set takes.min_s: "),
    ],
)
def test_a_wrong_override_is_named(override, expected):
    assert expected in refused(GOOD, override)


def test_select_refuses_columns_that_do_not_exist():
    with pytest.raises(RecipeError, match="has no column 'men_w_s'"):
        recipe.load("long_take", ["select.rules.moving.column=motion.men_w_s"])


def test_the_schema_accepts_the_recipe_and_refuses_a_typo():
    loaded = recipe.load("long_take")
    schema = recipe.json_schema(loaded)
    jsonschema.validate(loaded.dump(), schema)
    wrong = loaded.dump()
    wrong["stages"]["takes"]["min_second"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


def test_an_unknown_recipe_lists_those_there_are():
    with pytest.raises(RecipeError, match="did you mean 'long_take'"):
        recipe.load("longtake")
