"""From shards to losses and back: a real dataset, a real run on it, and a selection that uses what the run found."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer
import yaml
from rich.console import Console
from typer.testing import CliRunner

from curate import recipe as recipes
from curate.commands.select import select
from curate.dataset import Dataset
from curate.place import Place
from curate.progress import Reporter
from curate.run import Summary, run
from pipelines.longtune.cli import train
from pipelines.longtune.config import load_config
from schemas import losses
from tests.curate.excerpts import excerpt

ENGINE = str(Path(__file__).parents[1] / "curate" / "engine.yaml")
EVERYTHING = ["takes.min_s=1", "screen.rules={}", "select.rules={}", "clips.preset=ultrafast", "pack.val_share=0"]
APP = typer.Typer()
APP.add_typer(train, name="train")
APP.command("select")(select)


def command(*words: object) -> dict:
    done = CliRunner().invoke(APP, [*map(str, words), "--json"])
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def curated(recipe: str, inputs: list[Path], output: Path, scheduler: str, overrides: list[str]) -> Summary:
    with Reporter(Console(stderr=True), quiet=True) as reporter:
        return run(recipes.load(recipe, overrides), [str(i) for i in inputs], str(output), reporter, Place(scheduler))


@pytest.mark.slow
def test_what_a_run_learns_of_clips_decides_what_is_kept(footage, scheduler, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("pancake.mkv", "yoga.mp4"):
        excerpt(footage / "footage" / "takes" / name, tmp_path / "in" / name, 3)
    dataset = tmp_path / "dataset"
    assert curated(ENGINE, [tmp_path / "in"], dataset, scheduler, EVERYTHING).failed == 0
    values = load_config("tiny").to_json()
    values["data"] |= {"frames": 5, "height": 32, "width": 32, "num_workers": 0, "batch_size": 1}
    values["causal"] = {"block": 1, "window": 2, "sink": 1}
    values["train"] |= {"vae_steps": 2, "steps": 6, "device": "cpu"}
    values["sample"] |= {"seconds": 0.5, "steps": 1}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(values))
    command("train", tmp_path / "small.yaml", "--shards", dataset / "shards", "-o", tmp_path / "run")

    told = command("train", "feedback", tmp_path / "run", dataset)
    seen = {row["key"].split(":")[-1]: row for row in pq.read_table(tmp_path / "run" / "losses.parquet").to_pylist()}
    assert sum(row["count"] for row in seen.values()) == 6
    rows = {row["clip_id"]: row for row in Dataset(str(dataset)).scan(losses.TABLE).to_table().to_pylist()}
    assert told["clips"] == len(rows)
    assert told["trained"] == len(seen) >= 2
    assert seen.keys() <= rows.keys()
    for clip, row in rows.items():
        assert row["steps"] == (seen[clip]["count"] if clip in seen else 0)
        assert (row["unmeasured"] == "not trained on") == (clip not in seen)
    means = {clip: rows[clip]["mean"] for clip in seen}
    assert all(means[clip] == pytest.approx(seen[clip]["sum"] / seen[clip]["count"]) for clip in seen)

    worst = max(means, key=lambda clip: means[clip])
    bound = (means[worst] + sorted(means.values())[-2]) / 2
    rule = f"select.rules.learnable={{column: losses.mean, max: {bound}, unmeasured: accept}}"
    found = command("select", dataset, "--set", rule)
    assert [clip["clip_id"] for clip in found["go_out"]["listed"]] == [worst]
    # The job goes on from there, and has nothing to do about the losses.
    parts = sorted((dataset / "tables" / "losses").iterdir())
    assert curated(str(dataset / "recipe.yaml"), [tmp_path / "in"], dataset, scheduler, []).failed == 0
    assert sorted((dataset / "tables" / "losses").iterdir()) == parts


def test_a_run_without_losses_or_a_folder_without_a_dataset_is_wrong_use(tmp_path):
    done = CliRunner().invoke(APP, ["train", "feedback", str(tmp_path), str(tmp_path)])
    assert (done.exit_code, "is no dataset" in done.stderr) == (2, True)
