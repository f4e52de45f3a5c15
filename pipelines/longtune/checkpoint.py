"""Checkpoints: a folder that diffusers can load, with the training state beside the weights, put in place whole.

A new checkpoint is written next to the old one and takes its name by a rename; a run killed at any moment finds one
complete checkpoint. Parts that did not change are hard-linked from the one before, so a frozen text encoder is not
written again and again.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipelines.longtune.config import Config, parse_config
from pipelines.longtune.data.loader import Place
from pipelines.longtune.errors import TuneError
from pipelines.longtune.weights import PARTS, Generator

_NAME, _NEW, _OLD = "checkpoint", ".checkpoint.new", ".checkpoint.old"


@dataclass
class TrainState:
    """Where a run stands. `step` counts the steps done in `stage` ("vae", then "transformer")."""

    stage: str
    config_hash: str
    shards: list[tuple[str, int]]  # name and bytes of each: what "the same data" means
    step: int = 0
    place: Place = field(default_factory=Place)
    skipped: dict[str, dict[str, str]] = field(default_factory=lambda: {"short": {}, "bad": {}})


def find_checkpoint(path: Path) -> Path | None:
    """The complete checkpoint of a run's folder, or the folder itself if it is one."""
    if (path / "transformer").is_dir() and (path / "train_state").is_dir():
        return path
    # Between the two renames of a replacement only the old one is there.
    return next((path / name for name in (_NAME, _OLD) if (path / name).is_dir()), None)


def save_checkpoint(
    run: Path,
    generator: Generator,
    config: Config,
    state: TrainState,
    rng: torch.Generator,
    changed: str,
    trained: tuple[nn.Module, torch.optim.Optimizer] | None,
) -> Path:
    """Write the run's checkpoint.

    Args:
        run: the run's folder.
        generator: all networks.
        config: the run's config, stored for `curate generate`.
        state: where the run stands.
        rng: the generator of the training noise.
        changed: the one part whose weights differ from the checkpoint before.
        trained: the module in training with its optimiser; None between stages.
    """
    before, new = find_checkpoint(run), run / _NEW
    shutil.rmtree(new, ignore_errors=True)
    for name in PARTS:
        if before is not None and name != changed:
            shutil.copytree(before / name, new / name, copy_function=_link)
        else:
            getattr(generator, name).save_pretrained(str(new / name))
    folder = new / "train_state"
    folder.mkdir()
    tensors = {"rng": rng.get_state(), **(_optimizer_tensors(*trained) if trained else {})}
    save_file(tensors, folder / "tensors.safetensors")
    (folder / "state.json").write_text(json.dumps(asdict(state)))
    (folder / "config.json").write_text(json.dumps(config.to_json(), indent=1))
    _flush(new)
    current, old = run / _NAME, run / _OLD
    if current.is_dir():
        shutil.rmtree(old, ignore_errors=True)
        current.rename(old)
    new.rename(current)
    _flush_folder(run)
    shutil.rmtree(old, ignore_errors=True)
    return current


def read_config(checkpoint: Path) -> Config:
    """The config a checkpoint was trained with."""
    path = checkpoint / "train_state" / "config.json"
    return parse_config(_read_json(path), str(path))


def read_state(checkpoint: Path) -> TrainState:
    """The training state. Raises `TuneError` if it cannot be read."""
    path = checkpoint / "train_state" / "state.json"
    values = _read_json(path)
    try:
        place = values.pop("place")
        used = {int(role): (epoch, takes) for role, (epoch, takes) in place["used"].items()}
        values["shards"] = [(name, size) for name, size in values["shards"]]
        return TrainState(**values, place=Place(used, place["last"]))
    except (KeyError, TypeError, ValueError) as error:
        raise TuneError(f"{path}: not a training state of this version; start again with a new -o") from error


def restore(checkpoint: Path, rng: torch.Generator, trained: tuple[nn.Module, torch.optim.Optimizer]) -> None:
    """Put the noise generator and the optimiser back where they were; between stages the optimiser stays fresh."""
    tensors = load_file(checkpoint / "train_state" / "tensors.safetensors")
    rng.set_state(tensors.pop("rng"))
    module, optimizer = trained
    for name, parameter in module.named_parameters():
        slots = {key.split("|")[0]: tensor for key, tensor in tensors.items() if key.split("|")[1] == name}
        if slots:
            # AdamW keeps its step counter on the CPU, its moments beside the weights.
            optimizer.state[parameter] = {
                slot: tensor if slot == "step" else tensor.to(parameter.device) for slot, tensor in slots.items()
            }


def _optimizer_tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{slot}|{name}": tensor
        for name, parameter in module.named_parameters()
        for slot, tensor in optimizer.state.get(parameter, {}).items()
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise TuneError(f"{path}: cannot be read ({error}); is this a checkpoint of `curate train`?") from error


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _flush(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    for path in [*(path for path in folder.rglob("*") if path.is_dir()), folder]:
        _flush_folder(path)


def _flush_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
