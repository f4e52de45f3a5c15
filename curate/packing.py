"""Making packs out of loose parts, and taking parts out of them. Only for the holder of the dataset's lock.

The engine divides a table's loose parts into shares, has its workers gather each share into a pack or more, and then
merges what has become many small packs. Each step may be killed anywhere, and done again by another process.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.folder import Folder
from curate.packs import INDEX, PREFIX, SUFFIX, Pack, Part, View, view
from curate.parts import PROVENANCE, DamagedError, encode, verified

LOOSE = 256
"""Loose parts that a table may have: opening so many takes half a second, and a pack for fewer hardly pays."""
PACK_BYTES = 128 << 20
"""Most bytes of a pack's rows as Arrow holds them: a writer keeps a pack and two copies of its bytes in memory."""
GROUP_BYTES = 1 << 20
"""Bytes from which on a row group ends: whoever wants one part decodes no more than about this and the part."""
FAN_IN = 8
"""Packs of one size that are merged: rows are then written anew once for every eightfold growth of their table, and a
table has at most seven packs of each of the four sizes below a whole one."""
SMALLEST = 1 << 16
"""Bytes below which all packs count as of one size."""
SHARE = 10_000
"""Most loose parts that one task packs: about half a minute's work, and enough tasks for many workers at once."""


def crowded(found: View, most_loose: int = LOOSE) -> bool:
    """Whether a table has too many loose parts."""
    return len(found.loose) > most_loose


def shares(folder: Folder, table: str, most_loose: int = LOOSE, share: int = SHARE) -> list[tuple[str, str]]:
    """Divide the loose parts of a table that is crowded, so that each share can be packed by itself.

    Returns:
        First and last key of each share.
    """
    settle(folder, table)
    loose = sorted(view(folder, table).loose)
    if len(loose) <= most_loose:  # the others were packed already
        return []
    count = -(-len(loose) // share)
    bounds = [len(loose) * number // count for number in range(count + 1)]
    return [(loose[begin], loose[end - 1]) for begin, end in itertools.pairwise(bounds)]


def gather(folder: Folder, table: str, first: str, last: str) -> None:
    """Pack the loose parts of a share. Other processes may do the same for other shares meanwhile."""
    found = view(folder, table)
    mine = {key for key in found.loose if first <= key <= last}
    for pack in found.packs:  # one that a killed process has written out of these
        for key, same in _twice(folder, table, pack, mine):
            if same:
                folder.remove(_file(table, key))
                mine.discard(key)
    loose = sorted(mine)
    while loose:
        loose = _gather(folder, table, loose)


def mergeable(found: View) -> bool:
    """Whether a table has too many small packs of about one size."""
    return bool(_alike(found.packs))


def merge(folder: Folder, table: str) -> None:
    """Put small packs of about one size together, until there are few."""
    settle(folder, table)
    while small := _alike(view(folder, table).packs):
        parts = heapq.merge(*(pack.parts(folder) for pack in small), key=lambda part: part.key)
        _write(folder, table, parts, [pack.name for pack in small])
        for pack in small:
            folder.remove(pack.path)


def drop(folder: Folder, table: str, keys: Collection[str]) -> None:
    """Take parts out of a table, loose or packed; each pack is written anew once."""
    found, gone = view(folder, table), set(keys)
    # The packs first: without its loose part, what a pack holds under a key would be taken for its rows.
    for pack in found.packs:
        _take_out(folder, table, pack, gone)
    for key in sorted(gone & found.loose):
        folder.remove(_file(table, key))


def settle(folder: Folder, table: str) -> None:
    """See to it that every part is in one place. After a clean end there is nothing to do.

    A loose part that is packed as well was packed just before the process was killed, or was written since over what
    is packed: its rows tell.
    """
    found = view(folder, table)
    for name in sorted(found.replaced):
        folder.remove(f"tables/{table}/{name}")
    for pack in found.packs if found.loose else ():
        newer: set[str] = set()
        for key, same in _twice(folder, table, pack, found.loose):
            if same:
                folder.remove(_file(table, key))
            else:
                newer.add(key)
        _take_out(folder, table, pack, newer)


def _twice(folder: Folder, table: str, pack: Pack, loose: Set[str]) -> Iterator[tuple[str, bool]]:
    """Loose parts that a pack holds too, and whether they are the same there."""
    for part in pack.parts(folder, [at for at, key in enumerate(pack.keys) if key in loose]):
        # Bytes, for rows with a NaN do not equal themselves.
        yield part.key, encode(part.sealed().schema, [part.rows]) == folder.read(_file(table, part.key))


def _take_out(folder: Folder, table: str, pack: Pack, keys: Set[str]) -> None:
    left = [at for at, key in enumerate(pack.keys) if key not in keys]
    if len(left) == len(pack.keys):
        return
    if left:
        _write(folder, table, pack.parts(folder, left), [pack.name])
    folder.remove(pack.path)


def _gather(folder: Folder, table: str, loose: Sequence[str]) -> list[str]:
    """Pack loose parts from the first on, as far as a pack goes.

    Returns:
        Those that found no room, or have another schema than the first. A damaged part is not among them: it stays
        where it is, for the next run to notice it and have it made anew.
    """
    gathered: list[str] = []
    damaged: set[str] = set()

    def parts() -> Iterator[Part]:
        schema, size = None, 0
        for key in loose:
            try:
                part = _loose(folder, table, key)
            except DamagedError:
                damaged.add(key)
                continue
            schema = schema or part.rows.schema
            if not part.rows.schema.equals(schema, check_metadata=True):
                continue
            size += part.size
            if size > PACK_BYTES and gathered:
                return
            gathered.append(key)
            yield part

    _write(folder, table, parts(), [])
    for key in gathered:
        folder.remove(_file(table, key))
    done = damaged.union(gathered)
    return [key for key in loose if key not in done]


def _alike(packs: Sequence[Pack]) -> list[Pack]:
    """Small packs of about one size and of one schema that are too many; empty where there are none."""
    alike: defaultdict[tuple[int, bytes], list[Pack]] = defaultdict(list)
    for pack in packs:
        if pack.size < PACK_BYTES // 2:
            size = max(pack.size, SMALLEST).bit_length() // FAN_IN.bit_length()
            alike[size, pack.footer.schema.to_arrow_schema().serialize().to_pybytes()].append(pack)
    for _, many in sorted(alike.items()):
        if len(many) >= FAN_IN:
            many.sort(key=lambda pack: (pack.size, pack.name))
            sizes = itertools.accumulate(pack.size for pack in many)
            return [pack for pack, size in zip(many, sizes, strict=True) if size <= PACK_BYTES]
    return []


def _write(folder: Folder, table: str, parts: Iterable[Part], replaces: Sequence[str]) -> None:
    """Put parts, in the order of their keys, into a new pack; nothing is written where there are none."""
    ahead = iter(parts)
    if (first := next(ahead, None)) is None:
        return
    index: dict[str, Any] = {"keys": [], "rows": [], "made_by": [], "provenances": [], "replaces": sorted(replaces)}
    numbers: dict[str, int] = {}
    size = 0
    told: dict[str, str] = {}

    def groups() -> Iterator[pa.Table]:
        nonlocal size
        group: list[pa.Table] = []
        held = 0
        for part in itertools.chain([first], ahead):
            index["keys"].append(part.key)
            index["rows"].append(part.rows.num_rows)
            index["made_by"].append(numbers.setdefault(part.provenance, len(numbers)))
            group.append(part.rows)
            held += part.size
            size += part.size
            if held >= GROUP_BYTES:
                yield pa.concat_tables(group)
                group, held = [], 0
        if group:
            yield pa.concat_tables(group)
        # Known only now; it goes into the footer, which is written last.
        told[INDEX.decode()] = json.dumps({**index, "provenances": list(numbers), "bytes": size}, separators=(",", ":"))

    data = encode(first.rows.schema, groups(), told)
    folder.write(f"tables/{table}/{PREFIX}{hashlib.sha256(data).hexdigest()[:32]}{SUFFIX}", data)


def _loose(folder: Folder, table: str, key: str) -> Part:
    """A loose part, checked."""
    path = _file(table, key)
    rows = pq.ParquetFile(pa.BufferReader(verified(folder.read(path), path))).read(use_threads=False)
    told = (rows.schema.metadata or {}).get(PROVENANCE, b"{}").decode()
    return Part(key, rows.replace_schema_metadata(None), told)


def _file(table: str, key: str) -> str:
    return f"tables/{table}/{key}{SUFFIX}"
