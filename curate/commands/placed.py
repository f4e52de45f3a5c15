"""The options of every command that has work done: where, as one `Place`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from curate.commands import plain_errors
from curate.place import Place

_PANEL = "Where the work is done"


def _option(kind: Any, text: str, **more: Any) -> Any:
    return Annotated[kind, typer.Option(help=text, rich_help_panel=_PANEL, **more)]


_OPTIONS = {
    "scheduler": _option(str | None, "Address of a Dask scheduler; by default this machine's cores are used."),
    "workers": _option(int | None, "Local worker processes, by default one a core.", min=1),
    "tls_ca_file": _option(str | None, "Certificate of the cluster's own CA, PEM; for a tls:// scheduler."),
    "tls_cert": _option(str | None, "Certificate signed by it, PEM."),
    "tls_key": _option(str | None, "That certificate's private key, PEM."),
}


def placed(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options. It gets them as its parameter `place`, looked at."""
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for name, parameter in signature.parameters.items() if name != "place"]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _OPTIONS.items()
    ]

    @wraps(command)
    def with_place(**given: Any) -> None:
        with plain_errors():
            place = Place(**{name: given.pop(name) for name in _OPTIONS})
            place.security()  # a mistake is told now, not when the first task turns up
        command(place=place, **given)

    with_place.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    return with_place
