"""Verbs about one file, run in this process, with one child for all of them: its start is most of what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from curate import single
from curate.recipe import Limits
from curate.sandbox import for_this_thread


class Kept:
    """This thread's sandbox in the place of one that ends with its verb."""

    def __init__(self, memory_gib: float, stall_s: float) -> None:
        self.call = for_this_thread(memory_gib, stall_s).call

    def close(self) -> None:
        """The next verb wants it."""


@contextmanager
def one_child() -> Iterator[None]:
    """Within it all verbs have the same child; it ends with it."""
    limits = Limits()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(single, "Sandbox", Kept)
        yield
    for_this_thread(limits.memory_gib, limits.stall_s).close()


def typed(verb: Callable[..., None], *words: object) -> Result:
    """A verb as it is typed, without its name."""
    app = typer.Typer()
    app.command()(verb)
    return CliRunner().invoke(app, [str(word) for word in words])
