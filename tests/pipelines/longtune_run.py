"""A run's folder with the checkpoint of an untrained toy generator: what the tests of generate and verify share."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from pipelines.longtune.config import Config, load_config
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
