"""`curate recipes`: which recipes there are, and what is in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from curate import plugins
from curate import recipe as recipes
from curate.commands import WRONG_USE, JsonOption, plain_errors, stop
from curate.recipe import Recipe
from curate.redecide import DECIDING
from curate.rules.rule import Condition, Rule


def recipes_command(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[list | show NAME | NAME]",
            help="list: what there is. show NAME: its stages, and each threshold with its reason and operating point. "
            "NAME (bundled or a file): its YAML with every default.",
        ),
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print its JSON Schema instead.")] = False,
    json_output: JsonOption = False,
) -> None:
    """List the bundled recipes, or show one with all its parameters or all its thresholds."""
    with plain_errors():
        if not words or words == ["list"]:
            _list(json_output)
            return
        show = words[0] == "show"
        names = words[1:] if show else words
        if len(names) != 1:
            stop(
                f"{' '.join(words)}: write curate recipes list, curate recipes show NAME, or curate recipes NAME",
                WRONG_USE,
            )
        recipe = recipes.load(names[0])
        if schema:
            typer.echo(json.dumps(recipes.json_schema(recipe), indent=None if json_output else 1))
        elif show:
            _show(recipe, json_output)
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


def _show(recipe: Recipe, json_output: bool) -> None:
    rules = list(_rules(recipe))
    if json_output:
        stages = [s.name for s in recipe.stages]
        typer.echo(
            json.dumps(
                {"name": recipe.name, "description": recipe.description.strip(), "stages": stages, "rules": rules}
            )
        )
        return
    typer.echo(f"{recipe.name}: {recipe.description.strip()}")
    typer.echo(f"stages: {', '.join(s.name for s in recipe.stages)}")
    if not rules:
        typer.echo("It has no rules: every clip is in.")
    for rule in rules:
        typer.echo(f"\n{rule['stage']}.{rule['rule']}: {rule['wants']}")
        if rule["why"]:
            typer.echo(f"  why: {' '.join(rule['why'].split())}")
        if point := rule["operating_point"]:
            typer.echo(f"  precision {point['precision']:.3f}, recall {point['recall']:.3f} on {point['on']}")


def _rules(recipe: Recipe) -> Iterator[dict[str, Any]]:
    for table in DECIDING:
        stage = recipe.writer(table)
        for name, rule in (getattr(stage, "rules", None) or {}).items():
            if stage is not None and isinstance(rule, Rule):
                point = rule.operating_point.model_dump() if rule.operating_point else None
                told = {"stage": stage.name, "rule": name, "wants": wants(rule), "why": rule.why.strip()}
                yield told | {"operating_point": point}


def wants(rule: Condition) -> str:
    """A condition in words and signs."""
    if isinstance(rule, Rule) and rule.quota:
        limits = [f"{rule.at_most} clips"] if rule.at_most is not None else []
        limits += [f"{rule.at_most_hours:g} h"] if rule.at_most_hours is not None else []
        return f"at most {' and '.join(limits)} per {rule.per or 'dataset'}, {rule.order} {rule.best} first"
    if rule.column is None:
        word = "not" if rule.not_ is not None else "any of" if rule.any is not None else "all of"
        return f"{word} ({'; '.join(wants(child) for _, child in rule.children)})"
    if rule.equals is not None:
        return f"{rule.column} = {str(rule.equals).lower() if isinstance(rule.equals, bool) else rule.equals}"
    forms = ("≥ {:g}", "≤ {:g}", "≥ percentile {:g}", "≤ percentile {:g}")
    shown = [form.format(value) for form, value in zip(forms, rule.bounds, strict=True) if value is not None]
    return f"{rule.column} {', '.join(shown)}"
