"""Whatever a stranger wrote is read, or refused in words: no reader raises what it does not mean, or takes for ever."""

from __future__ import annotations

import io
import json
import struct
import time
from pathlib import Path

import numpy as np
import parsers
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from films import film, steady
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from curate import recipe
from curate.documents import MOST_REPEATED, DocumentError, read_yaml
from curate.listing import InputError, listing
from pipelines.longtune.data.latents import read_latents
from pipelines.longtune.data.takes import BadTakeError
from pipelines.longtune.data.tar import Member, Tars

LONGEST_S = 5.0
"""CPU seconds that any input of a kilobyte may take; the slowest, a thousand brackets in YAML, takes one."""

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12),
    st.sampled_from(["2020-13-45", "!!int ''", "0b", "\ud800", "\0", "../../etc/passwd", "1:99:99", "=", "<<", "*"]),
)  # fmt: skip
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
WORDS = [
    b"",
    b"\0",
    b"\xff",
    b"\x7f\xff\xff\xff",
    b"\xff" * 8,
    b"[",
    b"{",
    b"\n",
    b": ",
    b"&a ",
    b"*a",
    b"!!int ''",
    b'"',
]


@st.composite
def edited(draw: st.DrawFn, seed: bytes) -> bytes:
    """A good input, damaged in a few places."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 8))
        data[at : at + length] = draw(st.sampled_from(WORDS) | st.binary(max_size=6))
    return bytes(data)


def inputs(*seeds: bytes) -> st.SearchStrategy[bytes]:
    """Damaged good inputs; trees as JSON and as YAML; bytes."""
    as_json = TREES.map(lambda tree: json.dumps(tree).encode())
    as_yaml = TREES.map(lambda tree: yaml.safe_dump(tree, allow_unicode=False).encode())
    damaged = [edited(seed) for seed in seeds]
    return st.one_of(*damaged, *damaged, as_json, as_yaml, st.binary(max_size=200))


def parquet(path: list[object]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"path": path, "name": ["x"] * len(path)}), sink)
    return sink.getvalue()


def latents(shape: list[int], body: bytes) -> bytes:
    """A member as the stage `latents` writes it."""
    told = {
        "mean": "[0.0]",
        "std": "[1.0]",
        "height": "32",
        "width": "32",
        "fps": "16",
        "vae": "x",
        "text_encoder": "y",
    }
    tensor = {"dtype": "F16", "shape": shape, "data_offsets": [0, len(body)]}
    head = json.dumps({"__metadata__": told, "latents": tensor}).encode()
    return struct.pack("<Q", len(head)) + head + body


def jpeg() -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.zeros((24, 24, 3), np.uint8)).save(sink, "JPEG")
    return sink.getvalue()


SAMPLE = {
    "duration_s": 3.0, "width": 32, "height": 32,
    "captions": [{"level": "clip", "start_s": 0.0, "text": "a"}, {"level": "story", "start_s": 1.5, "text": "b"}],
}  # fmt: skip
RULES = """
name: x
stages:
  signals: {}
  cuts: {}
  takes: {}
  select:
    rules:
      long: {column: clips.duration_s, min: 3, why: "x"}
      some: {any: [{column: clips.doubt, max_percentile: 5}, {not: {column: clips.long_enough, equals: true}}]}
"""
COMPLETION = {
    "choices": [{"message": {"content": '{"text": "a"}'}, "logprobs": {"content": [{"logprob": -0.1}]}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 7},
}
SPS = bytes.fromhex("6764001facd9405005bb011000000300100000030320f1831960")
PPS = bytes.fromhex("68ebe3cb22c0")
AVCC = bytes.fromhex("0164001fffe1") + len(SPS).to_bytes(2, "big") + SPS + b"\1\0\6" + PPS + bytes.fromhex("fdf8f800")
STONE = {
    "kind": "source", "mark": "ab", "paths": ["cd"], "start_s": 0, "end_s": 0, "reason": "x", "clip": None,
    "tracks": [], "words": 0, "keep_clips": False,
}  # fmt: skip
NIGHT = b"name: night\nrecipe: long_take\ninputs: [a]\noutput: b\ncron: 0 2 * * *\ntimezone: UTC\ncreated: 2026-01-01\n"
RECORD = {"id": "20260101T000000Z-ab", "state": "done", "began": "x", "recipe": "y", "profile": "20260101T000000Z-ab"}


def message() -> bytes:
    from curate.sandbox import send

    sink = io.BytesIO()
    send(sink, {"a": 1}, {"t": pa.table({"x": [1, 2]})})
    return sink.getvalue()


SEEDS: dict[str, list[bytes]] = {
    "a_recipe": [parsers.GOOD.encode(), RULES.encode()],
    "an_override": [b"takes.min_s=3", b"limits.attempts=2", b"cuts.unsure.0=[1, {a: 2}]"],
    "a_config": [b"data: {frames: 9, captions: {level: clip}}\nmethod: {teacher_forcing: {}}\ntrain: {steps: 3}\n"],
    "a_storyboard": [b"fps: 24\nshots: []\n"],
    "some_corrections": [b"film.mp4: {rename: {unknown 1: Ann}, merge: [[Ann, b]], split: [{voice: 3}]}"],
    "a_schedule": [NIGHT],
    "a_history": [b'{"id": "1", "state": "running"}\n{"id": "1", "state": "done"}\n'],
    "a_record": [json.dumps(RECORD).encode(), b'{"captions": {"words": {"a": 1}}}'],
    "some_tombstones": [json.dumps(STONE).encode()],
    "a_cast": [b"name,photo,aliases\nAnn,ann.jpg,A;B\nBob,,\n", b'[{"name": "Ann", "photo": ["ann.jpg"]}]'],
    "a_list": [b"path,name\na.mp4,x\nfile:///b.mp4,y\n", parquet(["a.mp4", "b"]), parquet([1]), parquet([b"a"])],
    "subtitles": [
        b"1\n00:00:01,000 --> 00:00:02,000\n- <i>Hi</i>\n- ANN: [door]\n\n",
        b"00:01.000 --> 00:02.000\n<v Ann>Hi\n",
    ],
    "a_reply": [b'{"text": "a", "subjects": ["b"], "look_closer": [0, 1.5]}', b"```json\n{}\n```"],
    "a_completion": [json.dumps(COMPLETION).encode()],
    "h264_bytes": [AVCC, SPS, b"\0\0\1" + SPS + b"\0\0\0\1" + PPS],
    "an_answer": [message()],
    "a_tar": [parsers.shard({"json": json.dumps(SAMPLE).encode(), "txt": b"hello", "mp4": b"no film"})],
    "an_index": [b'[{"key": "0", "members": {"mp4": {"offset": 0, "size": 1}}, "levels": []}]'],
    "a_sample": [json.dumps(SAMPLE).encode(), latents([2, 1, 4, 4], bytes(64))],
    "a_photo": [jpeg()],
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def hold(name: str, data: bytes, folder: Path) -> None:
    began = time.process_time()
    parsers.TARGETS[name](data, folder)
    assert time.process_time() - began < LONGEST_S


@pytest.mark.parametrize("name", SEEDS)
def test_a_reader_raises_only_what_it_means(name: str, folder: Path) -> None:
    @settings(max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(inputs(*SEEDS[name]))
    def run(data: bytes) -> None:
        hold(name, data, folder)

    for seed in SEEDS[name]:
        hold(name, seed, folder)
    run()


def test_a_window_of_a_damaged_film(tmp_path: Path) -> None:
    whole = film(tmp_path / "a.mp4", steady(24), gop=8).read_bytes()

    @settings(max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(edited(whole), st.integers(0, len(whole)))
    def run(data: bytes, end: int) -> None:
        hold("a_window", data, tmp_path)
        hold("a_window", data[:end], tmp_path)

    run()


@st.composite
def near(draw: st.DrawFn) -> str:
    """The bundled recipe with a value or two in it exchanged, at any depth."""
    tree = yaml.safe_load(recipe.plugins.recipe_text("long_take"))
    for _ in range(draw(st.integers(1, 2))):
        place = tree
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and draw(st.integers(0, 4)):
                place = place[key]
                continue
            place[key] = draw(TREES)
            break
    return yaml.safe_dump(tree, sort_keys=False)


@settings(max_examples=16, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(near())
def test_a_nearly_right_recipe_runs_or_is_refused_with_its_place(text: str) -> None:
    try:
        loaded = recipe.parse(text, "near.yaml")
    except recipe.RecipeError as error:
        parsers.said_well(str(error), "near.yaml:")
    else:
        assert recipe.parse(yaml.safe_dump(loaded.dump()), "again") == loaded


@pytest.mark.parametrize(
    "text",
    [
        "a: 2020-13-45", "a: !!int ''", "a: !!timestamp x", "a: !!float x", "? [a]\n: b", "a: &a [*a]", "[" * 1000,
        "{a: " * 2000, "- " * 2000, "a: \ud800", "a: !!binary \u00e9", "0: {<<: 3}", "a: !!bool x",
    ],
)  # fmt: skip
def test_every_fault_of_yaml_is_one_kind_of_error(text: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read_yaml(text)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["&a{0} [{1}]", "&a{0} {{x: {1}}}", "&a{0}\n  <<: [{1}]"])
def test_anchors_within_anchors_are_counted_before_they_are_followed(form: str) -> None:
    bomb = ["a0: &a0 {x: 1}"]
    for number in range(1, 40):
        below = (
            ", ".join([f"*a{number - 1}"] * 9) if "<<" in form or "[" in form else f"*a{number - 1}, y: *a{number - 1}"
        )
        bomb.append(f"a{number}: {form.format(number, below)}")
    text = "\n".join(bomb)
    began = time.process_time()
    with pytest.raises(DocumentError, match=str(MOST_REPEATED)):
        read_yaml(text)
    with pytest.raises(recipe.RecipeError, match="anchors"):
        recipe.parse(f"name: x\nstages: {{}}\n{text}", "bomb.yaml")
    assert time.process_time() - began < 2


def test_anchors_that_save_writing_are_followed() -> None:
    text = "base: &b {signals: {}, cuts: {}}\nname: x\nstages: {<<: *b, takes: {}}\n"
    assert list(read_yaml(text)["stages"]) == ["signals", "cuts", "takes"]


@pytest.mark.parametrize("given_there", ["limits: soon", "limits: [1]", "stages: {signals: 5}"])
def test_an_override_of_what_is_no_mapping_is_refused(given_there: str) -> None:
    name = "limits" if "limits" in given_there else "signals"
    with pytest.raises(recipe.RecipeError, match="--set"):
        recipe.parse(f"name: x\nstages: {{signals: {{}}}}\n{given_there}\n", "x.yaml", [f"{name}.a=1"])


@pytest.mark.parametrize(("body", "why"), [(parquet([1]), "must be text"), (b"path,path\na,b\n", "two columns")])
def test_a_list_that_names_no_files_is_refused(tmp_path: Path, body: bytes, why: str) -> None:
    place = tmp_path / ("films.parquet" if body[:4] == b"PAR1" else "films.csv")
    place.write_bytes(body)
    with pytest.raises(InputError, match=why):
        listing([str(place)])


def test_latents_that_claim_more_than_they_hold_ask_for_no_memory(tmp_path: Path) -> None:
    data = latents([9, 1, 200_000, 200_000], bytes(64))
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(BadTakeError, match="not as many in its member"):
        read_latents(Tars().open(tmp_path / "a", Member(0, len(data))), [0, 1])
