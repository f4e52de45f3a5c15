"""Several ranks, real ones, started by torchrun: the same training as on one, and resumed on any number of them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from longtune_ranks import train
from safetensors.torch import load_file

from pipelines.longtune.checkpoint import find_checkpoint
from pipelines.longtune.config import Config, load_config
from pipelines.longtune.weights import make_generator
from tests.pipelines.longtune_run import STEPS, method_config, save_generator, write_bars

ROOT = Path(__file__).parents[2]
STOP = 3
METHODS = ("tiny_far", "tiny_rolling_forcing", "tiny_streaming_dmd")


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """Four takes of 2 s."""
    return write_bars(tmp_path_factory.mktemp("takes"), 4, 24, 12, 64, 48)


def config(**sections: object) -> dict:
    """A tiny run with all that a checkpoint can hold: adapters or not, an average, accumulation."""
    values = load_config("tiny").to_json()
    values["data"] |= {"frames": 5, "height": 32, "width": 32, "num_workers": 0, "batch_size": 2}
    values["causal"] = {"block": 1, "window": 2, "sink": 1}
    values["train"] |= {"vae_steps": 1, "steps": STEPS, "checkpoint_every": 2, "micro_batch": 1, "device": "cpu"}
    values["sample"] |= {"every": 3, "seconds": 0.1, "steps": 1}
    values["ema"] = {"decay": 0.5, "start": 1}
    return values | sections


def losses(run: Path, name: str = "loss") -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["stage"] == "transformer"] == list(range(1, STEPS + 1))
    return [row[name] for row in rows]


def weights(run: Path) -> dict[str, torch.Tensor]:
    """What a run ended with, as it is sampled."""
    return load_file(find_checkpoint(run) / "transformer" / "diffusion_pytorch_model.safetensors")


def same(one: Path, other: Path) -> bool:
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in theirs)


def on_two_ranks(jobs: list[dict], folder: Path) -> None:
    path = folder / "jobs.json"
    path.write_text(json.dumps(jobs, default=str))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(ROOT / "tests" / "pipelines" / "longtune_ranks.py"), str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, "\n".join(done.stderr.splitlines()[-30:])


@pytest.fixture(scope="module")
def runs(shards, tmp_path_factory) -> Path:
    """Runs on one rank and on two, through and stopped; each stopped one is gone on with, on one rank and on two.

    The runs on two share one start of torchrun, those of the methods with networks or a state of their own as well.
    """
    folder = tmp_path_factory.mktemp("runs")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums are split by threads; torchrun's ranks have one, too

    def job(name: str, **more: object) -> dict:
        return {"config": config(), "shards": shards, "out": folder / name, **more}

    def alone(wanted: dict) -> None:
        train(wanted["config"], wanted["shards"], wanted["out"], wanted.get("stop_at"))

    generator = save_generator(tmp_path_factory.mktemp("generator"))
    long = write_bars(tmp_path_factory.mktemp("long"), 2, 40, 8, 64, 64)  # of 5 s

    def method(name: str, **more: object) -> dict:
        return {"config": method_config(name, generator), "shards": long, "out": folder / name, **more}

    alone(job("1"))
    alone(job("1-2", stop_at=STOP))
    shutil.copytree(folder / "1-2", folder / "1-1")
    alone(job("1-1"))
    on_two_ranks(
        [
            job("2"),
            job("2-1", stop_at=STOP),
            job("2-2", copy_of=folder / "2-1"),
            job("1-2"),
            job("lora", config=config(lora={"rank": 2, "alpha": 2})),
            *map(method, METHODS),
            method(METHODS[-1], out=folder / "stopped", stop_at=STOP),
            method(METHODS[-1], out=folder / "stopped"),
        ],
        folder,
    )
    alone(job("2-1"))
    torch.set_num_threads(threads)
    return folder


@pytest.mark.slow
def test_stopped_and_gone_on_with_is_as_undisturbed(runs):
    for ranks in ("1", "2"):
        assert losses(runs / f"{ranks}-{ranks}") == losses(runs / ranks)
        assert same(runs / f"{ranks}-{ranks}", runs / ranks)


@pytest.mark.slow
def test_ranks_train_as_one_process_does(runs):
    assert losses(runs / "2") == pytest.approx(losses(runs / "1"), rel=1e-5)
    ours, theirs = weights(runs / "2"), weights(runs / "1")
    assert all(torch.allclose(ours[key], theirs[key], atol=1e-5) for key in theirs)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["2-1", "1-2"])
def test_a_run_goes_on_on_another_number_of_ranks(runs, name):
    before = 1 + 2
    whole = losses(runs / name[0])
    assert losses(runs / name)[:before] == whole[:before]
    assert losses(runs / name)[before:] == pytest.approx(whole[before:], rel=1e-5)


@pytest.mark.slow
def test_sharded_adapters_leave_the_base_as_it_was(runs):
    torch.manual_seed(0)
    base = make_generator(Config.model_validate(config()).model).transformer.state_dict()
    assert base.keys() == weights(runs / "lora").keys()
    assert all(torch.equal(base[key], value) for key, value in weights(runs / "lora").items())
    adapters = load_file(find_checkpoint(runs / "lora") / "lora" / "pytorch_lora_weights.safetensors")
    moved = [key for key, value in adapters.items() if "lora_B" in key and value.any()]
    assert len(moved) == len(adapters) / 2


@pytest.mark.slow
def test_methods_run_sharded_and_a_stopped_stream_goes_on(runs):
    """Whose passes must be as many on each rank; what is stopped goes on on both, bit for bit."""
    assert all(len(losses(runs / name)) == STEPS for name in METHODS)
    for name in ("loss", "loss_critic"):
        assert losses(runs / "stopped", name) == losses(runs / METHODS[-1], name)
