"""Toy generators, takes and configs: what the tests of training, generate and verify share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset as wds

from pipelines.longtune.config import Config, load_config
from pipelines.longtune.video import VideoWriter
from pipelines.longtune.weights import PARTS, make_generator

STEPS = 4
"""Of which the first two are in a checkpoint, where a run is stopped at its third."""


def make_run(folder: Path, method: dict[str, object] | None = None, **causal: object) -> Path:
    """Write it, and give it back; `method` and `causal` are those sections of the config."""
    values = load_config("tiny").to_json()
    values["data"] |= {"frames": 33, "height": 32, "width": 32}
    values["causal"] = {"block": 3, "window": 6, "sink": 1, **causal}
    if method:
        values["method"] = method
    values["sample"] |= {"seconds": 1.5, "steps": 2}
    config = Config.model_validate(values)
    torch.manual_seed(0)
    generator = make_generator(config.model)
    checkpoint = folder / "checkpoints" / "step-000001"
    for name in PARTS:
        getattr(generator, name).save_pretrained(checkpoint / name)
    (checkpoint / "train_state").mkdir()
    (checkpoint / "train_state" / "config.json").write_text(json.dumps(config.to_json()))
    return folder


def write_bars(folder: Path, takes: int, frames: int, fps: int, width: int, height: int) -> Path:
    """A shard of takes of a bright bar that moves over grey, and the folder to give to `--shards`."""
    (folder / "train").mkdir()
    with wds.TarWriter(str(folder / "train" / "000000.tar")) as tar:
        for number in range(takes):
            path = folder / f"{number}.mp4"
            with VideoWriter(path, fps, width, height) as writer:
                for index in range(frames):
                    image = np.full((height, width, 3), 60 + 40 * number, np.uint8)
                    image[:, (index + 9 * number) % (width - 8) :][:, :8] = 220
                    writer.write(image)
            tar.write({"__key__": f"take{number}", "mp4": path.read_bytes(), "json": {}, "txt": f"bar {number}"})
    return folder


def save_generator(folder: Path) -> Path:
    """A toy generator with all its parts: what runs start from, and their teacher."""
    torch.manual_seed(3)
    made = make_generator(load_config("tiny").model)
    for part in PARTS:
        getattr(made, part).save_pretrained(folder / part)
    return folder


def method_config(name: str, generator: Path) -> dict[str, Any]:
    """A bundled config, of a few seconds, that starts from a saved generator."""
    values = load_config(name).to_json()
    values["model"] = {"from": str(generator), "text_tokens": 16}
    values["data"] |= {"frames": 13, "height": 32, "width": 32, "num_workers": 0, "batch_size": 2}
    values["causal"] = {"block": 1, "window": 2, "sink": 0 if name == "tiny_far" else 1}
    values["train"] |= {"vae_steps": 0, "steps": STEPS, "checkpoint_every": 2, "keep": 9, "device": "cpu"}
    values["sample"] |= {"seconds": 0.5, "steps": 3}
    if name == "tiny_recycling":
        values["method"]["recycling"] = {"warm_up": 1, "clean": 0}
    if name == "tiny_streaming_dmd":
        more = {"clip": 4, "fresh": 3, "max_frames": 10, "steps": 3, "critic_per_generator": 2}
        values["method"] = {"name": "streaming_dmd", "teacher": str(generator), **more}
    return values
