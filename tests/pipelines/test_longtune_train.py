"""The commands end to end: train on shards, be killed and go on, generate, and speak plainly of what is wrong."""

import io
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
from diffusers import WanPipeline, WanTransformer3DModel
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from pipelines.longtune.checkpoint import find_checkpoint, read_config, read_state
from pipelines.longtune.cli import train
from pipelines.longtune.config import load_config
from pipelines.longtune.generate_command import generate
from pipelines.longtune.video import VideoWriter
from pipelines.longtune.weights import load_generator

ROOT = Path(__file__).parents[2]
APP = typer.Typer()
APP.add_typer(train, name="train")
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
    assert load_config(str(run / "config.yaml")) == read_config(find_checkpoint(run))
    assert summary["steps"] == 12
    assert summary["first_loss"] > summary["last_loss"] > 0
    assert [take["name"] for take in summary["bad_takes"]] == ["000000.tar:broken"]
    assert probe(Path(summary["sample"]["path"])) == (12, 1.5, 32, 32)
    # Two are kept; the older ones, and those of the VAE, are gone.
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step-000008", "step-000012"]
    checkpoint = find_checkpoint(run)
    assert {path.name for path in checkpoint.iterdir()} == {
        *("transformer", "vae", "text_encoder", "tokenizer", "train_state", "sources.json")
    }
    suffixes = {path.suffix for path in checkpoint.rglob("*") if path.is_file()}
    assert suffixes == {".safetensors", ".json", ".parquet"}
    state = read_state(checkpoint)
    assert (state.stage, state.step) == ("transformer", 12)


def test_tensorboard_shows_the_curves_and_the_sample(trained):
    run, _, _ = trained
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert {"vae/loss", "transformer/loss", "transformer/grad_norm", "transformer/data_wait"} <= {
        *events.Tags()["scalars"]
    }
    shown = [(event.step, event.value) for event in events.Scalars("transformer/loss")]
    wanted = [(3 + step, loss) for stage, step, loss in losses(run) if stage == "transformer"]
    assert [step for step, _ in shown] == [step for step, _ in wanted]
    assert [value for _, value in shown] == pytest.approx([value for _, value in wanted])
    (picture,) = events.Images("sample")
    with Image.open(io.BytesIO(picture.encoded_image_string)) as animation:
        assert (animation.format, animation.n_frames, animation.size) == ("GIF", 12, (32, 32))


def test_an_exported_folder_is_a_stock_pipeline_of_the_same_weights(trained, tmp_path):
    run, _, _ = trained
    done = invoke("train", "export", run, "-o", tmp_path / "out", "--as", "diffusers", "--json")
    assert done.exit_code == 0, done.stderr
    pipeline = WanPipeline.from_pretrained(str(tmp_path / "out"))
    assert type(pipeline.transformer) is WanTransformer3DModel
    assert pipeline.scheduler.config.shift == 5.0
    ours = load_generator(find_checkpoint(run)).transformer
    latents, text = torch.randn(1, 4, 3, 4, 4), torch.randn(1, 8, 16)
    with torch.no_grad():
        stock = pipeline.transformer(latents, torch.tensor([500.0]), text, return_dict=False)[0]
        mine = ours(latents, torch.full((1, 3), 500.0), text, positions=torch.arange(3))[0]
    assert torch.allclose(stock, mine, atol=1e-5)
    again = invoke("train", "export", run, "-o", tmp_path / "out")
    assert (again.exit_code, "is there already" in again.stderr) == (2, True)
    lora = invoke("train", "export", run, "-o", tmp_path / "lora", "--as", "lora")
    assert (lora.exit_code, "no adapters; use --as diffusers" in lora.stderr) == (2, True)
    assert not (tmp_path / "lora").exists()


def test_an_estimate_trains_nothing(tmp_path):
    done = invoke("train", "--estimate", "tiny", "--gpu", "A100 80GB", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["gpu"], found["fits"]) == ("A100 80GB", True)
    told = invoke("train", "tiny", "--estimate")
    assert "have not been held against a GPU" in told.stdout
    wrong = invoke("train", "--estimate", "tiny", "--gpu", "GeForce")
    assert (wrong.exit_code, "there are: A100 40GB" in wrong.stderr) == (2, True)


def test_a_finished_run_says_so(trained, shards):
    run, summary, config = trained
    result = invoke("train", config, "--shards", shards, "-o", run, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {**summary, "already_done": True}
    assert "already done" in result.stderr


def test_latents_are_normalised_by_the_checkpoint(trained):
    vae = load_generator(find_checkpoint(trained[0])).vae
    assert vae.config.latents_mean != [0.0] * 4
    assert all(std > 0 and std != 1.0 for std in vae.config.latents_std)


def test_generate_streams_to_a_file_of_the_asked_length(trained, tmp_path):
    made = invoke("generate", trained[0], "--prompt", "a bar", "-o", tmp_path / "a.mp4", "--seconds", 4, "--json")
    assert made.exit_code == 0, made.stderr
    assert json.loads(made.stdout)["frames"] == 32
    assert probe(tmp_path / "a.mp4") == (32, 4.0, 32, 32)
    again = invoke("generate", find_checkpoint(trained[0]), "--prompt", "a bar", "-o", tmp_path / "b.mp4")
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
    code = "import typer; from pipelines.longtune.cli import train; train()"
    command = [sys.executable, "-c", code, "run", config, "--shards", str(shards), "-o", str(tmp_path / "run")]
    metrics = tmp_path / "run" / "metrics.jsonl"
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (metrics.exists() and metrics.read_text().count("\n") >= 3 + 6):
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert 9 <= metrics.read_text().count("\n") < 15
    assert find_checkpoint(tmp_path / "run").name in {"step-000004", "step-000008"}
    result = invoke("train", config, "--shards", shards, "-o", tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    assert "resuming" in result.stderr
    ours, theirs = losses(tmp_path / "run"), losses(run)
    assert [row[:2] for row in ours] == [row[:2] for row in theirs]
    assert ours == theirs  # to the last bit


def test_weights_to_start_from_are_taken_from_a_folder(trained, shards, tmp_path):
    values = shrunk(vae_steps=0, steps=2)
    values["model"] = {"from": str(find_checkpoint(trained[0])), "text_tokens": 64}
    result = invoke("train", written(tmp_path / "c.yaml", values), "--shards", shards, "-o", tmp_path / "run", "--json")
    assert result.exit_code == 0, result.stderr
    assert {stage for stage, _, _ in losses(tmp_path / "run")} == {"transformer"}
    ours, theirs = (load_generator(find_checkpoint(run)).vae.state_dict() for run in (tmp_path / "run", trained[0]))
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
    code = "import sys; sys.modules['torch'] = None; import typer; from pipelines.longtune.cli import train; train()"
    command = [sys.executable, "-c", code, "run", "tiny", "--shards", str(tmp_path), "-o", str(tmp_path / "run")]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "pip install 'longtake[train]'" in done.stderr
    assert "Traceback" not in done.stderr
