"""The command `curate train` and what goes with it; `curate train CONFIG` is short for `curate train run CONFIG`.

torch and diffusers are imported inside the functions, so that `curate --help` stays quick and the rest of the program
works without them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from pipelines.longtune.errors import UsageError, errors_for_people
from pipelines.longtune.feedback_command import feedback
from pipelines.longtune.verify_command import verify

JsonOption = Annotated[bool, typer.Option("--json", help="Print the outcome as one JSON document.")]
RunArgument = Annotated[Path, typer.Argument(help="A run's folder, or one of its checkpoints.", metavar="RUN")]


class _RunByDefault(TyperGroup):
    """What is no command of the group is the config of a run."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


train = typer.Typer(
    cls=_RunByDefault,
    no_args_is_help=True,
    help="Train a causal video generator on shards of long takes: curate train CONFIG --shards DIR -o RUN.",
)

train.command("feedback")(feedback)
train.command("verify")(verify)


def _estimate(config: str, gpu: str, ranks: int, utilisation: float | None, as_json: bool) -> None:
    from pipelines.longtune.config import load_config
    from pipelines.longtune.estimate import UTILISATION, estimate, find_gpu

    found = estimate(load_config(config), find_gpu(gpu), ranks, UTILISATION if utilisation is None else utilisation)
    if as_json:
        typer.echo(json.dumps(found))
        return
    memory, activations = found["memory_bytes"], found["activations_bytes"]
    parts = ", ".join(f"{name} {value / 1e9:.2f}" for name, value in memory.items() if value)
    parameters = ", ".join(f"{name} {value:,}" for name, value in found["parameters"].items())
    tokens, kv = found["tokens"], found["kv_bytes"]
    fits = "fits" if found["fits"] else "does NOT fit"
    typer.echo(
        f"parameters: {parameters}\n"
        f"tokens: {tokens['sequence']:,} in a sequence, {tokens['per_step']:,} a step; attention looks at "
        f"{found['attention_share']:.0%} of their pairs\n"
        f"memory a GPU: {found['memory_total_bytes'] / 1e9:.1f} of {found['memory_gpu_bytes'] / 1e9:.0f} GB: {fits} "
        f"({parts} GB)\n"
        f"memory of the host, a rank: {found['host_bytes']['text_encoder'] / 1e9:.1f} GB for the text encoder\n"
        f"activations: {activations['with_checkpointing'] / 1e9:.1f} GB with gradient checkpointing, "
        f"{activations['without_checkpointing'] / 1e9:.1f} without\n"
        f"cache while sampling, float32: {kv['per_latent_frame'] / 1e6:.1f} MB a latent frame, "
        f"{kv['window_and_sink'] / 1e9:.2f} GB for window and sink; a dense mask would be "
        f"{found['mask_bytes']['dense'] / 1e9:.2f} GB\n"
        f"time: {found['flops']['step'] / 1e12:.1f} TFLOP a step, {found['seconds']['step']:.2f} s at "
        f"{found['utilisation']:.0%} of the peak of {ranks} x {gpu}; the run {found['gpu_hours']:.1f} GPU hours\n"
        f"Parameters and optimiser are exact, FLOPs counted; activations and time have not been held against a GPU."
    )


@train.command("export")
def export_command(
    run: RunArgument,
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to make.")],
    kind: Annotated[
        Literal["lora", "diffusers"],
        typer.Option("--as", help="The adapters for load_lora_weights, or a whole merged pipeline folder."),
    ] = "diffusers",
    as_json: JsonOption = False,
) -> None:
    """Write what was trained as diffusers reads it."""
    with errors_for_people(stopped="stopped"):
        from pipelines.longtune.export import export_run

        made = export_run(run, out, kind)
    typer.echo(json.dumps(made) if as_json else f"{made['path']}: {made['bytes'] / 1e6:.1f} MB of {made['checkpoint']}")


@train.command("run")
def run_command(
    config: Annotated[
        str,
        typer.Argument(help="A YAML file, or a bundled name: tiny runs on a CPU in a minute or two.", metavar="CONFIG"),
    ],
    shards: Annotated[
        Path | None, typer.Option("--shards", help="Folder with train/*.tar, as `curate run` packs them.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The run's folder; given again, the run goes on.")
    ] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Do not train: say what memory and time the run would take on a GPU.")
    ] = False,
    gpu: Annotated[str, typer.Option(help="With --estimate: the GPU; a wrong name lists them.")] = "H100 80GB",
    ranks: Annotated[int, typer.Option(min=1, help="With --estimate: how many of them.")] = 1,
    utilisation: Annotated[
        float | None, typer.Option(min=0.01, max=1, help="With --estimate: share of the peak reached; 0.4 by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train; what `curate train CONFIG` does. Under torchrun, on all of its ranks."""
    with errors_for_people():
        if estimate:
            _estimate(config, gpu, ranks, utilisation, as_json)
            return
        if shards is None or out is None:
            raise UsageError("a run needs --shards DIR to read and -o RUN to write to")
        from pipelines.longtune.config import load_config
        from pipelines.longtune.progress import Reporter
        from pipelines.longtune.train import train_run

        with Reporter() as report:
            summary = train_run(load_config(config), shards, out, report)
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        typer.echo(json.dumps(summary))
        return
    ends = " -> ".join("none" if end is None else f"{end:.4f}" for end in (summary["first_loss"], summary["last_loss"]))
    typer.echo(
        f"loss {ends} in {summary['steps']} steps, "
        f"{summary['seconds']:.0f} s, {summary['frames_per_s']:.1f} frames/s, data wait {summary['data_wait']:.0%}\n"
        f"skipped: {summary['short_takes']} short takes, {len(summary['bad_takes'])} bad, "
        f"{summary['nan_steps']} steps that were not finite\n"
        f"checkpoint: {summary['checkpoint']}\nsample: {summary['sample']['path']}"
    )
