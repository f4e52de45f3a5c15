"""Errors that are the user's to mend. The command line prints their text alone, without a traceback."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer

# What `pip install 'longtake[train]'` brings.
_EXTRA = {"torch", "diffusers", "transformers", "safetensors", "peft", "torchao", "tensorboard"}

# Loading torchao, diffusers and torch warn of each other on these loggers; nothing here is touched by what they mean.
_CHATTER = ("diffusers.quantizers.torchao.torchao_quantizer", "torch.utils._pytree")


class TuneError(Exception):
    """The job cannot go on: the text names the file or value at fault and what to do. Exit code 1."""


class UsageError(TuneError):
    """The command was asked for something it cannot mean (a wrong key, a run of another config). Exit code 2."""


@contextmanager
def errors_for_people(
    stopped: str = "stopped; the same command goes on from the last checkpoint",
) -> Iterator[None]:
    """Turn the errors that a user can mend into a line on stderr and an exit code: 2 wrong use, 1 all else.

    Args:
        stopped: what is said after Ctrl-C.
    """
    for name in _CHATTER:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    except TuneError as error:
        # Under torchrun, who speaks.
        rank = f"rank {os.environ['RANK']}: " if os.environ.get("WORLD_SIZE", "1") != "1" else ""
        typer.echo(f"{rank}error: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from error
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _EXTRA:
            raise
        typer.echo(f"error: {error.name} is not installed: pip install 'longtake[train]'", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        typer.echo(stopped, err=True)
        raise typer.Exit(1) from error
