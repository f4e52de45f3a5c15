"""What a run does about damage before it plans: drops what is not as it was written, so that the plan makes it again.

What was made of a part is made again only if the part's rows have changed: a task is its inputs, so they seldom have.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from curate import check, lost
from curate.check import Finding
from curate.dataset import Dataset, to_arrow
from curate.listing import Listing, listing
from curate.plan import State, by_source, ingest_key
from curate.recipe import Recipe
from curate.stage import Row, TableStage
from curate.work import JobError
from curate.work.context import Context
from schemas import errors, sources

TOLD = 20
"""Damaged files that are named one by one: `curate check` names all."""


@dataclass(frozen=True)
class Before:
    """What a part was before it was dropped."""

    seal: str | None
    """None: that is not known any more."""
    failed: bool


Redone = dict[tuple[str, str], Before]
"""Parts, as (table, key), that are made again."""

RECORD = "redone.json"
"""What they were, until all that was made of them has been seen to: a run may be killed before."""


class InputsLostError(JobError):
    """It is not known any more which files a dataset was made of."""


def mend(dataset: Dataset, recipe: Recipe, found: Listing, say: Callable[[str], None]) -> Redone:
    """Find what is damaged, and drop it. Only for the holder of the dataset's lock.

    The parts of a local dataset are read through; an object store has checksums of its own, and there each is looked at
    when it is used. Of clips and shards it is seen whether they are there and have their size: `curate check` reads
    them.

    Args:
        found: the run's inputs.

    Raises:
        InputsLostError: it is not known any more which inputs the dataset was made of.
        JobError: nor what an earlier run dropped.
    """
    redone = _recorded(dataset)
    bad = check.parts(dataset) if dataset.local else []
    if not any(finding.packed for finding in bad):
        dataset.settle()
    bad += check.files(dataset, bad)
    if not bad:
        return redone
    for finding in bad[:TOLD]:
        say(f"{finding.path}: {finding.what}. It is made anew.")
    if len(bad) > TOLD:
        say(f"and {len(bad) - TOLD} more damaged files.")
    return drop(dataset, recipe, bad, found)


def drop(dataset: Dataset, recipe: Recipe, bad: Sequence[Finding], found: Listing, forget: bool = False) -> Redone:
    """Drop what is damaged, but forget no source because the part of `inputs` that names it is.

    Args:
        found: the inputs of a run, which may name it again. If not, the table `sources` does.
        forget: let go of a source that neither names.

    Raises:
        InputsLostError: neither does.
        JobError: it is not known any more what an earlier run dropped.
    """
    lost.settle(dataset, [finding for finding in bad if finding.packed])
    bad = [finding for finding in bad if not finding.packed]
    kept = [] if forget else list(_kept_inputs(dataset, bad, found))
    redone = record(dataset, _before(dataset, bad))
    check.mend(dataset, bad)
    provenance = Context(dataset, recipe).provenance()
    for row in kept:
        key = ingest_key(row["path"], row["fingerprint"], row["user"])
        dataset.write_part(sources.INPUTS, key, to_arrow(sources.INPUTS, [row]), provenance)
    return redone


def record(dataset: Dataset, going: Redone) -> Redone:
    """Note what parts are before they are dropped. Returns them with those that are on record already.

    Raises:
        JobError: the record cannot be read.
    """
    whole = going | _recorded(dataset)  # how a part was at first is what others were made of
    if whole:
        rows = [{"table": table, "key": key, **asdict(before)} for (table, key), before in whole.items()]
        dataset.write(RECORD, json.dumps(rows).encode())
    return whole


def _recorded(dataset: Dataset) -> Redone:
    try:
        rows = json.loads(dataset.read(RECORD))
        return {(str(row["table"]), str(row["key"])): Before(row["seal"], bool(row["failed"])) for row in rows}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError) as error:
        raise JobError(
            f"{dataset.url}/{RECORD} is damaged: it said which parts are being made anew, and what is made of them may "
            "be out of date. Remove it together with the tables of the stages that work on all sources, and run again"
        ) from error


def _before(dataset: Dataset, bad: Sequence[Finding]) -> Redone:
    """What the parts were that have to go."""
    failed = dataset.keys(errors.TABLE.name)
    going: set[tuple[str, str]] = set()
    for finding in bad:
        if finding.table == errors.TABLE.name:
            going |= {
                (table, str(finding.key)) for table in dataset.table_names() if finding.key in dataset.keys(table)
            }
        elif finding.table:
            going.add((finding.table, str(finding.key)))
    return {part: Before(dataset.seal(*part), part[1] in failed) for part in going}


def outdated(dataset: Dataset, recipe: Recipe, state: State, redone: Redone) -> bool:
    """Drop what was made of parts that have come out otherwise than before; whether there was anything."""
    failed = dataset.keys(errors.TABLE.name)
    dropped = False
    for (table, key), before in redone.items():
        seal = dataset.seal(table, key)
        same = seal == before.seal if seal and before.seal else (key in failed) == before.failed
        if not same:
            dropped |= _drop_made_of(dataset, recipe, state, table, key)
    if redone:
        dataset.remove(RECORD)
        redone.clear()
    return dropped


def _drop_made_of(dataset: Dataset, recipe: Recipe, state: State, table: str, key: str) -> bool:
    """Drop the parts whose keys say that they were made of a part, directly or not."""
    owner = next((source for source, mine in state.source_keys.get(table, {}).items() if mine == key), None)
    reached, dropped = {table}, False
    for stage in recipe.stages:
        name = stage.writes.name
        reads = reached & stage.inputs(recipe.tables).keys()
        if by_source(stage):
            reads &= state.source_keys.keys()
            gone = [state.source_keys[name][owner]] if reads and owner in state.source_keys[name] else []
        else:
            # Of others the digest of the rows is in the key.
            gone = state.global_keys[name] if reads and isinstance(stage, TableStage) else []
        for old in gone:
            dataset.drop_part(name, old)
            dropped = True
        reached |= {name} if gone else set()
    return dropped


def _kept_inputs(dataset: Dataset, bad: Sequence[Finding], found: Listing) -> Iterator[Row]:
    """Rows of `inputs` that are lost and that the run's own inputs do not replace."""
    damaged = {finding.key for finding in bad if finding.table == sources.INPUTS.name}
    lost = damaged - {ingest_key(file.path, file.fingerprint, file.user) for file in found.files.values()}
    if not lost:
        return
    keys = dataset.keys(sources.SOURCES.name) - {f.key for f in bad if f.table == sources.SOURCES.name}
    if not keys:
        raise InputsLostError(
            f"{dataset.url}: it is not known any more what {len(lost)} of its inputs were, because the tables `inputs` "
            f"and `sources` are damaged; name all inputs with -i again, or let go of those: "
            f"curate check {dataset.url} --mend"
        )
    whole = dataset.keys(sources.INPUTS.name) - damaged
    known = set(dataset.scan(sources.INPUTS, whole).to_table(columns=["path"])["path"].to_pylist())
    for source in dataset.scan(sources.SOURCES, keys).to_table().to_pylist():
        for path in set(source["paths"]) - known - found.files.keys():
            now = listing([path]).files.get(path)
            same = now is not None and ingest_key(path, now.fingerprint, source["user"]) in lost
            # Of a file that may be another now no fingerprint is kept, so that it is looked at when it is named again.
            row = {name: source[name] for name in sources.INPUTS.schema.names if name in source}
            yield row | {"path": path, "fingerprint": now.fingerprint if now and same else ""}
