"""Checkpoints: folders that diffusers can load, with the training state beside the weights, put in place whole.

    RUN/checkpoints/step-000080/
        transformer/ vae/ text_encoder/ tokenizer/   what is sampled (the average, where there is one)
        lora/                                        adapters to add to transformer/, where only they are trained
        sources.json                                 where the parts come from that never change and are not copied
        train_state/                                 config, place, method's state by rank, each sample's loss
        train_state/tensors/                         weights, optimisers and average: torch.distributed.checkpoint

A folder gets its name by a rename once all of it is on the disk, so a run killed at any moment finds the one before.
Tensors are safetensors, which the distributed checkpoint reads for any number of ranks; nothing is pickled.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException

from pipelines.longtune.adapters import base_weights, has_adapters, save_adapters
from pipelines.longtune.config import Config, differences, parse_config
from pipelines.longtune.data.index import Index
from pipelines.longtune.errors import TuneError, UsageError
from pipelines.longtune.losses import SampleLosses
from pipelines.longtune.methods.method import Method
from pipelines.longtune.model.far import FarWanTransformer3DModel, save_far, split_far
from pipelines.longtune.packed import read_packed, write_packed
from pipelines.longtune.parallel import World, whole
from pipelines.longtune.trainee import Trainee
from pipelines.longtune.weights import LORA, PARTS, SOURCES, Generator, save_transformer

_FOLDER, _STATE = "checkpoints", "train_state"
_NAME = re.compile(r"(vae|step)-(\d{6,})")


@dataclass
class TrainState:
    """Where a run stands. `step` counts the steps done in `stage` ("vae", then "transformer")."""

    stage: str
    shards: int  # how many
    digest: str  # of their names, sizes and samples: what "the same data" means
    step: int = 0
    cursor: dict[str, Any] | None = None  # the data's place; None at its start
    ranks: int = 1  # that wrote the checkpoint
    nan_steps: int = 0  # skipped for a loss or gradient that was not finite
    skipped: dict[str, dict[str, str]] = field(default_factory=lambda: {"short": {}, "bad": {}})


def list_checkpoints(run: Path) -> list[Path]:
    """A run's complete checkpoints, the oldest first; those of the VAE's stage come before all others."""
    found = [(_NAME.fullmatch(path.name), path) for path in (run / _FOLDER).glob("*") if (path / _STATE).is_dir()]
    return [path for _, _, path in sorted((m[1] == "step", int(m[2]), path) for m, path in found if m)]


def find_checkpoint(path: Path) -> Path | None:
    """The latest complete checkpoint of a run's folder, or the folder itself if it is one."""
    if (path / _STATE).is_dir():
        return path
    return next(iter(reversed(list_checkpoints(path))), None)


def save_checkpoint(
    run: Path,
    config: Config,
    world: World,
    generator: Generator,
    state: TrainState,
    trainees: Sequence[Trainee],
    method: Method | None,
    losses: SampleLosses,
) -> Path:
    """Write a checkpoint, and drop the oldest beyond `train.keep`. To be called on every rank.

    Args:
        run: the run's folder.
        config: the run's config, stored for `curate generate`.
        world: the ranks.
        generator: all networks.
        state: where the run stands.
        trainees: the networks in training; none between stages.
        method: None in the VAE's stage.
        losses: of each sample so far, over all ranks.
    """
    name = f"{'vae' if state.stage == 'vae' else 'step'}-{state.step:06d}"
    final = run / _FOLDER / name
    new = final.with_name(f".{name}.new")
    before = world.on_first(lambda: _begin(run, new))
    inside = new / _STATE
    if method is not None:
        write_packed(inside / f"method-{world.rank:05d}", method.state_dict())
    tensors = {key: value for trainee in trainees for key, value in trainee.tensors().items()}
    if tensors:
        writer = HuggingFaceStorageWriter(str(inside / "tensors"), save_distributed=True)
        dcp.save(tensors, storage_writer=writer)
    _write_parts(new, before, config, world, generator, state, trainees)
    if world.first:
        losses.write(inside / "losses.parquet")
        (inside / "config.json").write_text(json.dumps(config.to_json(), indent=1))
        (inside / "state.json").write_text(json.dumps(asdict(state)))
    world.wait()  # every rank's files are there
    if world.first:
        _flush(new)
        shutil.rmtree(final, ignore_errors=True)
        new.rename(final)
        _flush_folder(final.parent)
        for old in list_checkpoints(run)[: -config.train.keep]:
            # Renamed first: a kill during the removal must not leave half a folder under a name that counts.
            shutil.rmtree(old.rename(old.with_name(f".{old.name}.old")))
    world.wait()
    return final


def restore(checkpoint: Path, rank: int, trainees: Sequence[Trainee], method: Method | None) -> None:
    """Put networks, optimisers, averages and the method back where they were, on any number of ranks.

    Raises:
        TuneError: the tensors are not there, or are of other networks.
    """
    folder = checkpoint / _STATE / "tensors"
    tensors = {key: value for trainee in trainees for key, value in trainee.tensors().items()}
    try:
        dcp.load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)))
    except (CheckpointException, RuntimeError, OSError, ValueError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise TuneError(
            f"{folder}: cannot be loaded into this run's networks: {reason}; resume from an older checkpoint by "
            "removing this one"
        ) from error
    for trainee in trainees:
        trainee.restore(tensors)
    if method is not None:
        saved = sorted((checkpoint / _STATE).glob("method-*.json"))
        if not saved:
            raise TuneError(f"{checkpoint}: holds no state of the method; resume from an older checkpoint")
        # On more ranks than before, the states are dealt out anew from the first.
        method.load_state_dict(read_packed(saved[rank % len(saved)].with_suffix("")))


def read_config(checkpoint: Path) -> Config:
    """The config a checkpoint was trained with."""
    path = checkpoint / _STATE / "config.json"
    return parse_config(_read_json(path), str(path))


def read_state(checkpoint: Path) -> TrainState:
    """The training state. Raises `TuneError` if it cannot be read."""
    path = checkpoint / _STATE / "state.json"
    values = _read_json(path)
    try:
        return TrainState(**values)
    except TypeError as error:
        raise TuneError(f"{path}: not a training state of this version; start again with a new -o") from error


def read_losses(checkpoint: Path) -> SampleLosses:
    """Each sample's loss until the checkpoint."""
    return SampleLosses.read(checkpoint / _STATE / "losses.parquet")


def check_same_work(checkpoint: Path, state: TrainState, config: Config, index: Index) -> None:
    """Raises `UsageError` where the checkpoint is of another config or of other shards; it says which."""
    differ = differences(read_config(checkpoint), config)
    if differ:
        raise UsageError(f"{checkpoint}: is of another config ({'; '.join(differ)}); give another -o")
    if state.digest != index.digest:
        raise UsageError(
            f"{checkpoint}: is of other shards ({state.shards} then, {len(index.shards)} now, or of "
            "another size); give the same --shards to resume, or another -o"
        )


def _begin(run: Path, new: Path) -> Path | None:
    """An empty folder to write into; gives the checkpoint before. Clears what a killed run left."""
    new.parent.mkdir(exist_ok=True)
    for pattern in (".*.new", ".*.old"):
        for left in new.parent.glob(pattern):
            shutil.rmtree(left)
    (new / _STATE).mkdir(parents=True)
    return find_checkpoint(run)


def _write_parts(
    new: Path,
    before: Path | None,
    config: Config,
    world: World,
    generator: Generator,
    state: TrainState,
    trainees: Sequence[Trainee],
) -> None:
    adapted = has_adapters(generator.transformer)
    # Between the stages the VAE is done but for its scale, which has just been measured.
    trained = "vae" if state.stage == "vae" or not trainees else "transformer"
    changed = None if adapted and trained == "transformer" else trained
    referenced = {}
    for part in PARTS:
        if part != changed and before is not None and (before / part).is_dir():
            if world.first:
                shutil.copytree(before / part, new / part, copy_function=_link)
        elif part != changed and config.model.source is not None:
            local = Path(config.model.source)
            referenced[part] = str(local.resolve()) if local.is_dir() else config.model.source
        elif part == "transformer":
            weights = _sampled(generator.transformer, trainees, world)
            if world.first:
                save_transformer(new / part, generator.transformer, base_weights(split_far(weights)[0]))
        elif world.first:
            getattr(generator, part).save_pretrained(str(new / part))
    if adapted:
        weights = _sampled(generator.transformer, trainees, world)
        if world.first:
            save_adapters(new / LORA, generator.transformer, split_far(weights)[0])
    if isinstance(generator.transformer, FarWanTransformer3DModel):
        weights = _sampled(generator.transformer, trainees, world)
        if world.first:
            save_far(new, split_far(weights)[1])
    if world.first:
        (new / SOURCES).write_text(json.dumps(referenced))


def _sampled(transformer: Any, trainees: Sequence[Trainee], world: World) -> dict[str, Tensor]:
    """The transformer's weights as it is sampled: the average of those that have one. Empty but on rank 0."""
    weights = dict(transformer.state_dict())
    for trainee in trainees:
        if trainee.network is transformer and trainee.ema is not None:
            weights |= trainee.ema.shadow
    gathered: dict[str, Tensor] = {}
    for name, value in weights.items():
        full = whole(value)
        if world.first:
            gathered[name] = full
    return gathered


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
