"""A sample video in the course of training, from the average of the weights where there is one."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pipelines.longtune.config import Config
from pipelines.longtune.ema import Ema
from pipelines.longtune.generate import generate_video
from pipelines.longtune.parallel import World
from pipelines.longtune.weights import Generator


def make_sample(generator: Generator, config: Config, world: World, average: Ema | None, path: Path) -> dict[str, Any]:
    """Write the config's sample to `path` and say what was made, as `generate_video` does.

    To be called on every rank: sharded weights take all of them to run. Only rank 0's file is kept.
    """
    sample = config.sample
    # Temporal LoRA is for `curate generate`: here its adapter would meet those, or the shards, of the training.
    config = config.model_copy(update={"sample": sample.model_copy(update={"temp_lora": None})})
    training = generator.transformer.training
    with tempfile.TemporaryDirectory() as scratch, average.applied() if average is not None else nullcontext():
        target = path if world.first else Path(scratch) / path.name
        made = generate_video(generator, config, sample.prompt, sample.seconds, sample.seed, target)
        world.let_go(generator.transformer)
    generator.transformer.train(training)
    return made
