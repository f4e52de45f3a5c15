"""A run's YAML names its method; what is wrong with it is said in the YAML's own words."""

import pytest

from pipelines.longtune.config import Config, bundled, load_config, parse_config
from pipelines.longtune.errors import UsageError
from pipelines.longtune.methods.options import METHODS

TINY = {"model": {"tiny": {}}, "train": {"vae_steps": 1}}


def test_teacher_forcing_is_the_default():
    assert parse_config(TINY, "x").method.name == "teacher_forcing"


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_can_be_named(name):
    more = {"streaming_dmd": {"teacher": "a folder"}}.get(name, {})
    sample = {"streaming_dmd": {"solver": "renoise", "steps": 4}}.get(name, {})
    values = {**TINY, "sample": sample, "causal": {"window": 9, "sink": 0}, "method": {"name": name, **more}}
    method = parse_config(values, "x").method
    assert isinstance(method, METHODS[name])
    assert Config.model_validate(parse_config(values, "x").to_json()).method == method


def test_far_needs_something_before_its_window():
    values = {**TINY, "causal": {"window": 21, "sink": 0}, "method": {"name": "far"}}
    with pytest.raises(UsageError, match=r"no far past before causal\.window"):
        parse_config(values, "x")
    values["method"]["long_context"] = False
    assert parse_config(values, "x").method.context_timestep == -1


@pytest.mark.parametrize("name", bundled())
def test_every_bundled_config_is_valid(name):
    assert load_config(name).method.name in METHODS


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ({"name": "teacher_forsing"}, "teacher_forcing"),
        ({}, "name"),
        ({"name": "streaming_dmd"}, "method.teacher: Field required"),
        ({"name": "far", "claen": 0.2}, "unknown key method.claen; did you mean clean?"),
        ({"name": "far"}, "they are 12 (blocks of 3) and 3"),
        ({"name": "streaming_dmd", "teacher": "x", "fresh": 22}, "at most clip"),
        ({"name": "streaming_dmd", "teacher": "x", "clip": 20}, "multiple of causal.block"),
        ({"name": "streaming_dmd", "teacher": "x"}, "set sample.solver: renoise, sample.steps: 4"),
        ({"name": "rolling_forcing", "blocks": 3}, "for instance 21"),
        (
            {"name": "teacher_forcing", "recycling": {"scala": 1}},
            "unknown key method.recycling.scala; did you mean scale",
        ),
        ({"name": "teacher_forcing", "recycling": {"noise": 1.5}}, "method.recycling.noise"),
        (
            {"name": "random_masks", "prediction": 0, "transition": 0, "interpolation": 0, "nothing": 0},
            "a weight above 0",
        ),
    ],
)
def test_a_wrong_method_is_explained(method, words):
    with pytest.raises(UsageError, match="x: ") as error:
        parse_config({**TINY, "method": method}, "x")
    assert words in str(error.value)
