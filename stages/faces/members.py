"""Who is in a cast: a folder with photos, or a table with names, photos, descriptions, aliases and voices.

A table may name only files that lie in its own folder or below, symbolic links followed: it is often somebody else's,
and what it named elsewhere would be opened in the name of whoever runs it. Every fault is told at once, with file, row
and cure.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.documents import read_yaml

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
OTHER_PICTURES = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jxl", ".tif", ".tiff")
TABLES = (".csv", ".json", ".parquet", ".yaml", ".yml")
COLUMNS = ("name", "photo", "description", "aliases", "voice")
"""`name` is needed. `photo`, `aliases` and `voice` may hold several: a list, or parts between `SEPARATOR`."""
SEPARATOR = ";"
MOST_BYTES = 30 << 20
"""Of a photo: beyond any camera's JPEG of 24 megapixels."""
MOST_SOUND_BYTES = 100 << 20
"""Of a sound file: ten minutes of studio sound; a minute is enough."""
MOST_TABLE_BYTES = 4 << 20
"""Of a table: a thousand people with a page on each."""
MOST_PHOTOS = 2000
"""Of a cast: 1000 people with two photos each take 4 min to read."""
MOST_MEMBERS = 1000
"""Of a cast: the faces of more are nearer to each other than dlib's network can tell."""
LONGEST = {"name": 100, "alias": 100, "description": 1000}
"""Characters."""


class CastError(ValueError):
    """A cast that cannot be used; the message has a line a fault, with the file and the cure."""


@dataclass(frozen=True)
class Member:
    """Somebody who may be seen or heard.

    Attributes:
        where: file, and in a table the row, for messages; empty for a folder, whose photos say it themselves.
    """

    name: str
    photos: tuple[Path, ...] = ()
    description: str | None = None
    aliases: tuple[str, ...] = ()
    voices: tuple[Path, ...] = ()
    where: str = ""


def members(cast: str | Path) -> list[Member]:
    """The people of a cast, those of a folder in order of their names.

    Raises:
        CastError: it is none, or has faults.
    """
    path = Path(cast).expanduser()
    if path.is_dir():
        return [Member(name, tuple(photos)) for name, photos in _in_folder(path).items()]
    if path.suffix.lower() in TABLES:
        if not path.is_file():
            raise CastError(f"{path}: no such file; give a table with the columns {', '.join(COLUMNS)}, or a folder")
        return _in_table(path)
    if path.is_file():
        raise CastError(f"{path}: is no cast; give a folder of photos or a table ({', '.join(TABLES)})")
    raise CastError(f"{path}: no such folder; give a folder with NAME.jpg or NAME/*.jpg for each person, or a table")


def digest(cast: str | Path) -> str:
    """SHA-256 of all that a cast says, files included, by which it is known that it has changed.

    Raises:
        CastError: as `members`.
    """
    whole = hashlib.sha256()
    for member in members(cast):
        if member.where:
            whole.update(json.dumps([member.name, member.description, member.aliases]).encode())
        for path in (*member.photos, *member.voices):
            whole.update(f"{member.name}\n{path.name}\n".encode())
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def checked(cast: str, sha256: str) -> list[Member]:
    """The people of a cast that must be in a given state.

    Raises:
        CastError: it is in another, or as `members`.
    """
    if digest(cast) != sha256:
        raise CastError(
            f"{cast}: the cast is not the one that the recipe was read with; run again without cast_sha256 in it"
        )
    return members(cast)


# -- folders -------------------------------------------------------------------------------------------------------


def _in_folder(root: Path) -> dict[str, list[Path]]:
    """The photos by name, both in order."""
    by_name: dict[str, list[Path]] = {}
    faults: list[str] = []
    for name, path in _files(root):
        if path.suffix.lower() in OTHER_PICTURES:
            faults.append(f"{path}: {path.suffix} is not read; convert it to JPEG, PNG or WebP")
        elif path.suffix.lower() in SUFFIXES:
            by_name.setdefault(name, []).append(path)
            if path.stat().st_size > MOST_BYTES:
                faults.append(f"{path}: {path.stat().st_size >> 20} MB are no photo of a face; make it smaller")
    for name in set(by_name):
        if same := [other for other in by_name if other.casefold() == name.casefold() and other < name]:
            faults.append(f"{root}: {same[0]!r} and {name!r} are one name in different letters; rename one")
    if sum(map(len, by_name.values())) > MOST_PHOTOS:
        faults.append(f"{root}: more than {MOST_PHOTOS} photos; a few of each person who may be seen are enough")
    if not by_name and not faults:
        faults.append(f"{root}: holds no photo; put NAME.jpg or NAME/*.jpg there for each person")
    if faults:
        raise CastError("\n".join(sorted(faults)))
    return by_name


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """(name, file) of everything that may be a photo."""
    for entry in sorted(root.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from (
                (entry.name, path) for path in sorted(entry.iterdir()) if path.is_file() and path.name[0] != "."
            )
        elif entry.is_file():
            yield entry.stem, entry


# -- tables --------------------------------------------------------------------------------------------------------


def _in_table(path: Path) -> list[Member]:
    faults: list[str] = []
    rows = _rows(path)
    if not rows:
        raise CastError(f"{path}: has no row; give one for each person")
    if len(rows) > MOST_MEMBERS:
        raise CastError(f"{path}: more than {MOST_MEMBERS} people; leave those who may be seen or heard")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    faults += [
        f"{path}: the column {column!r} is not read; is {near[0]!r} meant?"
        for column in columns
        if column not in COLUMNS and (near := difflib.get_close_matches(column.casefold(), COLUMNS, 1, 0.8))
    ]
    if "name" not in columns:
        raise CastError("\n".join([*faults, f"{path}: lacks the column 'name'; it has {', '.join(columns) or 'none'}"]))
    found = [_member(path, number, row, faults.append) for number, row in enumerate(rows, 1)]
    _apart(found, faults.append)
    if sum(len(member.photos) for member in found) > MOST_PHOTOS:
        faults.append(f"{path}: more than {MOST_PHOTOS} photos; a few of each person who may be seen are enough")
    if faults:
        raise CastError("\n".join(faults))
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a table, whatever its format, values as they stand there."""
    form = "it is a list of {name: …, photo: …, description: …, aliases: …, voice: …}"
    try:
        if path.stat().st_size > MOST_TABLE_BYTES:
            raise CastError(
                f"{path}: has more than {MOST_TABLE_BYTES >> 20} MB, and is not read; leave out what is long"
            )
        if path.suffix.lower() == ".parquet":
            given: Any = pq.read_table(path, use_threads=False).to_pylist()
        else:
            text = path.read_text(encoding="utf-8-sig")
            if path.suffix.lower() == ".csv":
                given = _csv(text)
            else:
                given = json.loads(text) if path.suffix.lower() == ".json" else read_yaml(text)
    except CastError:
        raise
    except UnicodeDecodeError as error:
        raise CastError(f"{path}: is no UTF-8 (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise CastError(f"{path}: {error.strerror or error}") from None
    except (ValueError, csv.Error, pa.ArrowException, RecursionError) as error:
        raise CastError(f"{path}: cannot be read as {path.suffix[1:]}: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(given, list) or not all(isinstance(row, dict) for row in given):
        raise CastError(f"{path}: is no table; {form}")
    return [{str(column).strip(): value for column, value in row.items()} for row in given]


def _csv(text: str) -> list[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows = list(reader)
    for number, row in enumerate(rows, 1):
        if None in row:
            raise ValueError(f"row {number} has more fields than the head; quote those with a comma in them")
    return rows


def _member(path: Path, number: int, row: Mapping[str, Any], fault: Callable[[str], None]) -> Member:
    """A row as a member; what is wrong in it is told to `fault`."""
    name = row.get("name")
    where = f"{path}: row {number}"
    if not isinstance(name, str) or not (name := _line(name)):
        fault(f"{where}: has no name; fill it in, or take the row away")
        name = ""
    else:
        where += f" ({name[: LONGEST['name']]})"
    if len(name) > LONGEST["name"]:
        fault(f"{where}: a name of {len(name)} characters; write it in at most {LONGEST['name']}")
    description = row.get("description")
    if description is not None and not isinstance(description, str):
        fault(f"{where}: its description is no text; quote it")
        description = None
    description = _line(description or "") or None
    if description and len(description) > LONGEST["description"]:
        fault(f"{where}: a description of {len(description)} characters; write it in {LONGEST['description']}")
    aliases = tuple(dict.fromkeys(_several(row, "aliases", where, fault)))
    for alias in aliases:
        if len(alias) > LONGEST["alias"]:
            fault(f"{where}: an alias of {len(alias)} characters; write it in at most {LONGEST['alias']}")
    photos = _named(path, row, "photo", MOST_BYTES, where, fault)
    for photo in photos:
        if photo.suffix.lower() not in SUFFIXES:
            fault(f"{where}: {photo}: {photo.suffix or 'a file without an ending'} is not read; give JPEG, PNG or WebP")
    voices = _named(path, row, "voice", MOST_SOUND_BYTES, where, fault)
    return Member(name, photos, description, aliases, voices, where)


def _line(text: str) -> str:
    """One line, without control and format characters."""
    plain = "".join(" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")
    return " ".join(plain.split())


def _several(row: Mapping[str, Any], column: str, where: str, fault: Callable[[str], None]) -> list[str]:
    """The parts of a column that may hold several."""
    given = row.get(column)
    if given is None:
        return []
    parts: Sequence[Any] = given.split(SEPARATOR) if isinstance(given, str) else given
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        fault(f"{where}: its {column} is neither text nor a list of texts; quote it")
        return []
    return [line for part in parts if (line := _line(part))]


def _named(
    table: Path, row: Mapping[str, Any], column: str, most: int, where: str, fault: Callable[[str], None]
) -> tuple[Path, ...]:
    """The files that a row names, all of them inside the table's own folder."""
    root = table.parent.resolve()
    found = []
    for part in _several(row, column, where, fault):
        path = table.parent / part
        try:
            real = path.resolve()
            inside, there = real.is_relative_to(root), real.is_file()
            size = real.stat().st_size if inside and there else 0
        except (OSError, ValueError, RuntimeError):  # a circle of links, a name with a null byte, no right to look
            inside, there, size = True, False, 0
        if not inside:
            fault(f"{where}: the {column} {part!r} lies outside of {table.parent}; put it there, or below")
        elif not there:
            fault(f"{where}: the {column} {part!r} is not there; paths count from {table.parent}")
        elif size > most:
            fault(f"{where}: the {column} {part!r} has {size >> 20} MB, which is too large; make it smaller")
        else:
            found.append(path)
    return tuple(dict.fromkeys(found))


def _apart(found: Sequence[Member], fault: Callable[[str], None]) -> None:
    """Each name and each alias is one person's."""
    first: dict[str, Member] = {}
    for member in found:
        key = member.name.casefold()
        if member.name and (other := first.setdefault(key, member)) is not member:
            fault(f"{member.where}: {other.where} has that name, too; join the rows or tell the names apart")
    owners: dict[str, Member] = dict(first)
    for member in found:
        for alias in member.aliases:
            other = owners.setdefault(alias.casefold(), member)
            if other is not member:
                fault(f"{member.where}: its alias {alias!r} is also of {other.where}; take one away")
