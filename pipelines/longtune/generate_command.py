"""The command `curate generate`."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.longtune.errors import UsageError, errors_for_people
from pipelines.longtune.prompts import Prompts, TimedPrompts, TypedPrompts, read_cues, to_cues

if TYPE_CHECKING:
    from pipelines.longtune.config import Config
    from pipelines.longtune.generate import Progress
    from pipelines.longtune.weights import Generator

_SPEAK_EVERY_S = 2.0


def generate(
    checkpoint: Annotated[Path, typer.Argument(help="A run's folder, or its checkpoint.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The .mp4 to write.")],
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", help="What to show; again, with a time, to go on: '12.5: he sits down'."),
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help="A file of such lines: '0: a man walks', '12.5: he sits down'.")
    ] = None,
    interactive: Annotated[
        bool,
        typer.Option(
            "--interactive",
            help="Each line typed becomes the prompt from the next block on. Without --seconds it goes on until stdin "
            "ends.",
        ),
    ] = False,
    seconds: Annotated[float | None, typer.Option(help="Length; the config's sample.seconds by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the noise; the config's sample.seed by default.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps a block; the config's sample.steps by default.")] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="Classifier-free guidance, 1 is off; the config's sample.guidance by default."),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Weights in eight bits: a quarter of the memory.")] = False,
    temp_lora: Annotated[
        int | None,
        typer.Option(
            "--temp-lora", help="Learn each finished window in an adapter of this rank, and so remember it; slow."
        ),
    ] = None,
    after: Annotated[
        Path | None,
        typer.Option("--after", help="A picture or video that the clip goes on from (method random_masks)."),
    ] = None,
    before: Annotated[
        Path | None, typer.Option("--before", help="A picture or video that it leads to; with --after, a transition.")
    ] = None,
    curve: Annotated[
        Path | None, typer.Option("--curve", help="Write a JSON line a block: seconds taken, cache and memory.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as one JSON document.")] = False,
) -> None:
    """Stream a video of any length from a trained checkpoint, in memory that does not grow."""
    with errors_for_people(stopped=f"stopped; the frames so far are in {out.stem}.partial.mp4 beside {out}"):
        if out.suffix.lower() != ".mp4":
            raise UsageError(f"{out}: the video is written as .mp4; name it so")
        if seconds is not None and not 0 < seconds < float("inf"):
            raise UsageError(f"--seconds {seconds:g}: give a length above 0")
        if int8 and temp_lora is not None:
            raise UsageError("--temp-lora learns in weights of full precision; leave out --int8")
        source = _source(prompt or [], prompts, interactive)
        changes: dict[str, Any] = {"seed": seed, "steps": steps, "guidance": guidance}
        changes["temp_lora"] = None if temp_lora is None else {"rank": temp_lora}
        if after is not None or before is not None:
            if len(prompt or []) != 1 or any((seconds, interactive, prompts, curve, temp_lora)):
                raise UsageError("--after and --before make one clip of the trained length: give one --prompt alone")
            told = _between(checkpoint, (prompt or [""])[0], out, after, before, changes, int8)
            start, end = told["given"]
            line = f"{told['path']}: {told['frames']} frames, {start} given at the start, {end} at the end"
            typer.echo(json.dumps(told) if as_json else line)
            return
        with _Watch(curve) as watch:
            made = _generate(checkpoint, source, out, seconds, interactive, changes, int8, watch)
    if as_json:
        typer.echo(json.dumps(made))
        return
    typer.echo(
        f"{made['path']}: {made['frames']} frames, {made['seconds']:g} s, in {made['took_s']:.1f} s; "
        f"at most {made['peak_rss_bytes'] / 1e6:.0f} MB"
    )


def _source(lines: list[str], path: Path | None, interactive: bool) -> Prompts:
    """Where the prompts come from. Raises `UsageError` if that is unclear."""
    if path is not None and (lines or interactive):
        raise UsageError("--prompts is a whole script; leave out --prompt and --interactive")
    if interactive:
        if len(lines) > 1:
            raise UsageError("--interactive takes one --prompt to start with; the others are typed")
        return TypedPrompts(sys.stdin, lines[0] if lines else None)
    return TimedPrompts(read_cues(path) if path else to_cues(("--prompt", line) for line in lines))


def _generate(
    path: Path,
    source: Prompts,
    out: Path,
    seconds: float | None,
    interactive: bool,
    changes: dict[str, Any],
    int8: bool,
    watch: _Watch,
) -> dict[str, Any]:
    from pipelines.longtune.generate import generate_video

    generator, config = _loaded(path, changes, int8)
    length = config.sample.seconds if seconds is None and not interactive else seconds
    made = generate_video(generator, config, source, length, config.sample.seed, out, watch.show)
    return {**made, "int8": int8, "seed": config.sample.seed, "guidance": config.sample.guidance}


def _between(
    path: Path, prompt: str, out: Path, after: Path | None, before: Path | None, changes: dict[str, Any], int8: bool
) -> dict[str, Any]:
    from pipelines.longtune.between import make_between

    generator, config = _loaded(path, changes, int8)
    made = make_between(generator, config, prompt, after, before, config.sample.seed, out)
    return {**made, "int8": int8, "seed": config.sample.seed}


def _loaded(path: Path, changes: dict[str, Any], int8: bool) -> tuple[Generator, Config]:
    """The networks on their device, and the run's config with what the command line changes of how it is sampled."""
    from pipelines.longtune.checkpoint import find_checkpoint, read_config
    from pipelines.longtune.config import parse_config
    from pipelines.longtune.parallel import pick_device
    from pipelines.longtune.quantize import quantize_int8
    from pipelines.longtune.weights import load_generator

    checkpoint = find_checkpoint(path)
    if checkpoint is None:
        raise UsageError(f"{path}: no checkpoint here; give the folder that `curate train -o` wrote")
    values = read_config(checkpoint).to_json()
    values["sample"] |= {key: value for key, value in changes.items() if value is not None}
    config = parse_config(values, "the command line")
    generator, device = load_generator(checkpoint), pick_device("auto")
    # UMT5-XXL would take 22 GB of a GPU for a second of work at each prompt; it stays in the machine's memory.
    for network in (generator.transformer, generator.vae):
        network.to(device)
    if int8:
        quantize_int8(generator.transformer.eval())
    return generator, config


class _Watch:
    """Tells on stderr, and in a file if one is given, how far a video is. Use as a context manager."""

    def __init__(self, curve: Path | None) -> None:
        try:
            self._file = curve.open("w", encoding="utf-8") if curve else None
        except OSError as error:
            raise UsageError(f"{curve}: cannot write there: {error.strerror}") from error
        self._spoken = float("-inf")

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def show(self, progress: Progress) -> None:
        """After each block: a line for the file, and now and then one for people."""
        if self._file is not None:
            print(json.dumps(asdict(progress)), file=self._file, flush=True)
        if progress.frames == progress.total or time.monotonic() - self._spoken > _SPEAK_EVERY_S:
            self._spoken = time.monotonic()
            total = "" if progress.total is None else f"/{progress.total}"
            print(
                f"{progress.frames}{total} frames, {progress.took_s:.2f} s a block, cache "
                f"{progress.cache_bytes / 1e6:.1f} MB, memory {progress.rss_bytes / 1e6:.0f} MB",
                file=sys.stderr,
                flush=True,
            )
