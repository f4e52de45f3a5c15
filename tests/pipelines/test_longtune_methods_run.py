"""The methods whose state or networks go beyond the generator's, in whole runs: stopped, gone on with, on two ranks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipelines.longtune.checkpoint import find_checkpoint
from pipelines.longtune.config import load_config
from pipelines.longtune.model.far import FILE, FarWanTransformer3DModel
from pipelines.longtune.weights import PARTS, load_generator, make_generator
from tests.pipelines.longtune_ranks import train
from tests.pipelines.longtune_run import write_bars

ROOT = Path(__file__).parents[2]
STEPS, STOP = 4, 3  # of which the first two are in a checkpoint


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """Two takes of 5 s."""
    return write_bars(tmp_path_factory.mktemp("takes"), 2, 40, 8, 64, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A toy generator with all its parts: what runs start from, and their teacher."""
    path = tmp_path_factory.mktemp("generator")
    torch.manual_seed(3)
    made = make_generator(load_config("tiny").model)
    for part in PARTS:
        getattr(made, part).save_pretrained(path / part)
    return path


def config(name: str, folder: Path) -> dict:
    """A bundled config, of a few seconds."""
    values = load_config(name).to_json()
    values["model"] = {"from": str(folder), "text_tokens": 16}
    values["data"] |= {"frames": 13, "height": 32, "width": 32, "num_workers": 0, "batch_size": 2}
    values["causal"] = {"block": 1, "window": 2, "sink": 0 if name == "tiny_far" else 1}
    values["train"] |= {"vae_steps": 0, "steps": STEPS, "checkpoint_every": 2, "keep": 9, "device": "cpu"}
    values["sample"] |= {"seconds": 0.5, "steps": 3}
    if name == "tiny_recycling":
        values["method"]["recycling"] = {"warm_up": 1, "clean": 0}
    if name == "tiny_streaming_dmd":
        more = {"clip": 4, "fresh": 3, "max_frames": 10, "steps": 3, "critic_per_generator": 2}
        values["method"] = {"name": "streaming_dmd", "teacher": str(folder), **more}
    return values


def losses(run: Path) -> list[tuple]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    done = [row for row in rows if row["stage"] == "transformer"]
    assert [row["step"] for row in done] == list(range(1, STEPS + 1))
    return [(row["loss"], row.get("loss_critic")) for row in done]


@pytest.mark.parametrize("name", ["tiny_recycling", "tiny_far", "tiny_streaming_dmd"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(name, shards, folder, tmp_path):
    through, stopped = tmp_path / "through", tmp_path / "stopped"
    train(config(name, folder), shards, through)
    shutil.copytree(through, stopped)  # what a kill after step 3 leaves
    shutil.rmtree(find_checkpoint(stopped))
    (stopped / "summary.json").unlink()
    train(config(name, folder), shards, stopped)
    assert losses(through) == losses(stopped)
    if name == "tiny_streaming_dmd":
        assert [loss is not None for loss, _ in losses(through)] == [True, False, True, False]
        assert all(critic is not None for _, critic in losses(through))
    checkpoints = [find_checkpoint(run) for run in (through, stopped)]
    ours, theirs = (load_file(path / "transformer" / "diffusion_pytorch_model.safetensors") for path in checkpoints)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    if name == "tiny_far":
        assert not any("far" in key for key in ours)
        assert (checkpoints[0] / FILE).is_file()
        assert isinstance(load_generator(checkpoints[0]).transformer, FarWanTransformer3DModel)


@pytest.mark.slow
def test_methods_run_on_two_ranks_sharded(shards, folder, tmp_path):
    """Whose passes must be as many on each; a stopped stream goes on on both, bit for bit."""
    jobs = [
        {"config": config(name, folder), "shards": str(shards), "out": str(tmp_path / name)}
        for name in ("tiny_far", "tiny_rolling_forcing", "tiny_streaming_dmd")
    ]
    again = jobs[-1] | {"out": str(tmp_path / "stopped")}
    jobs += [again | {"stop_at": STOP}, again]
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(ROOT / "tests" / "pipelines" / "longtune_ranks.py"), str(tmp_path / "jobs.json")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, "\n".join(done.stderr.splitlines()[-30:])
    for job in jobs:
        assert len(losses(Path(job["out"]))) == STEPS
    assert losses(tmp_path / "stopped") == losses(tmp_path / "tiny_streaming_dmd")
