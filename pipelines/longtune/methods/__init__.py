"""What is optimised: one module a training method, each a class from a batch to its networks' losses."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.longtune.methods.method import Method, Tools
    from pipelines.longtune.methods.options import MethodOptions


def make_method(options: MethodOptions, tools: Tools) -> Method:
    """The method that a config names: the class of its name in the module of its name, which is loaded only now."""
    module = import_module(f"pipelines.longtune.methods.{options.name}")
    return getattr(module, "".join(part.capitalize() for part in options.name.split("_")))(tools, options)
