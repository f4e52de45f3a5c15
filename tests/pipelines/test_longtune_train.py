"""The commands end to end: train on shards, be killed and go on, generate, and speak plainly of what is wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import typer
import webdataset as wds
import yaml
from typer.testing import CliRunner

from pipelines.longtune import checkpoint as checkpoints
from pipelines.longtune.checkpoint import TrainState, find_checkpoint, read_config, read_state, save_checkpoint
from pipelines.longtune.cli import generate, train
from pipelines.longtune.config import Config, load_config
from pipelines.longtune.video import VideoWriter
from pipelines.longtune.weights import load_generator, make_generator

ROOT = Path(__file__).parents[2]
APP = typer.Typer()
APP.command("train")(train)
APP.command("generate")(generate)


def shrunk(**train: object) -> dict:
    """The bundled tiny config, of a few seconds."""
    values = load_config("tiny").to_json()
    values["data"] |= {"frames": 9, "height": 32, "width": 32, "num_workers": 0, "batch_size": 1}
    values["causal"] = {"block": 1, "window": 2, "sink": 1}
    values["train"] |= {"vae_steps": 3, "steps": 12, "checkpoint_every": 4, "device": "cpu", **train}
    values["sample"] |= {"seconds": 1.5, "steps": 2}
    return values


def written(path: Path, values: dict) -> str:
    path.write_text(yaml.safe_dump(values))
    return str(path)


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """Three takes of 3 s, a bright bar moving over grey, and a broken one."""
    folder = tmp_path_factory.mktemp("takes")
    (folder / "train").mkdir()
    with wds.TarWriter(str(folder / "train" / "000000.tar")) as tar:
        for number in range(3):
            path = folder / f"{number}.mp4"
            with VideoWriter(path, 12, 64, 48) as writer:
                for index in range(36):
                    image = np.full((48, 64, 3), 60 + 40 * number, np.uint8)
                    image[:, (index + 9 * number) % 60 :][:, :8] = 220
                    writer.write(image)
            tar.write(
                {"__key__": f"take{number}", "mp4": path.read_bytes(), "json": {"clip_id": number}, "txt": "a bar"}
            )
        tar.write({"__key__": "broken", "mp4": b"nothing", "txt": "broken"})
    return folder


def invoke(*arguments: object):
    return CliRunner().invoke(APP, [str(argument) for argument in arguments])


def losses(run: Path) -> list[tuple[str, int, float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(row["stage"], row["step"], row["loss"]) for row in rows]


@pytest.fixture(scope="module")
def trained(shards, tmp_path_factory) -> tuple[Path, dict, str]:
    """A finished run: its folder, its summary, and the path of its config."""
    folder = tmp_path_factory.mktemp("trained")
    config = written(folder / "small.yaml", shrunk())
    result = invoke("train", config, "--shards", shards, "-o", folder / "run", "--json")
    assert result.exit_code == 0, result.stderr
    return folder / "run", json.loads(result.stdout), config


def probe(path: Path) -> tuple[int, float, int, int]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        return frames, container.duration / 1e6, stream.width, stream.height


def test_a_run_leaves_all_it_promises(trained):
    run, summary, _ = trained
    assert [(stage, step) for stage, step, _ in losses(run)] == [
        *(("vae", step) for step in range(1, 4)),
        *(("transformer", step) for step in range(1, 13)),
    ]
    assert load_config(str(run / "config.yaml")) == read_config(run / "checkpoint")
    assert summary["steps"] == 12
    assert summary["first_loss"] > summary["last_loss"] > 0
    assert [take["name"] for take in summary["bad_takes"]] == ["000000.tar:broken"]
    assert probe(Path(summary["sample"]["path"])) == (12, 1.5, 32, 32)
    assert {path.name for path in (run / "checkpoint").iterdir()} == {
        *("transformer", "vae", "text_encoder", "tokenizer", "train_state")
    }
    assert not [path for path in (run / "checkpoint").rglob("*") if path.suffix in {".bin", ".pt", ".pkl", ".pth"}]
    state = read_state(run / "checkpoint")
    assert (state.stage, state.step) == ("transformer", 12)


def test_a_finished_run_says_so(trained, shards):
    run, summary, config = trained
    result = invoke("train", config, "--shards", shards, "-o", run, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {**summary, "already_done": True}
    assert "already done" in result.stderr


def test_latents_are_normalised_by_the_checkpoint(trained):
    vae = load_generator(trained[0] / "checkpoint").vae
    assert vae.config.latents_mean != [0.0] * 4
    assert all(std > 0 and std != 1.0 for std in vae.config.latents_std)


def test_generate_streams_to_a_file_of_the_asked_length(trained, tmp_path):
    made = invoke("generate", trained[0], "--prompt", "a bar", "-o", tmp_path / "a.mp4", "--seconds", 4, "--json")
    assert made.exit_code == 0, made.stderr
    assert json.loads(made.stdout)["frames"] == 32
    assert probe(tmp_path / "a.mp4") == (32, 4.0, 32, 32)
    again = invoke("generate", trained[0] / "checkpoint", "--prompt", "a bar", "-o", tmp_path / "b.mp4")
    assert again.exit_code == 0
    assert "12 frames, 1.5 s" in again.stdout
    longer = invoke("generate", trained[0], "--prompt", "a bar", "-o", tmp_path / "c.mp4", "--seconds", 6, "--json")
    assert json.loads(longer.stdout)["cache_bytes"] == json.loads(made.stdout)["cache_bytes"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4", "c.mp4"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_killed_and_started_again_is_as_undisturbed(trained, shards, tmp_path):
    """kill -9 between checkpoints; the same command then repeats the lost steps and all that follow."""
    run, _, config = trained
    code = "import typer; from pipelines.longtune.cli import train; typer.run(train)"
    command = [sys.executable, "-c", code, config, "--shards", str(shards), "-o", str(tmp_path / "run")]
    metrics = tmp_path / "run" / "metrics.jsonl"
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (metrics.exists() and metrics.read_text().count("\n") >= 3 + 6):
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert 9 <= metrics.read_text().count("\n") < 15
    assert read_state(find_checkpoint(tmp_path / "run")).step in {4, 8}
    result = invoke("train", config, "--shards", shards, "-o", tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    assert "resuming" in result.stderr
    ours, theirs = losses(tmp_path / "run"), losses(run)
    assert [row[:2] for row in ours] == [row[:2] for row in theirs]
    # Only rounding may differ: matrix kernels choose their order by where memory happens to lie.
    assert [row[2] for row in ours] == pytest.approx([row[2] for row in theirs], rel=1e-4)


@pytest.fixture(scope="module")
def small() -> tuple[Config, object]:
    config = Config.model_validate(shrunk())
    torch.manual_seed(0)
    return config, make_generator(config.model)


@pytest.mark.parametrize("at", range(5))
def test_a_checkpoint_is_never_half_written(small, tmp_path, monkeypatch, at):
    """Die at every point of replacing a checkpoint: what is found is whole, and it is the old one or the new."""
    config, generator = small

    def save(step: int) -> None:
        state = TrainState("transformer", config.digest, [("0.tar", 1)], step=step)
        save_checkpoint(tmp_path, generator, config, state, torch.Generator(), "transformer", None)

    save(1)
    deaths = [
        (checkpoints, "save_file"),
        (checkpoints, "_flush"),
        (Path, "rename"),
        (Path, "rename"),
        (shutil, "rmtree"),
    ]
    target, name = deaths[at]
    original, calls = getattr(target, name), 0

    def die(*arguments: object, **options: object):
        nonlocal calls
        calls += 1
        if calls > {3: 1, 4: 2}.get(at, 0):
            raise SystemExit
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(target, name, die)
        with pytest.raises(SystemExit):
            save(2)
    found = find_checkpoint(tmp_path)
    assert read_state(found).step == (2 if at == 4 else 1)
    load_generator(found)
    save(3)
    assert read_state(find_checkpoint(tmp_path)).step == 3
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_unchanged_parts_are_linked_not_copied(small, tmp_path):
    config, generator = small
    for step in (1, 2):
        state = TrainState("transformer", config.digest, [], step=step)
        save_checkpoint(tmp_path, generator, config, state, torch.Generator(), "transformer", None)
        inodes = {path.parent.name: path.stat().st_ino for path in (tmp_path / "checkpoint").rglob("*.safetensors")}
        if step == 1:
            first = inodes
    assert inodes["vae"] == first["vae"]
    assert inodes["text_encoder"] == first["text_encoder"]
    assert inodes["transformer"] != first["transformer"]


def test_weights_to_start_from_are_taken_from_a_folder(trained, shards, tmp_path):
    values = shrunk(vae_steps=0, steps=2)
    values["model"] = {"from": str(trained[0] / "checkpoint"), "text_tokens": 64}
    result = invoke("train", written(tmp_path / "c.yaml", values), "--shards", shards, "-o", tmp_path / "run", "--json")
    assert result.exit_code == 0, result.stderr
    assert {stage for stage, _, _ in losses(tmp_path / "run")} == {"transformer"}
    ours, theirs = (load_generator(run / "checkpoint").vae.state_dict() for run in (tmp_path / "run", trained[0]))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": {"stepz": 3}}, "unknown key train.stepz; did you mean steps?"),
        ({"modle": {}}, "unknown key modle; did you mean model?"),
        ({"data": {"frames": 10}}, "frames must be 4k+1 for the VAE; 10 is not, 9 and 13 are"),
        ({"data": {"height": 30}}, "data.height"),
        ({"causal": {"block": 2, "window": 2}}, "does not divide"),
        ({"causal": {"block": 3, "window": 2}}, "window (2) must be -1 or at least the block (3)"),
        ({"train": {"vae_steps": 0}}, "train.vae_steps must be above 0"),
        ({"model": {"from": "somewhere"}}, "exactly one of 'from'"),
    ],
)
def test_a_wrong_config_is_wrong_use(shards, tmp_path, change, message):
    values = shrunk()
    for section, keys in change.items():
        values[section] = {**values.get(section, {}), **keys}
    config = written(tmp_path / "wrong.yaml", values)
    result = invoke("train", config, "--shards", shards, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert message in result.stderr
    assert config in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


def failing(*arguments: object) -> tuple[int, str]:
    result = invoke("train", *arguments)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stderr


def test_what_is_wrong_with_the_shards_is_said(shards, tmp_path):
    config = written(tmp_path / "c.yaml", shrunk())
    code, text = failing(config, "--shards", tmp_path / "nowhere", "-o", tmp_path / "a")
    assert (code, "no such folder" in text) == (2, True)
    code, text = failing(config, "--shards", tmp_path, "-o", tmp_path / "a")
    assert (code, "no train/*.tar here" in text) == (1, True)
    long = shrunk()
    long["data"] |= {"frames": 401}
    code, text = failing(written(tmp_path / "long.yaml", long), "--shards", shards, "-o", tmp_path / "b")
    assert code == 1
    assert "no take is as long as a window (50.00 s: 401 frames at 8 fps); 3 are shorter, the longest 3.00 s" in text
    strict = shrunk()
    strict["data"] |= {"on_bad_sample": "error"}
    code, text = failing(written(tmp_path / "strict.yaml", strict), "--shards", shards, "-o", tmp_path / "c")
    assert (code, "000000.tar:broken: cannot be decoded" in text) == (1, True)


def test_a_run_is_not_mixed_with_another(trained, shards, tmp_path):
    run, _, config = trained
    code, text = failing(written(tmp_path / "c.yaml", shrunk(steps=13)), "--shards", shards, "-o", run)
    assert code == 2
    assert "train.steps is 12 there, 13 here" in text
    shutil.copytree(run, tmp_path / "copy")
    (tmp_path / "copy" / "summary.json").unlink()
    shutil.copytree(shards, tmp_path / "more")
    shutil.copy(shards / "train" / "000000.tar", tmp_path / "more" / "train" / "000001.tar")
    code, text = failing(config, "--shards", tmp_path / "more", "-o", tmp_path / "copy")
    assert (code, "is of other shards (1 then, 2 now" in text) == (2, True)


def test_unknown_names_are_named(tmp_path):
    code, text = failing("huge", "--shards", tmp_path, "-o", tmp_path / "a")
    assert (code, "huge: no such config; give a YAML file or one of: tiny" in text) == (2, True)
    result = invoke("generate", tmp_path, "--prompt", "a", "-o", tmp_path / "a.mp4")
    assert (result.exit_code, "no checkpoint here" in result.stderr) == (2, True)
    result = invoke("generate", tmp_path, "--prompt", "a", "-o", tmp_path / "a.gif")
    assert (result.exit_code, "written as .mp4" in result.stderr) == (2, True)


def test_without_torch_the_extra_is_named(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None; import typer; "
        "from pipelines.longtune.cli import train; typer.run(train)"
    )
    command = [sys.executable, "-c", code, "tiny", "--shards", str(tmp_path), "-o", str(tmp_path / "run")]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "pip install 'longtake[train]'" in done.stderr
    assert "Traceback" not in done.stderr
