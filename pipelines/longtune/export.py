"""What a run made, for other programs: its adapters as diffusers reads them, or a whole pipeline folder, merged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel

from pipelines.longtune.adapters import FILE
from pipelines.longtune.checkpoint import find_checkpoint, read_config
from pipelines.longtune.errors import UsageError
from pipelines.longtune.model.far import save_far, split_far
from pipelines.longtune.weights import LORA, load_generator


def export_run(path: Path, out: Path, kind: Literal["lora", "diffusers"]) -> dict[str, Any]:
    """Write a checkpoint in another form; `out` appears only when it is whole.

    Args:
        path: a run's folder, whose latest checkpoint is taken, or a checkpoint.
        out: a folder that does not exist yet.
        kind: `lora` for the adapters alone, as `load_lora_weights` reads them; `diffusers` for a folder that
            `WanPipeline.from_pretrained` reads, adapters merged. Averaged weights where the run kept an average.

    Returns:
        The checkpoint, the folder, and its bytes.

    Raises:
        UsageError: there is no checkpoint, `out` exists, or adapters are wanted where none were trained.
    """
    checkpoint = find_checkpoint(path)
    if checkpoint is None:
        raise UsageError(f"{path}: no checkpoint here; give the folder that `curate train -o` wrote")
    if out.exists():
        raise UsageError(f"{out}: is there already; give another -o")
    with _whole(out) as folder:
        if kind == "lora":
            if not (checkpoint / LORA / FILE).is_file():
                raise UsageError(f"{checkpoint}: all weights were trained, no adapters; use --as diffusers")
            shutil.copy2(checkpoint / LORA / FILE, folder)
        else:
            _save_pipeline(checkpoint, folder)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    return {"checkpoint": str(checkpoint), "path": str(out), "bytes": size}


def _save_pipeline(checkpoint: Path, folder: Path) -> None:
    config, generator = read_config(checkpoint), load_generator(checkpoint)
    stock = WanTransformer3DModel.from_config(generator.transformer.config)
    # FAR's coarse embedder goes beside: the stock class has no place for it, and `model.from` finds it there.
    weights, coarse = split_far(generator.transformer.state_dict())
    stock.load_state_dict(weights)
    pipeline: Any = WanPipeline(
        tokenizer=generator.tokenizer,
        text_encoder=generator.text_encoder,
        vae=generator.vae,
        transformer=stock,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=config.train.flow_shift),
    )
    pipeline.save_pretrained(str(folder))
    if coarse:
        save_far(folder, coarse)


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    partial = out.with_name(f".{out.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"{out}: cannot write there: {error.strerror}") from error
    try:
        yield partial
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
