"""Who is seen and heard: each character with its face, and when it is there in a clip."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import duckdb

from curate.dataset import Dataset
from schemas import characters, faces, media, sources

FOLDER = "report/people"
MOST = 500
"""Characters on the page: those who speak and are seen longest."""
MOST_SCENES = 12
"""Takes that are named of a character."""


def write(dataset: Dataset) -> list[dict[str, Any]]:
    """Write the faces; returns the characters, who speak longest first, as the page shows them."""
    with duckdb.connect() as database:
        for table in (characters.CHARACTERS, faces.PEOPLE, faces.IDENTITIES, sources.SOURCES, media.TABLE):
            database.register(table.name, dataset.scan(table))
        rows = database.sql(_CHARACTERS, params={"most": MOST, "scenes": MOST_SCENES}).to_arrow_table().to_pylist()
    shown = []
    for row in rows:
        picture, name = row.pop("portrait"), f"{row.pop('source_id')[:16]}-{row.pop('id')}.jpg"
        row["face"] = name if picture else None
        if picture:
            dataset.write(f"{FOLDER}/{name}", picture)
        shown.append(row)
    kept = {row["face"] for row in shown}
    for name in set(dataset.names(FOLDER)) - kept:
        dataset.remove(f"{FOLDER}/{name}")
    return shown


_CHARACTERS = """
with face as (
    select source_id, unnest(people) as person_id, character_id from characters
), known as (
    select f.source_id, f.character_id, arg_max(p.portrait, p.screen_s) as portrait, flatten(list(p.clips)) as clips
    from face f join people p using (source_id, person_id) group by all
), everybody as (
    select source_id, character_id as id, label, name, speaking_s, screen_s, on_screen_s, confidence,
        concat_ws('; ', 'named by ' || named_by, description, cast_description) as known, people[1] as person_id
    from characters
    union all
    select source_id, person_id, label, name, 0, screen_s, 0, null, '', person_id from people
    where source_id not in (select source_id from characters)
)
select e.source_id, e.id, s.path, e.label, e.name, e.speaking_s as speaks, e.screen_s as seen, e.on_screen_s as both,
    e.confidence as sure, e.known, i.label as identity, i.sources as elsewhere,
    coalesce(k.portrait, p.portrait) as portrait,
    list_slice(coalesce(k.clips, p.clips, []), 1, $scenes) as scenes
from everybody e left join sources s using (source_id)
left join known k on k.source_id = e.source_id and k.character_id = e.id
left join people p on p.source_id = e.source_id and p.person_id = e.id
left join identities i on i.source_id = e.source_id and i.person_id = e.person_id
order by e.speaking_s desc, e.screen_s desc, s.path, e.id limit $most
"""
"""From `characters`, or, of sources that have only faces, from `people`."""


def spans(database: duckdb.DuckDBPyConnection, dataset: Dataset) -> dict[int, list[dict[str, Any]]]:
    """By number of the clips in `shown`: who is seen and who speaks, with times from the clip's start."""
    for table in (characters.CHARACTERS, characters.DIALOGUE, faces.FACES):
        database.register(table.name, dataset.scan(table))
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for number, lane, start_s, end_s, label in database.sql(_SPANS).fetchall():
        found[number].append({"lane": lane, "start": start_s, "end": end_s, "label": label})
    return found


_SPANS = """
with owner as (select source_id, unnest(people) as person_id, label from characters),
there as (
    select f.source_id, 'seen' as lane, f.start_s, f.end_s, coalesce(o.label, f.label) as label
    from faces f left join owner o using (source_id, person_id) where f.person_id is not null
    union all
    select source_id, 'speaks', start_s, end_s, label from dialogue where label is not null
)
select s.number, t.lane, greatest(t.start_s, s.start_s) - s.start_s as first, least(t.end_s, s.end_s) - s.start_s,
    t.label
from shown s join there t on t.source_id = s.source_id and t.start_s < s.end_s and t.end_s > s.start_s
order by s.number, t.lane, t.label, first
"""
