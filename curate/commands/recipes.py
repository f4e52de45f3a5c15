"""`curate recipes`: which recipes there are, and what is in them."""

from __future__ import annotations

import json
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table

from curate import plugins
from curate import recipe as recipes
from curate.commands import JsonOption, plain_errors


def recipes_command(
    name: Annotated[str | None, typer.Argument(help="Show this recipe (bundled or a file) with every default.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print its JSON Schema instead.")] = False,
    json_output: JsonOption = False,
) -> None:
    """List the bundled recipes, or show one with all its parameters."""
    with plain_errors():
        if name is None:
            _list(json_output)
            return
        recipe = recipes.load(name)
        if schema:
            typer.echo(json.dumps(recipes.json_schema(recipe), indent=None if json_output else 1))
        elif json_output:
            typer.echo(json.dumps(recipe.dump()))
        else:
            typer.echo(yaml.safe_dump(recipe.dump(), sort_keys=False, allow_unicode=True, width=110), nl=False)


def _list(json_output: bool) -> None:
    found = [recipes.load(name) for name in plugins.entries("recipes")]
    if json_output:
        typer.echo(json.dumps([{"name": r.name, "description": r.description.strip()} for r in found]))
        return
    table = Table("recipe", "what it makes", "stages")
    for recipe in found:
        table.add_row(recipe.name, recipe.description.strip(), ", ".join(s.name for s in recipe.stages))
    Console().print(table)
