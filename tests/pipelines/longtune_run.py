"""A run's folder with the checkpoint of an untrained toy generator: what the tests of generate and verify share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import webdataset as wds

from pipelines.longtune.config import Config, load_config
from pipelines.longtune.video import VideoWriter
from pipelines.longtune.weights import PARTS, make_generator


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
