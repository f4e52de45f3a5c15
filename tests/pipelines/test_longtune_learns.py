"""That it learns: on real takes, the loss at fixed noise falls, and falls below that of a model taught nonsense."""

import json
import shutil
from pathlib import Path

import av
import pytest
import torch
import webdataset as wds

from pipelines.longtune.checkpoint import list_checkpoints
from pipelines.longtune.config import CausalConfig, Config, load_config
from pipelines.longtune.data.index import build_index
from pipelines.longtune.data.loader import Cursor, open_batches
from pipelines.longtune.data.shards import list_shards
from pipelines.longtune.methods import flow, teacher_forcing
from pipelines.longtune.methods.method import LatentBatch, Tools
from pipelines.longtune.progress import Reporter
from pipelines.longtune.train import train_run
from pipelines.longtune.vae import encode, to_pixels
from pipelines.longtune.video import VideoWriter
from pipelines.longtune.weights import Generator, load_generator

TAKES = ("chaplin.mp4", "cockatoo.mp4", "dj4.mp4", "jesse_dance.mp4", "vl2_103.mp4", "yoga.mp4")
BATCHES = 4
FPS, SECONDS = 8, 4


def shrunk(path: Path, out: Path) -> bytes:
    """The first seconds of a take at 8 fps and 64x48, so that a step's time goes to the networks."""
    with av.open(str(path)) as container, VideoWriter(out, FPS, 64, 48) as writer:
        for frame in container.decode(container.streams.video[0]):
            if frame.time * FPS >= writer.frames:
                writer.write(frame.to_ndarray(width=64, height=48, format="rgb24"))
            if writer.frames == SECONDS * FPS:
                break
    return out.read_bytes()


@pytest.fixture(scope="module")
def shards(footage, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    (folder / "train").mkdir()
    with wds.TarWriter(str(folder / "train" / "000000.tar")) as tar:
        for name in TAKES:
            path = footage / "footage" / "takes" / name
            tar.write({"__key__": path.stem, "mp4": shrunk(path, folder / f"{path.stem}.mp4"), "txt": path.stem})
    return folder


def config() -> Config:
    values = load_config("tiny").to_json()
    values["data"] |= {"frames": 9, "height": 32, "width": 32, "num_workers": 0, "batch_size": 3}
    values["data"]["captions"] = {"drop": 0.0}
    values["causal"] |= {"block": 1, "window": 3, "sink": 1}
    values["train"] |= {"vae_steps": 25, "steps": 60, "lr": 5e-3, "keep": 9, "checkpoint_every": 1000, "device": "cpu"}
    values["sample"] |= {"seconds": 0.5, "steps": 1}
    return Config.model_validate(values)


@torch.no_grad()
def judged(generator: Generator, wanted: Config, shards: Path) -> float:
    """The mean loss on fixed windows, at fixed levels, with fixed noise."""
    cpu = torch.device("cpu")
    generator.to(cpu)
    tools = Tools(
        generator.transformer,
        generator.vae,
        generator.embedder(wanted.model.text_tokens),
        CausalConfig(**wanted.causal.model_dump()),
        wanted.data.latents,
        wanted.train.flow_shift,
        cpu,
    )
    method = teacher_forcing.TeacherForcing(tools, wanted.method)
    batches = open_batches(
        build_index(list_shards(shards)), wanted.data, wanted.causal, seed=99, cursor=Cursor(), rank=0, world=1
    )
    total = 0.0
    for number in range(BATCHES):
        batch = next(batches)
        latents = encode(generator.vae, to_pixels(batch.video))
        takes = LatentBatch(latents, batch.frames, batch.target, batch.captions, batch.timelines, batch.keys)
        loss = method.losses(takes, 0, torch.Generator().manual_seed(number))["generator"]
        total += loss.value.item() / BATCHES
    return total


@pytest.mark.slow
def test_the_loss_falls_on_real_takes_and_only_with_their_own_targets(shards, tmp_path, monkeypatch):
    wanted = config()
    train_run(wanted, shards, tmp_path / "run", Reporter())
    before, after = list_checkpoints(tmp_path / "run")[-2:]
    assert before.name == "step-000000"
    # The control has the same start, takes and noise, and learns each sample's velocity for another sample.
    control = tmp_path / "control"
    shutil.copytree(before, control / "checkpoints" / before.name)

    def shuffled(velocity: torch.Tensor, target: torch.Tensor, *rest: torch.Tensor, **more: torch.Tensor) -> object:
        return flow.velocity_loss(velocity, target.roll(1, dims=0), *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(teacher_forcing, "velocity_loss", shuffled)
        train_run(wanted, shards, control, Reporter())
    first, last, nonsense = (
        judged(load_generator(path), wanted, shards) for path in (before, after, list_checkpoints(control)[-1])
    )
    print(json.dumps({"start": round(first, 4), "end": round(last, 4), "shuffled targets": round(nonsense, 4)}))
    assert last < 0.6 * first
    assert last < 0.9 * nonsense
