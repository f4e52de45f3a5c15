"""Deciding anew from stored scores: no decode, no model, no cluster. What `curate select` does.

The stages that write `screening` and `decisions` are run in this process with other rules, and the ledger, the summary
and the recipe are brought in line. What follows from the decisions (captions, clips, shards) is left to `curate run`;
`to_do` says what that will be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import yaml

from curate import ledger, plan
from curate.books import SUMMARY, read_recipe, read_summary, states, write_recipe, write_summary
from curate.dataset import Dataset
from curate.ledger import Step
from curate.parts import encode_part
from curate.recipe import Recipe, RecipeError, parse
from curate.stage import Row, Stage, TableStage
from curate.work.context import Context
from curate.workspace import open_workspace
from schemas import Table, decisions, screening
from schemas import ledger as ledger_table
from schemas import sources as source_table

DECIDING = (screening.TABLE.name, decisions.TABLE.name)
"""The tables whose stages decide. They read stored scores only, so that they can be run again at any time."""

LISTED = 100
"""Clips that are listed one by one; the others are counted."""


class UnfinishedError(Exception):
    """The dataset is not what its recipe makes of it, so that a new decision would stand on half of the scores."""


@dataclass(frozen=True)
class Changed:
    """Clips that come in, or go out."""

    clips: int
    hours: float
    listed: list[Row]
    """The first of them: clip_id, path, duration_s, reason; the longest first."""


@dataclass(frozen=True)
class Work:
    """What `curate run` will do because of the decisions."""

    stage: str
    clips: int | None
    """Clips that it has to look at; None where it does its whole table again."""


@dataclass
class Redecision:
    """A new decision beside the one before."""

    before: list[Step]
    after: list[Step]
    states: dict[str, dict[str, int]]
    come_in: Changed
    go_out: Changed
    to_do: list[Work] = field(default_factory=list)
    written: bool = False


def redecide(dataset: Dataset, overrides: Sequence[str], dry_run: bool) -> Redecision:
    """Decide again with the dataset's own recipe and overrides of its rules. A dry run changes nothing.

    Raises:
        RecipeError: an override that is wrong, or that would take new measurements.
        UnfinishedError: the dataset's last run did not finish.
        DatasetBusyError: somebody is writing to it.
    """
    if dry_run:
        return _redecide(dataset, overrides, write=False)
    with dataset.locked():
        dataset.sweep()
        return _redecide(dataset, overrides, write=True)


def add_table(dataset: Dataset, content: Mapping[str, Any], name: str) -> None:
    """Run the table stage `name` over what is stored, put its table in place, and `content` as the dataset's recipe.

    For scores that come from outside, after the dataset was made: what is there stays, and `curate run` finds the table
    as it would make it.

    Args:
        dataset: a finished one.
        content: its recipe with the stage in it, as `Recipe.dump` gives it.
        name: of the stage.

    Raises:
        RecipeError: the recipe cannot run.
        UnfinishedError: the dataset's last run did not finish.
        DatasetBusyError: somebody is writing to it.
    """
    with dataset.locked():
        dataset.sweep()
        _finished(dataset, read_recipe(dataset))
        recipe = parse(yaml.safe_dump(content, sort_keys=False), f"{dataset.url}/recipe.yaml")
        (stage,) = (s for s in recipe.stages if s.name == name and isinstance(s, TableStage))
        made = _Made(dataset)
        made.decide(Context(dataset, recipe), stage)
        made.commit()
        write_recipe(dataset, recipe)


def _redecide(dataset: Dataset, overrides: Sequence[str], write: bool) -> Redecision:
    old, new = read_recipe(dataset), read_recipe(dataset, overrides)
    _only_rules(old, new)
    _finished(dataset, old)
    made = _Made(dataset)
    for stage in _deciding(new):
        made.decide(Context(dataset, new), stage)
    sources = dataset.scan(source_table.SOURCES).to_table(columns=list(ledger.SOURCE_COLUMNS)).to_pylist()
    table_keys = {t: sorted(dataset.keys(t)) for t in new.tables} | {"errors": sorted(dataset.keys("errors"))}
    writers = {stage.writes.name: stage.name for stage in new.stages}
    made.drop_outdated_errors(_after_decisions(new))
    book = ledger.build(made, sources, table_keys, writers)
    before = [Step(**step) for step in read_summary(dataset)["funnel"]]
    result = Redecision(before, ledger.funnel(made, book, table_keys), states(book), *_differences(dataset, book))
    if write:
        write_recipe(dataset, new)
        made.commit()
        ledger.write(dataset, book)
        write_summary(dataset, result.after, result.states)
        result.written = True
    result.to_do = to_do(made, new, book)
    return result


def _deciding(recipe: Recipe) -> list[TableStage]:
    return [s for s in recipe.stages if s.writes.name in DECIDING and isinstance(s, TableStage)]


def _only_rules(old: Recipe, new: Recipe) -> None:
    """Raises RecipeError where the overrides reach beyond the stages that decide."""
    if not _deciding(new):
        raise RecipeError(f"the recipe {new.name!r} has no stage that decides; every clip is in")
    before = {stage.name: stage for stage in old.stages}
    for stage in new.stages:
        if stage.writes.name not in DECIDING and stage != before[stage.name]:
            names = " and ".join(s.name for s in _deciding(new))
            raise RecipeError(
                f"--set {stage.name}.…: curate select changes only {names}; {stage.name!r} takes curate run"
            )


def _finished(dataset: Dataset, recipe: Recipe) -> None:
    """Raises UnfinishedError where the decisions in place are not those of the recipe and the scores in place."""
    cure = f"finish it first: curate run {dataset.url}/recipe.yaml -o {dataset.url}"
    if not dataset.exists(SUMMARY) or not dataset.keys(ledger_table.TABLE.name):
        raise UnfinishedError(f"{dataset.url}: its run did not finish; {cure}")
    for stage in _deciding(recipe):
        if dataset.keys(stage.writes.name) != {_task_key(dataset, recipe, stage, {})}:
            raise UnfinishedError(
                f"{dataset.url}: the table {stage.writes.name!r} is not what recipe.yaml makes of the scores that are "
                f"there: a run was stopped, or another version of Longtake made it; {cure}"
            )


def _task_key(dataset: Dataset, recipe: Recipe, stage: TableStage, made: Mapping[str, str]) -> str:
    """The key that the engine gives the stage's task over the parts that are in place, and over those `made` anew."""
    reads = stage.inputs(recipe.tables)
    sources = dataset.scan(source_table.SOURCES).to_table().to_pylist() if "sources" in reads else []
    in_place = {t: [made[t]] if t in made else sorted(dataset.keys(t)) for t in reads if t != "sources"}
    state = plan.State([s for s in sources if not s["failure"]], recipe.tables, {}, in_place)
    return str(plan.table_task(stage, state, [])["key"])


class _Made(Dataset):
    """A dataset as it will be: what is decided anew lies over what is stored."""

    def __init__(self, stored: Dataset) -> None:
        super().__init__(stored.url)
        self._rows: dict[str, pa.Table] = {}
        self._parts: dict[str, tuple[str, bytes]] = {}

    def scan(self, table: Table, keys: Iterable[str] | None = None) -> ds.Dataset:
        return ds.dataset(self._rows[table.name]) if table.name in self._rows else super().scan(table, keys)

    def decide(self, context: Context, stage: TableStage) -> None:
        """Run a deciding stage over what is stored and what was decided before it."""
        reads = stage.inputs(context.recipe.tables)
        with open_workspace(self.url) as work:
            batches = list(stage.run({t: self.scan(context.table(t)) for t in reads}, work))
        name = stage.writes.name
        key = _task_key(self, context.recipe, stage, {t: k for t, (k, _) in self._parts.items()})
        self._parts[name] = key, encode_part(stage.writes, batches, context.provenance(stage.name))
        self._rows[name] = pa.concat_tables(batches) if batches else stage.writes.schema.empty_table()

    def drop_outdated_errors(self, stages: Sequence[str]) -> None:
        """Leave out what stages after the decisions failed on, where no clip is left for them to fail on."""
        with duckdb.connect() as database:
            database.register("errors", super().scan(ledger.TABLES["errors"]))
            database.register("decisions", self._rows[decisions.TABLE.name])
            self._rows["errors"] = database.sql(_ERRORS, params={"stages": list(stages)}).to_arrow_table()

    def commit(self) -> None:
        """Put the new parts in place, and take out those that they replace."""
        for table, (key, part) in self._parts.items():
            present = self.keys(table)
            if key not in present:
                self.write(self.part(table, key), part)
            self.drop_parts(table, present - {key})


_ERRORS = """
select e.* from errors e
where not list_contains($stages, e.stage) or case
    when e.clip_id is null then exists (select 1 from decisions d where d.source_id = e.source_id and d.kept)
    else exists (select 1 from decisions d where d.clip_id = e.clip_id and d.kept) end
"""


def _after_decisions(recipe: Recipe) -> list[str]:
    """The stages whose work hangs on the decisions, directly or not."""
    tables, found = {decisions.TABLE.name}, []
    for stage in recipe.stages:
        if tables & stage.inputs(recipe.tables).keys():
            tables.add(stage.writes.name)
            found.append(stage.name)
    return found


def _differences(dataset: Dataset, book: pa.Table) -> tuple[Changed, Changed]:
    """The clips that are kept now and were not before, and the other way round."""
    with duckdb.connect() as database:
        database.register("old", dataset.scan(ledger_table.TABLE))
        database.register("new", book)
        database.execute(
            "create temp table moved as select n.clip_id, n.path, n.duration_s, n.state, n.reason, "
            "n.state = 'kept' as comes_in from new n join old o using (clip_id) "
            "where n.kind = 'clip' and o.kind = 'clip' and (n.state = 'kept') <> (o.state = 'kept')"
        )
        return _changed(database, True), _changed(database, False)


def _changed(database: duckdb.DuckDBPyConnection, comes_in: bool) -> Changed:
    where: dict[str, Any] = {"comes_in": comes_in}
    total = "select count(*), coalesce(sum(duration_s), 0) / 3600 from moved where comes_in = $comes_in"
    ((count, hours),) = database.sql(total, params=where).fetchall()
    listed = database.sql(
        "select clip_id, path, duration_s, reason from moved where comes_in = $comes_in "
        "order by duration_s desc, clip_id limit $most",
        params=where | {"most": LISTED},
    )
    return Changed(int(count), float(hours), listed.to_arrow_table().to_pylist())


def to_do(dataset: Dataset, recipe: Recipe, book: pa.Table) -> list[Work]:
    """What `curate run` would do because the decisions are newer than what was made of them."""
    found: list[Work] = []
    behind: set[str] = set()
    with duckdb.connect() as database:
        database.register("book", book)
        for stage in recipe.stages:
            reads = stage.inputs(recipe.tables)
            if isinstance(stage, TableStage) and stage.writes.name in DECIDING:
                if behind & reads.keys():
                    found.append(Work(stage.name, None))
                continue
            work: Work | None = None
            decided = next((t for t in reversed(DECIDING) if t in reads), None)
            if decided and "clip_id" in stage.writes.schema.names:
                work = _missing(database, dataset, recipe, stage, decided)
            elif behind & reads.keys():
                work = Work(stage.name, None)
            if work:
                found.append(work)
                behind.add(stage.writes.name)
    return found


def _missing(
    database: duckdb.DuckDBPyConnection, dataset: Dataset, recipe: Recipe, stage: Stage, decided: str
) -> Work | None:
    """The stage's work on the clips of the deciding table that it has no row for, or rows for too many."""
    keys = {t: sorted(dataset.keys(t)) for t in (decided, stage.writes.name)}
    made = recipe.writer(decided)
    assert made is not None  # noqa: S101 - it is one of the stage's inputs
    database.register("decided", dataset.scan(made.writes, keys[decided]))
    database.register("have", dataset.scan(stage.writes, keys[stage.writes.name]))
    names = stage.writes.schema.names
    looked = "coalesce(unmeasured not like 'not looked at%', true)" if "unmeasured" in names else "true"
    if "kept" in names:  # it has rows for the other clips of a kept clip's source, too
        looked += " and kept"
    ((missing, surplus),) = database.sql(
        f"""
        with wanted as (
            select decided.clip_id from decided join book using (clip_id)
            where decided.kept and book.kind = 'clip' and book.state <> 'failed'
        ), done as (select distinct clip_id from have where clip_id is not null and {looked})
        select count(*) filter (d.clip_id is null), count(*) filter (w.clip_id is null)
        from wanted w full join done d on w.clip_id = d.clip_id
        """  # noqa: S608 - what is spliced in are constants
    ).fetchall()
    return Work(stage.name, int(missing)) if missing or surplus else None


def command(dataset: str) -> list[str]:
    """The words that bring a dataset in line with its decisions."""
    return ["curate", "run", f"{dataset.rstrip('/')}/recipe.yaml", "-o", dataset]


def outstanding(dataset: Dataset) -> list[dict[str, Any]]:
    """What `curate run` has still to do after a new decision, for those who show a dataset.

    Nothing is known of a recipe that cannot be read here, as where a package with one of its stages is not installed.
    """
    try:
        recipe = read_recipe(dataset)
    except RecipeError:
        return []
    book = dataset.scan(ledger_table.TABLE).to_table()
    return [vars(work) for work in to_do(dataset, recipe, book)]
