"""The commands `curate train` and `curate generate`.

torch and diffusers are imported inside the functions, so that `curate --help` stays quick and the rest of the program
works without them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.longtune.errors import TuneError, UsageError


def train(
    config: Annotated[
        str, typer.Argument(help="A YAML file, or a bundled name: tiny runs on a CPU in a minute or two.")
    ],
    shards: Annotated[Path, typer.Option("--shards", help="Folder with train/*.tar, as `curate shard` writes it.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The run's folder; given again, the run goes on.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document.")] = False,
) -> None:
    """Train a causal video generator on shards of long takes."""
    with _errors_for_people():
        from pipelines.longtune.config import load_config
        from pipelines.longtune.progress import Reporter
        from pipelines.longtune.train import train_run

        with Reporter() as report:
            summary = train_run(load_config(config), shards, out, report)
    if as_json:
        typer.echo(json.dumps(summary))
        return
    typer.echo(
        f"loss {summary['first_loss']:.4f} -> {summary['last_loss']:.4f} in {summary['steps']} steps, "
        f"{summary['seconds']:.0f} s, {summary['frames_per_s']:.1f} frames/s, data wait {summary['data_wait']:.0%}\n"
        f"skipped: {summary['short_takes']} short takes, {len(summary['bad_takes'])} bad\n"
        f"checkpoint: {summary['checkpoint']}\nsample: {summary['sample']['path']}"
    )


def generate(
    checkpoint: Annotated[Path, typer.Argument(help="A run's folder, or its checkpoint.")],
    prompt: Annotated[str, typer.Option("--prompt", help="What to show.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The .mp4 to write.")],
    seconds: Annotated[float | None, typer.Option(help="Length; the config's sample.seconds by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the noise; the config's sample.seed by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as one JSON document.")] = False,
) -> None:
    """Stream a video of any length from a trained checkpoint."""
    with _errors_for_people():
        if out.suffix.lower() != ".mp4":
            raise UsageError(f"{out}: the video is written as .mp4; name it so")
        if seconds is not None and not 0 < seconds < float("inf"):
            raise UsageError(f"--seconds {seconds:g}: give a length above 0")
        made = _generate(checkpoint, prompt, out, seconds, seed)
    typer.echo(
        json.dumps(made)
        if as_json
        else f"{made['path']}: {made['frames']} frames, {made['seconds']:g} s, in {made['took_s']:.1f} s"
    )


def _generate(path: Path, prompt: str, out: Path, seconds: float | None, seed: int | None) -> dict[str, Any]:
    from pipelines.longtune.checkpoint import find_checkpoint, read_config
    from pipelines.longtune.generate import generate_video
    from pipelines.longtune.train import pick_device
    from pipelines.longtune.weights import load_generator

    checkpoint = find_checkpoint(path)
    if checkpoint is None:
        raise UsageError(f"{path}: no checkpoint here; give the folder that `curate train -o` wrote")
    config = read_config(checkpoint)
    generator = load_generator(checkpoint).to(pick_device("auto"))
    return generate_video(
        generator,
        config,
        prompt,
        config.sample.seconds if seconds is None else seconds,
        config.sample.seed if seed is None else seed,
        out,
        on_frames=lambda done, total: print(f"{done}/{total} frames", file=sys.stderr, flush=True),
    )


@contextmanager
def _errors_for_people() -> Iterator[None]:
    """Turn the errors that a user can mend into a line on stderr and an exit code: 2 wrong use, 1 all else."""
    try:
        yield
    except TuneError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from error
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in {"torch", "diffusers", "transformers", "safetensors"}:
            raise
        typer.echo(f"error: {error.name} is not installed: pip install 'longtake[train]'", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        typer.echo("stopped; the same command goes on from the last checkpoint", err=True)
        raise typer.Exit(1) from error
