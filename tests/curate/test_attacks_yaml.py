"""YAML that is made to hurt: a clear error within a moment, wherever a person gives us YAML."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from curate.documents import DocumentError, read_yaml
from curate.recipe import RecipeError, parse
from curate.schedule.store import ScheduleError, Store
from pipelines.filmmaker.storyboard import StoryboardError, read_storyboard
from pipelines.longtune.config import load_config
from pipelines.longtune.errors import UsageError
from stages.faces.by_hand import read_corrections
from stages.faces.members import CastError, members

LEVELS = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
MERGES = "".join(f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}\n" for n in range(1, 9))
ATTACKS = {
    "aliases of aliases": f"a0: &a0 [x]\n{LEVELS}name: *a11\nstages: *a11\n",
    "merges of merges": f"m0: &m0 {{a: 1, b: 2}}\n{MERGES}name: *m8\n",
    "an alias in itself": "name: &a [*a]\nstages: *a\n",
    "a huge number": f"name: {'9' * 100_000}\n",
    "a huge number in base 60": "name: 1" + ":11" * 100_000 + "\n",
    "a fraction in base 60": "name: 1" + ":11" * 10_000 + ".5\n",
    "no date": "name: 2020-13-45\n",
    "lists in lists": "name: " + "[" * 50_000 + "]" * 50_000,
    "mappings in mappings": "name: " + "{a: " * 5000 + "}" * 5000,
    "a Python object": "name: !!python/object/apply:os.system ['touch planted']\n",
    "a Python name": "name: !!python/name:os.system\n",
    "a key that is a list": "? [a, b]\n: 1\n",
    "a letter that is none": "name: \x00\n",
}


@contextmanager
def quick(seconds: float = 10.0) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


@pytest.mark.parametrize("attack", ATTACKS)
def test_is_refused_with_one_kind_of_error(attack: str) -> None:
    with quick(), pytest.raises(DocumentError) as caught:
        read_yaml(ATTACKS[attack])
    assert len(str(caught.value)) < 2000


def test_what_people_write_is_read() -> None:
    text = "base: &base {a: 1, b: [2, 3.5, 1e3]}\nmore: {<<: *base, c: '2020-13-45'}\nwhen: 2020-01-02\nn: 1_000\n"
    assert read_yaml(text) == yaml.safe_load(text)
    assert read_yaml("") is None


def recipe(text: str, folder: Path) -> None:
    parse(text, "recipe.yaml")


def override(text: str, folder: Path) -> None:
    parse("name: x\nstages: {signals: {}}\n", "recipe.yaml", [f"signals.x={text}"])


def schedule(text: str, folder: Path) -> None:
    (folder / "nightly.yaml").write_text(text)
    Store(folder).get("nightly")


def cast(text: str, folder: Path) -> None:
    (folder / "cast.yaml").write_text(text)
    members(str(folder / "cast.yaml"))


def corrections(text: str, folder: Path) -> None:
    (folder / "who.yaml").write_text(text)
    read_corrections(str(folder / "who.yaml"), TypeAdapter(dict[str, list[str]]), "{film.mp4: [name]}")


def storyboard(text: str, folder: Path) -> None:
    (folder / "film.yaml").write_text(text)
    read_storyboard(folder / "film.yaml")


def trainer(text: str, folder: Path) -> None:
    (folder / "config.yaml").write_text(text)
    load_config(str(folder / "config.yaml"))


READERS: dict[Callable[[str, Path], None], type[Exception]] = {
    recipe: RecipeError,
    override: RecipeError,
    schedule: ScheduleError,
    cast: CastError,
    corrections: ValueError,
    storyboard: StoryboardError,
    trainer: UsageError,
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_every_reader_refuses_it(reader: Callable[[str, Path], None], attack: str, tmp_path: Path) -> None:
    with quick(), pytest.raises(READERS[reader]) as caught:
        reader(ATTACKS[attack], tmp_path)
    assert len(str(caught.value)) < 3000
    assert not Path("planted").exists()


@pytest.mark.parametrize("reader", [r for r in READERS if r not in (recipe, override)], ids=lambda r: r.__name__)
def test_bytes_that_are_no_text_are_refused(
    reader: Callable[[str, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "write_text", lambda path, _: path.write_bytes(b"name: \xff\xfe\n"))
    with pytest.raises(READERS[reader]):
        reader("", tmp_path)
