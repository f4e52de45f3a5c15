"""Finds stages, recipes and verbs by name through entry points, so that the engine imports none of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files

from curate.stage import Stage


@cache
def entries(group: str) -> dict[str, EntryPoint]:
    """Entry points of `longtake.<group>` by name."""
    return {e.name: e for e in sorted(entry_points(group=f"longtake.{group}"), key=lambda e: e.name)}


def stage_class(name: str) -> type[Stage]:
    """The stage of that name.

    Raises:
        KeyError: no installed package has one; the message says which there are.
        TypeError: the entry point names something else.
    """
    found = entries("stages")
    if name not in found:
        raise KeyError(f"no stage is called {name!r}{closest(name, found)}")
    loaded = found[name].load()
    if not (isinstance(loaded, type) and issubclass(loaded, Stage)):
        raise TypeError(f"entry point {found[name].value!r} is no subclass of curate.stage.Stage")
    if loaded.name != name:
        raise TypeError(f"{found[name].value!r} is registered as {name!r} but calls itself {loaded.name!r}")
    return loaded


def recipe_text(name: str) -> str:
    """The YAML of a bundled recipe: an entry point's value is `package:file`.

    Raises:
        KeyError: no installed package has one of that name; the message says which there are.
    """
    found = entries("recipes")
    if name not in found:
        raise KeyError(f"no recipe is called {name!r}{closest(name, found)}")
    package, _, file = found[name].value.partition(":")
    return files(package).joinpath(file).read_text(encoding="utf-8")


def closest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` or `; there are: a, b` for an error message."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(known) or 'none'}"
