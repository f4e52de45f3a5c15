"""A small dataset of hostile captions, in each layout, read as its consumer reads it."""

import ast
import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save
from typer.testing import CliRunner

from curate.cli import app
from curate.dataset import Dataset, to_arrow
from pipelines.export.command import Layout, export
from schemas import caption_checks, captions, clips, decisions, latents, media, motion, sources

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
    if layout == "videox-fun":
        (row,) = json.loads((out / "metadata.json").read_text())
        assert (out / row["file_path"]).read_bytes() == b"film"
        told = {"text": " ".join(TEXTS[0].split()), "type": "video", "width": 64, "height": 36}
        assert row == told | {"file_path": row["file_path"]}
    if layout == "fastvideo":
        (row,) = json.loads((out / "videos2caption.json").read_text())
        assert (out / "videos" / row["path"]).read_bytes() == b"film"
        assert row["resolution"] == {"width": 64, "height": 36}
        assert not (out / "parquet").exists()  # the dataset has no latents
    if layout == "dpo":
        pairs = [json.loads(line) for line in (out / "pairs.jsonl").read_text().splitlines()]
        assert all(pair["chosen"] != pair["rejected"] for pair in pairs)


def test_fastvideo_gets_the_latents_that_there_are(dataset, tmp_path):
    made = torch.arange(3 * 4 * 2 * 5, dtype=torch.float16).view(3, 4, 2, 5)  # frames, channels, rows, columns
    told = {"fps": "16.0", "frames": "9", "width": "40", "height": "16"}
    dataset.write("clips/l", save({"latents": made}, told))
    texts = torch.frombuffer(bytearray(json.dumps(["", TEXTS[0]]).encode()), dtype=torch.uint8)
    words = torch.ones(7, 6, dtype=torch.bfloat16) / 3
    dataset.write("clips/t", save({"0": words[:1].clone(), "1": words, "captions": texts}))
    for table, path in ((latents.LATENTS, "clips/l"), (latents.TEXT, "clips/t")):
        rows = [filled(table, source_id="s1", clip_id="c1", path=path)]
        dataset.write_part(table, "k", to_arrow(table, rows), {})
    run(dataset, "fastvideo", tmp_path / "out")
    found = pq.read_table(tmp_path / "out/parquet/latents.parquet")
    assert found.schema.names[:4] == ["id", "vae_latent_bytes", "vae_latent_shape", "vae_latent_dtype"]
    (row,) = found.to_pylist()
    # As FastVideo's loader reads it, which takes float32 for granted.
    latent = np.frombuffer(row["vae_latent_bytes"], dtype=np.float32).reshape(row["vae_latent_shape"])
    assert (latent == made.float().transpose(0, 1).numpy()).all()
    embedding = np.frombuffer(row["text_embedding_bytes"], dtype=np.float32).reshape(row["text_embedding_shape"])
    assert (embedding == words.float().numpy()).all()
    assert (row["num_frames"], row["width"], row["height"], row["fps"], row["duration_sec"]) == (3, 40, 16, 16, 9 / 16)
    assert row["caption"] == TEXTS[0]


def test_what_is_there_is_not_overwritten(dataset, tmp_path):
    (tmp_path / "mine").write_text("mine")
    done = CliRunner().invoke(app, ["export", dataset.url, "panda", "-o", str(tmp_path)])
    assert done.exit_code == 1
    assert (tmp_path / "mine").read_text() == "mine"
