"""Imports go one way: schemas ← curate ← stages ← pipelines, and the engine names no stage."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "schemas": {"schemas"},
    "curate": {"schemas", "curate"},
    "stages": {"schemas", "stages"} | {f"curate.{name}" for name in "documents keys media models rules stage".split()},
    "pipelines": {"schemas", "curate", "stages", "pipelines"},
}
VERB = {
    f"curate.{name}"
    for name in ("books", "commands", "dataset", "recipe", "sandbox", "single", "terminal", "workspace")
}
"""What a verb that is declared beside its stage may import on top."""
OURS = set(ALLOWED)


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in OURS}


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_go_one_way(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        for name in imported(path):
            allowed = ALLOWED[package] | (VERB if path.name == "command.py" else set())
            assert any(f"{name}.".startswith(f"{start}.") for start in allowed), f"{path} imports {name}"


def test_the_trainer_needs_only_shards_and_what_encoded_them():
    for path in sorted((ROOT / "pipelines" / "longtune").rglob("*.py")):
        if path.stem in ("feedback", "feedback_command"):  # these write into a dataset
            continue
        for name in imported(path):
            assert name.startswith(("pipelines.longtune", "stages.latents", "curate.documents")), (
                f"{path} imports {name}"
            )
