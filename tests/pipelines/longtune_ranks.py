"""Run by torchrun from test_longtune_parallel.py: trains on several ranks, is stopped and goes on, in one start."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch.distributed as dist

from pipelines.longtune.config import Config
from pipelines.longtune.progress import Reporter
from pipelines.longtune.train import train_run


class Stopped(BaseException):
    """As sudden as a kill, but the process lives on."""


class StoppingReporter(Reporter):
    """Ends the run once a step of the transformer is done."""

    def __init__(self, at: int | None) -> None:
        super().__init__()
        self._at = at

    def step(self, row: dict[str, Any], total: int) -> None:
        if row["stage"] == "transformer" and row["step"] == self._at:
            raise Stopped


def train(values: dict[str, Any], shards: Path, out: Path, stop_at: int | None = None) -> None:
    """A run, or the rest of one."""
    with suppress(Stopped):
        train_run(Config.model_validate(values), shards, out, StoppingReporter(stop_at))


if __name__ == "__main__":
    dist.init_process_group("gloo")  # once: torchrun's meeting place serves one group
    for job in json.loads(Path(sys.argv[1]).read_text()):
        if "copy_of" in job and dist.get_rank() == 0:
            shutil.copytree(job["copy_of"], job["out"])
        dist.barrier()
        train(job["config"], Path(job["shards"]), Path(job["out"]), job.get("stop_at"))
    dist.destroy_process_group()
