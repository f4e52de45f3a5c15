"""The audit at the end of a run: every source and every clip in exactly one state, and the funnel they went through."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from curate import keys, tombstones
from curate.dataset import Dataset
from curate.parts import encode_part
from curate.stage import Row
from curate.tombstones import HIDDEN, PURGED
from schemas import caption_checks, captions, clips, decisions, errors, ledger, media, screening, shards
from schemas import sources as source_table

SOURCE_COLUMNS = ("source_id", "path", "failure", "duration_s")
"""What the ledger needs to know of a source."""

NO_CLIP = "no take was found in it"
UNTOLD = "no caption of it may be used"
PURGE = "purge"
"""The stage that ledger and funnel name for what `curate purge` took out."""


TABLES = {
    t.name: t
    for t in (
        captions.TABLE,
        caption_checks.TABLE,
        clips.TABLE,
        screening.TABLE,
        decisions.TABLE,
        media.TABLE,
        shards.SAMPLES,
        shards.SHARDS,
        errors.TABLE,
    )
}
"""The tables that the audit understands: the field's own, which any recipe may write or leave out."""


class AuditError(Exception):
    """The dataset contradicts itself; a bug or a hand in the files."""


@dataclass(frozen=True)
class Step:
    """One bar of the funnel."""

    name: str
    count: int
    hours: float


def build(
    dataset: Dataset, sources: Sequence[Row], table_keys: Mapping[str, Sequence[str]], writers: Mapping[str, str]
) -> pa.Table:
    """The ledger of all sources and clips.

    Args:
        writers: by table, the name of the stage that writes it.

    A clip is failed where a stage failed on it or on its source; otherwise rejected or kept as `decisions` says, and
    kept where the recipe decides nothing. One that `screening` turned down is rejected by the stage that writes
    that, and, where shards are made, one whose caption may not be used by the stage that found it so. A source is
    failed where a stage failed on it, kept where a clip of it is. What was purged stands there without name: a source
    as purged, a span of one that stays as a rejected clip.
    """
    with duckdb.connect() as database:
        _register(database, dataset, sources, table_keys, writers)
        table = database.sql(_LEDGER).to_arrow_table().cast(ledger.TABLE.schema)
    spans = list(_purged_spans(tombstones.load(dataset), sources))
    if not spans:
        return table
    whole = pa.concat_tables([table, pa.Table.from_pylist(spans, schema=table.schema)])
    return whole.sort_by([("kind", "descending"), ("source_id", "ascending"), ("clip_id", "ascending")])


def _purged_spans(stones: tombstones.Tombstones, sources: Sequence[Row]) -> Iterator[Row]:
    """A row for each span that was taken out of a source that is there."""
    for source in sources if stones else ():
        for span in stones.spans(source["source_id"]):
            row = {"kind": "clip", "source_id": source["source_id"], "clip_id": f"{PURGED}-{span.name[:12]}"}
            row |= {"path": source["path"], "state": "rejected", "stage": PURGE, "reason": span.reason}
            yield row | {"duration_s": span.end_s - span.start_s}


def audit(dataset: Dataset, book: pa.Table, table_keys: Mapping[str, Sequence[str]]) -> None:
    """Check the ledger against the tables and files.

    Raises:
        AuditError: a source or clip is in no state or in two, or what is kept is not what was packed.
    """
    with duckdb.connect() as database:
        database.register("ledger", book)
        doubled = database.sql("select kind, source_id, clip_id from ledger group by all having count(*) <> 1 limit 1")
        for kind, source_id, clip_id in doubled.fetchall():
            raise AuditError(f"{kind} {clip_id or source_id} is in more than one state")
        if "samples" not in table_keys or "media" not in table_keys:
            return
        for name in ("samples", "media", "shards"):
            database.register(name, dataset.scan(TABLES[name], table_keys.get(name, [])))
        astray = database.sql(
            "select coalesce(l.clip_id, s.clip_id), l.clip_id is null from "
            "(select clip_id from ledger where kind = 'clip' and state = 'kept') l "
            "full join samples s on s.clip_id = l.clip_id where l.clip_id is null or s.clip_id is null limit 1"
        )
        for clip_id, unkept in astray.fetchall():
            raise AuditError(f"clip {clip_id} is {'packed but not kept' if unkept else 'kept but not packed'}")
        named = {r[0] for r in database.sql("select shard from shards").fetchall()}
    there = {path for path in dataset.tree("shards") if path.endswith(".tar")}
    if "shards" in table_keys and named != there:
        raise AuditError(f"shards on disk are not those of the table: {sorted(named ^ there)[:3]}")


def funnel(dataset: Dataset, book: pa.Table, table_keys: Mapping[str, Sequence[str]]) -> list[Step]:
    """What was left after each step, in clips and hours, in the order in which the rules stand."""
    with duckdb.connect() as database:
        database.register("ledger", book)
        steps = [
            Step("sources", *_tally(database, "kind = 'source'")),
            Step("readable", *_tally(database, "kind = 'source' and state not in ('failed', 'purged')")),
        ]
        if (there := _tally(database, "kind = 'source' and state <> 'purged'")) != (steps[0].count, steps[0].hours):
            steps.insert(1, Step("sources not purged", *there))
        if "clips" not in table_keys:
            return steps
        total, hours = _tally(database, "kind = 'clip'")
        steps.append(Step("takes", total, hours))
        out, lost = _tally(database, f"kind = 'clip' and stage = '{PURGE}'")
        if out:
            total, hours = total - out, max(0.0, hours - lost)
            steps.append(Step("takes not purged", total, hours))
        if "decisions" in table_keys:
            for name in ("screening", "decisions"):
                database.register(name, dataset.scan(TABLES[name], table_keys.get(name, [])))
            for stage, name, out, lost in database.sql(_FIRST_RULES).fetchall():
                total, hours = total - out, max(0.0, hours - lost)
                steps.append(Step(f"after {stage}.{name}" if stage else f"after {name}", total, hours))
        untold, lost = _tally(database, f"kind = 'clip' and state = 'rejected' and starts_with(reason, '{UNTOLD}')")
        if untold:
            steps.append(Step("captions usable", total - untold, max(0.0, hours - lost)))
        steps.append(Step("kept", *_tally(database, "kind = 'clip' and state = 'kept'")))
    return steps


def write(dataset: Dataset, book: pa.Table) -> None:
    """Put the ledger in place of the one before. A ledger that is the same is left alone."""
    part = encode_part(ledger.TABLE, [book], {})
    key = hashlib.sha256(part).hexdigest()[: keys.LENGTH]
    present = dataset.keys(ledger.TABLE.name)
    if key not in present:
        dataset.write(dataset.part(ledger.TABLE.name, key), part)
    dataset.drop_parts(ledger.TABLE.name, present - {key})


def _tally(database: duckdb.DuckDBPyConnection, condition: str) -> tuple[int, float]:
    """Rows of the ledger that meet a condition of this module's own, and their hours."""
    query = f"select count(*), coalesce(sum(duration_s), 0) / 3600 from ledger where {condition}"  # noqa: S608
    ((count, hours),) = database.sql(query).fetchall()
    return int(count), float(hours)


def _register(
    database: duckdb.DuckDBPyConnection,
    dataset: Dataset,
    sources: Sequence[Row],
    table_keys: Mapping[str, Sequence[str]],
    writers: Mapping[str, str],
) -> None:
    rows = [{k: s[k] for k in SOURCE_COLUMNS} for s in sources]
    columns = pa.schema([source_table.SOURCES.schema.field(name) for name in SOURCE_COLUMNS])
    database.register("sources", pa.Table.from_pylist(rows, schema=columns))
    for name in ("clips", "screening", "decisions", "errors"):
        table = TABLES[name]
        database.register(name, dataset.scan(table, table_keys.get(name, [])))
    believer = writers.get("caption_checks") or writers.get("captions")
    database.execute(
        "create temp table writer as "
        "select ?::varchar as clips, ?::varchar as screening, ?::varchar as decisions, ?::varchar as believer",
        [writers.get("clips"), writers.get("screening"), writers.get("decisions"), believer],
    )
    packed = "samples" in table_keys
    for name in ("captions", "caption_checks"):
        table = TABLES[name]
        database.register(name, dataset.scan(table, table_keys.get(name, []) if packed else []))
    database.execute(_UNBELIEVED, {"checked": "caption_checks" in table_keys, "told": UNTOLD})


_FIRST_RULES = """
with first as (
    select d.first_rule as name, d.rule_number as number, s.kept is false as screened, l.stage, l.state, l.duration_s
    from decisions d join ledger l using (clip_id) left join screening s using (clip_id)
    where d.first_rule is not null and l.kind = 'clip'
)
select case when bool_or(screened) then coalesce(any_value(stage) filter (state = 'rejected'), 'screening') end, name,
    count(*), sum(duration_s) / 3600
from first group by screened, number, name order by screened desc, number
"""
"""The clips that each rule was the first to turn down: those of the screening stage, then those of the decision."""

_UNBELIEVED = """
create temp table unbelieved as
select n.clip_id, $told || ': ' || min_by(
    printf('%.1f s to %.1f s: ', n.start_s, n.end_s)
        || coalesce(array_to_string(case when $checked then k.flags else n.flags end, '; '), 'nothing was written'),
    n.start_s) as reason
from captions n left join caption_checks k using (source_id, node_id)
left join captions w on w.source_id = n.source_id and w.node_id = coalesce(k.text_from, n.node_id)
where n.level = 'shot' and n.clip_id is not null and (
    trim(coalesce(w.text, '')) = ''
    or (case when $checked then k.passed is distinct from true else len(n.flags) > 0 end))
group by n.clip_id
"""
"""Takes with a shot whose caption may not be used, and the first reason: what is told with a hole is not packed."""

_LEDGER = f"""
with source_error as (
    select source_id, min_by(stage, (stage, message)) as stage, min_by(message, (stage, message)) as message
    from errors where clip_id is null group by source_id
),
clip_error as (
    select clip_id, min_by(stage, (stage, message)) as stage, min_by(message, (stage, message)) as message
    from errors where clip_id is not null group by clip_id
),
verdict as (
    select c.clip_id,
        d.clip_id is null and w.decisions is not null as undecided,
        case when w.decisions is not null and d.kept is distinct from true
            then case when s.kept is false then w.screening else w.decisions end
            when u.clip_id is not null then w.believer end as stage,
        case when d.kept then u.reason
            else coalesce(array_to_string(d.reasons, '; '), u.reason, 'no decision was taken on it') end as reason
    from clips c cross join writer w left join decisions d using (clip_id) left join screening s using (clip_id)
    left join unbelieved u using (clip_id)
),
clip_state as (
    select c.source_id, c.clip_id, s.path, c.duration_s,
        case
            when ce.clip_id is not null or se.source_id is not null or v.undecided then 'failed'
            when v.stage is not null then 'rejected' else 'kept'
        end as state,
        coalesce(ce.stage, se.stage, v.stage) as stage,
        coalesce(ce.message, se.message, case when v.stage is not null then v.reason end) as reason
    from clips c join sources s using (source_id) join verdict v using (clip_id)
    left join clip_error ce using (clip_id)
    left join source_error se on se.source_id = c.source_id
),
source_state as (
    select s.source_id, s.path, s.duration_s,
        case
            when s.failure = '{PURGED}' and s.path = '{HIDDEN}' then '{PURGED}'
            when s.failure is not null or se.source_id is not null then 'failed'
            when bool_or(c.state = 'kept') then 'kept'
            when bool_or(c.state = 'failed') then 'failed' else 'rejected'
        end as state,
        case when s.failure = '{PURGED}' and s.path = '{HIDDEN}' then '{PURGE}'
            when s.failure is not null then 'probe' when se.source_id is not null then any_value(se.stage)
            when bool_or(c.state = 'kept') then null
            when bool_or(c.state = 'failed') then min(c.stage) filter (c.state = 'failed')
            else coalesce(min(c.stage), (select clips from writer)) end as stage,
        case when s.failure is not null then s.failure when se.source_id is not null then any_value(se.message)
            when bool_or(c.state = 'kept') then null
            when bool_or(c.state = 'failed') then min(c.reason) filter (c.state = 'failed')
            else coalesce(min_by(c.reason, (-c.duration_s, c.clip_id)), '{NO_CLIP}') end as reason
    from sources s left join clip_state c using (source_id) left join source_error se on se.source_id = s.source_id
    group by s.source_id, s.path, s.duration_s, s.failure, se.source_id
)
select 'source' as kind, source_id, null as clip_id, path, state, stage, reason, duration_s from source_state
union all
select 'clip', source_id, clip_id, path, state, stage, reason, duration_s from clip_state
order by kind desc, source_id, clip_id
"""  # noqa: S608 - the only thing spliced in is a constant of this module
