"""One video through a few stages with a progress bar: what the verbs about a file share."""

from __future__ import annotations

from collections.abc import Sequence

from rich.progress import Progress

from curate.commands import logs
from curate.recipe import parse
from curate.sandbox import Tables
from curate.single import Single
from curate.stage import FrameProbe, RowStage


def analysed(
    video: str, recipe: str, overrides: Sequence[str], doing: str, quiet: bool, sound_only: bool = False
) -> tuple[Single, Tables]:
    """The file, closed again, and every table that a recipe of probes and row stages makes of it.

    Args:
        recipe: YAML; its name is the verb's.
        doing: what the bar says.
        quiet: whether there is no bar.

    Raises:
        RecipeError: an override is wrong.
        InputError, VideoError: the file is.
    """
    read = parse(recipe, "curate", overrides)
    probes = [stage for stage in read.stages if isinstance(stage, FrameProbe)]
    stages = [stage for stage in read.stages if isinstance(stage, RowStage)]
    with Progress(console=logs(), transient=True, disable=quiet) as bar:
        task = bar.add_task(doing, total=None)

        def watch(at_s: float, of_s: float) -> None:
            bar.update(task, completed=at_s, total=of_s or None)

        with Single(video, watch, sound_only) as single:
            return single, single.run(probes, stages)
