"""A small dataset of hostile captions, in each layout, read as its consumer reads it."""

import ast
import csv
import json

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from curate.cli import app
from curate.dataset import Dataset, to_arrow
from pipelines.export.command import Layout, export
from schemas import caption_checks, captions, clips, decisions, media, motion, sources

app.command("export")(export)
TEXTS = ["=A red car\nwaits. The camera pans left.", "A dog --> runs <b>. The camera stands still."]


def filled(table, **given):
    blanks = {pa.types.is_nested: [], pa.types.is_string: "", pa.types.is_boolean: False}
    row = {f.name: next((v for is_, v in blanks.items() if is_(f.type)), 0) for f in table.schema if not f.nullable}
    return row | given


@pytest.fixture
def dataset(tmp_path):
    place = Dataset(str(tmp_path / "in"))
    place.write("recipe.yaml", b"")
    place.write("clips/x.mp4", b"film")
    ids = {"source_id": "s1", "clip_id": "c1"}
    nodes = [
        ("a", "shot", 2.0, 22.0, TEXTS[0]),
        ("b", "clip", 2.0, 12.0, TEXTS[0]),
        ("c", "clip", 12.0, 22.0, TEXTS[1]),
    ]
    told = [
        filled(
            captions.TABLE, **ids, node_id=n, level=v, start_s=s, end_s=e, text=t, facts="{}", model="m", short=t[1:9]
        )
        for n, v, s, e, t in nodes
    ]
    passed = [filled(caption_checks.TABLE, source_id="s1", node_id=n[0], passed=True) for n in nodes]
    film = {"duration_s": 20.0, "frames": 480, "fps": 24.0, "width": 64, "height": 36, "path": "clips/x.mp4"}
    tables = [
        (captions.TABLE, told),
        (caption_checks.TABLE, passed),
        (clips.TABLE, [filled(clips.TABLE, **ids, start_s=2.0, end_s=22.0)]),
        (decisions.TABLE, [filled(decisions.TABLE, **ids, kept=True)]),
        (media.TABLE, [filled(media.TABLE, **ids, **film)]),
        (motion.TABLE, [filled(motion.TABLE, **ids)]),
        (sources.SOURCES, [filled(sources.SOURCES, source_id="s1", path="/films/a.mp4", user="{}")]),
    ]
    for table, rows in tables:
        place.write_part(table, "k", to_arrow(table, rows), {})
    return place


def run(dataset, layout, out):
    done = CliRunner().invoke(app, ["export", dataset.url, layout, "-o", str(out), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("layout", [layout.value for layout in Layout])
def test_every_layout_is_read_back(dataset, layout, tmp_path):
    out = tmp_path / "out"
    assert run(dataset, layout, out)["written"] > 0
    if layout == "longlive1":
        (row,) = [json.loads(line)["prompts"] for line in (out / "prompts.jsonl").read_text().splitlines()]
        assert len(row) == 2
    if layout == "longlive2":
        assert json.loads((out / "caption/s1/000001.json").read_text())["caption"].startswith("=A red car waits.")
        assert (out / "video/s1/000001.mp4").read_bytes() == b"film"
        assert (out / "caption/s1/shot_durations.txt").read_text().split() == ["15"]
    if layout == "prompts":
        assert [len((out / n).read_text().splitlines()) for n in ("prompts.txt", "prompts_extended.txt")] == [1, 1]
    if layout == "open-sora":
        (row,) = rows_of(out / "meta.csv")
        assert row["text"].startswith("'=")
        assert (out / row["path"]).exists()
    if layout == "panda":
        (row,) = rows_of(out / "panda.csv")
        assert ast.literal_eval(row["timestamp"]) == [["0:00:02.000", "0:00:22.000"]]
    if layout == "lvd2m":
        (row,) = rows_of(out / "lvd2m.csv")
        assert ast.literal_eval(row["span"]) == ["00:00:02.000", "00:00:22.000"]
    if layout == "timesuite":
        assert json.loads((out / "grounded_captions.json").read_text())[0]["QA"][0]["a"].startswith(
            "0.0 - 10.0 seconds"
        )
    if layout == "webvtt":
        assert (out / "clips/c1.vtt").read_text().count("-->") == 2
    if layout == "dpo":
        pairs = [json.loads(line) for line in (out / "pairs.jsonl").read_text().splitlines()]
        assert all(pair["chosen"] != pair["rejected"] for pair in pairs)


def test_what_is_there_is_not_overwritten(dataset, tmp_path):
    (tmp_path / "mine").write_text("mine")
    done = CliRunner().invoke(app, ["export", dataset.url, "panda", "-o", str(tmp_path)])
    assert done.exit_code == 1
    assert (tmp_path / "mine").read_text() == "mine"
