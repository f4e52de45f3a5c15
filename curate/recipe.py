"""Recipes: which stages run with which parameters, read from YAML, checked before anything starts.

A mistake is refused with its file, line and cure, because a wrong parameter found after a night's run is a night lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.json_schema import models_json_schema

from curate import plugins
from curate.documents import DocumentError, read_nodes, read_yaml
from curate.stage import FrameProbe, Stage, TableStage
from schemas import sources as source_table

ENGINE_TABLES = ("sources", "decodes", "errors")
"""Tables that the engine itself writes and any stage may read."""

LONGEST_RECIPE = 1_000_000
"""Characters; a recipe is a page, and a file beyond this is something else."""


DEEPEST = 16
"""Keys above a key whose line is still kept: a condition within conditions of a rule comes to 16."""


class RecipeError(Exception):
    """A recipe that cannot run; the message has a line for each fault: where, what, and the cure."""


class Limits(BaseModel):
    """What one source may cost. None of these changes any result, so changing them redoes nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    memory_gib: float = Field(4.0, gt=0.25)
    """Memory that a decoding process may allocate, GiB. 8K 10-bit HEVC needs about 2."""
    stall_s: float = Field(60.0, gt=0)
    """A decoding process that has not moved on for this long is hung and is killed, seconds."""
    attempts: int = Field(3, ge=1)
    """How often a source that kills its decoding process is tried before it is quarantined."""
    interval_s: float = Field(300.0, ge=10)
    """Sources longer than twice this are decoded in intervals of about this length in parallel, seconds."""


class _File(BaseModel):
    """The shape of a recipe file before its stages are looked up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str = ""
    limits: Limits = Limits()
    stages: dict[str, dict[str, Any] | None]
    longtake: str | None = None
    """The version that wrote it, in a dataset's own recipe.yaml; any may read it."""


@dataclass(frozen=True)
class Recipe:
    """A checked recipe. `stages` stand in an order in which each comes after those whose tables it reads."""

    name: str
    description: str
    limits: Limits
    stages: tuple[Stage, ...]

    def writer(self, table: str) -> Stage | None:
        """The stage that writes a table; None for the engine's own."""
        return next((s for s in self.stages if s.writes.name == table), None)

    @property
    def tables(self) -> frozenset[str]:
        """All tables that a dataset of this recipe has."""
        return frozenset((*ENGINE_TABLES, *(stage.writes.name for stage in self.stages)))

    def dump(self) -> dict[str, Any]:
        """The recipe as it runs, every default written out, ready for YAML."""
        stages = {s.name: s.model_dump(mode="json") for s in self.stages}
        limits = self.limits.model_dump(mode="json")
        return {"name": self.name, "description": self.description, "limits": limits, "stages": stages}


def load(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by bundled name or file, with `stage.param=value` overrides.

    Raises:
        RecipeError: it cannot be found, read, or run.
    """
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: cannot be read as a recipe: {error}") from error
    else:
        try:
            text = plugins.recipe_text(name_or_path)
        except KeyError as error:
            raise RecipeError(f"{error.args[0]}; a file needs a name ending in .yaml") from error
    return parse(text, name_or_path, overrides)


def parse(text: str, label: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe out of YAML text; `label` names it in messages.

    Raises:
        RecipeError: with a line per fault.
    """
    if len(text) > LONGEST_RECIPE:
        raise RecipeError(f"{label}: {len(text)} characters are no recipe")
    try:
        node, content = read_nodes(text)
    except DocumentError as error:
        raise RecipeError(f"{label}: no valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{label}:1: a recipe is a mapping with name, description, limits and stages")
    where = _Where(label, _lines(node))
    for override in overrides:
        _override(content, override, where)
    return _build(content, where)


@dataclass
class _Where:
    """Says where in the file (or on the command line) a value came from."""

    label: str
    lines: dict[tuple[str, ...], int]

    def __call__(self, location: Sequence[Any]) -> str:
        location = tuple(str(part) for part in location)
        for end in range(len(location), -1, -1):
            if (line := self.lines.get(location[:end])) is not None:
                return f"{self.label}:{line}: " if line else f"--set {'.'.join(location[-2:])}: "
        return f"{self.label}: "


def _lines(node: yaml.Node | None, above: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
    """Line of each key, by its path from the root."""
    found: dict[tuple[str, ...], int] = {}
    if len(above) >= DEEPEST:
        return found
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = (*above, str(key.value))
            found[path] = key.start_mark.line + 1
            found |= _lines(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            path = (*above, str(number))
            found[path] = value.start_mark.line + 1
            found |= _lines(value, path)
    return found


def _override(content: dict[str, Any], override: str, where: _Where) -> None:
    """Put `stage.param=value` (or `limits.param=value`) in place; the value is read as YAML."""
    target, equals, text = override.partition("=")
    owner, dot, parameter = target.strip().partition(".")
    if not (equals and dot and parameter):
        raise RecipeError(f"--set {override}: write it as stage.parameter=value, for example takes.min_s=15")
    try:
        value = read_yaml(text)
    except DocumentError as error:
        raise RecipeError(f"--set {override[:200]}: {text[:200]!r} is no YAML value") from error
    stages = content.get("stages")
    if owner == "limits":
        place = content["limits"] = _mapping(content.get("limits"), override)
        path: tuple[str, ...] = ("limits",)
    elif isinstance(stages, dict) and owner in stages:
        stages[owner] = place = _mapping(stages[owner], override)
        path = ("stages", owner)
    else:
        known = [*stages, "limits"] if isinstance(stages, dict) else ["limits"]
        raise RecipeError(f"--set {override}: this recipe has no stage {owner!r}{plugins.closest(owner, known)}")
    *inner, last = parameter.split(".")
    _put(place, [*inner, last], value, override)
    where.lines[(*path, *inner, last)] = 0


def _mapping(given: Any, override: str) -> dict[str, Any]:
    """A copy of the parameters that an override goes among."""
    if given is not None and not isinstance(given, dict):
        raise RecipeError(f"--set {override}: the recipe has {given!r:.80} there, which is no mapping of parameters")
    return dict(given or {})


def _put(place: Any, path: Sequence[str], value: Any, override: str) -> None:
    """Put a value into copies of the mappings and lists along a path; a list's items go by their number, from 0."""
    step, *further = path
    key: Any = step
    if isinstance(place, list):
        if not step.isdecimal() or int(step) >= len(place):
            raise RecipeError(f"--set {override}: {step!r} is no place in a list of {len(place)}; they count from 0")
        key = int(step)
    if further:
        inner = place[key] if isinstance(place, list) else place.get(key)
        place[key] = list(inner) if isinstance(inner, list) else dict(inner) if isinstance(inner, dict) else {}
        _put(place[key], further, value, override)
    else:
        place[key] = value


def _build(content: dict[str, Any], where: _Where) -> Recipe:
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        raise RecipeError("\n".join(_faults(error, where, (), _File))) from error
    faults: list[str] = []
    stages: list[Stage] = []
    for name, parameters in file.stages.items():
        location = ("stages", name)
        try:
            kind = plugins.stage_class(name)
            stages.append(kind.model_validate(parameters or {}))
        except (KeyError, TypeError, ImportError) as error:
            faults.append(f"{where(location)}{error.args[0]}")
        except ValidationError as error:
            faults += _faults(error, where, location, kind)
    if faults:
        raise RecipeError("\n".join(faults))
    return Recipe(file.name, file.description, file.limits, _ordered(stages, where))


def _faults(error: ValidationError, where: _Where, above: tuple[str, ...], kind: type[BaseModel]) -> list[str]:
    lines = []
    for fault in error.errors(include_url=False):
        location = (*above, *fault["loc"])
        name = ".".join(str(part) for part in location)
        if fault["type"] == "extra_forbidden":
            owner: type[BaseModel] = Limits if fault["loc"][0] == "limits" and not above else kind
            what = f"unknown parameter{plugins.closest(str(fault['loc'][-1]), owner.model_fields)}"
        else:
            what = f"{fault['msg']} (got {fault['input']!r:.80})" if fault["type"] != "missing" else "is missing"
            field = kind.model_fields.get(str(fault["loc"][0])) if fault["loc"] else None
            if field is not None and field.description:
                what += f"; {name}: {' '.join(field.description.split())}"
        lines.append(f"{where(location)}{name}: {what}")
    return lines


def _ordered(stages: list[Stage], where: _Where) -> tuple[Stage, ...]:
    """Stages sorted so that tables are written before they are read; probes first.

    Raises:
        RecipeError: two stages write one table, a table is read that none writes, or stages read in a circle.
    """
    writers: dict[str, Stage] = {}
    for stage in stages:
        at = where(("stages", stage.name))
        if stage.writes.name in ENGINE_TABLES or stage.writes.name in writers:
            other = writers.get(stage.writes.name)
            owner = f"stage {other.name!r}" if other else "the engine"
            raise RecipeError(f"{at}{stage.name!r} writes the table {stage.writes.name!r}, but so does {owner}")
        writers[stage.writes.name] = stage
    tables = {*ENGINE_TABLES, *writers}
    schemas = {source_table.SOURCES.name: source_table.SOURCES.schema}
    schemas |= {name: stage.writes.schema for name, stage in writers.items()}
    if faults := [
        f"{where(('stages', stage.name, *place))}{stage.name!r}: {wrong}"
        for stage in stages
        for place, wrong in stage.faults(schemas)
    ]:
        raise RecipeError("\n".join(faults))
    for stage in stages:
        for table, columns in stage.inputs(tables).items():
            at = where(("stages", stage.name))
            if table not in tables:
                raise RecipeError(
                    f"{at}{stage.name!r} reads the table {table!r}, which no stage here writes{_who(table)}"
                )
            names = writers[table].writes.schema.names if table in writers else columns
            if missing := [column for column in columns if column not in names]:
                known = plugins.closest(missing[0], names)
                raise RecipeError(f"{at}{stage.name!r} reads {table}.{missing[0]}, which is no column{known}")
    ordered: list[Stage] = [s for s in stages if isinstance(s, FrameProbe)]
    waiting = [s for s in stages if not isinstance(s, FrameProbe)]
    while waiting:
        written = {*ENGINE_TABLES, *(s.writes.name for s in ordered)}
        ready = [s for s in waiting if written.issuperset(s.inputs(tables))]
        if not ready:
            circle = ", ".join(s.name for s in waiting)
            raise RecipeError(f"{where(('stages',))}these stages read each other's tables in a circle: {circle}")
        # Row stages first: they can share a task with those before them, which a table stage would cut short.
        ready.sort(key=lambda s: isinstance(s, TableStage))
        ordered.append(ready[0])
        waiting.remove(ready[0])
    return tuple(ordered)


def _who(table: str) -> str:
    """The installed stages that write a table, as the end of a message."""
    names = [n for n in plugins.entries("stages") if plugins.stage_class(n).writes.name == table]
    return f"; add the stage {' or '.join(map(repr, names))}" if names else "; no installed stage writes it"


def json_schema(recipe: Recipe) -> dict[str, Any]:
    """JSON Schema of a recipe with these stages, for editors and other programs."""
    classes: list[type[Stage]] = [type(stage) for stage in recipe.stages]
    refs, shared = models_json_schema(
        [*((c, "validation") for c in classes), (Limits, "validation")], ref_template="#/$defs/{model}"
    )
    stages = {c.name: refs[c, "validation"] for c in classes}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": recipe.name,
        "type": "object",
        "required": ["name", "stages"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string"},
            "description": {"type": "string"},
            "limits": refs[Limits, "validation"],
            "stages": {"type": "object", "additionalProperties": False, "properties": stages},
        },
        **shared,
    }
