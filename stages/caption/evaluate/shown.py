"""The measures of `curate caption eval` as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def show(found: Mapping[str, Any]) -> None:
    """What `curate caption eval` found, as tables."""
    console = Console()
    for title in ("levels", "models"):
        shown = Table(title, *found[title], title=None)
        for name in next(iter(found[title].values()), {}):
            shown.add_row(name, *(_number(of[name]) for of in found[title].values()))
        console.print(shown)
    console.print(f"parents that their children tile: {_number(found['tiling'])}")
    for title in ("reference", "dialogue", "probes"):
        measures = [(name, value) for name, value in _flat(found.get(title) or {}) if value]
        if measures:
            shown = Table(title, "")
            for name, value in measures:
                shown.add_row(name, value)
            console.print(shown)
    asked = found["questions"]
    console.print(f"{asked['made']} questions" + (f", answered by {asked['answered_by']}" if len(asked) > 1 else ""))
    groups = {name: asked[name] for name in ("all", "not_blind") if name in asked} | asked.get("kinds", {})
    if groups:
        shown = Table("questions", *(name.replace("_", " ") for name in next(iter(groups.values()))))
        for name, of in groups.items():
            shown.add_row(name.replace("_", " "), *(_number(value) for value in of.values()))
        console.print(shown)


def _flat(found: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Measures by name, those of groups behind the group's name."""
    for name, value in found.items():
        if isinstance(value, Mapping) and "share" not in value:
            yield from _flat(value, f"{before}{name} ")
        else:
            yield f"{before}{name}".replace("_", " "), _number(value)


def _number(value: Any) -> str:
    if isinstance(value, Mapping):  # a share with its interval
        return "" if value["share"] is None else f"{value['share']:.0%} of {value['of']}"
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
