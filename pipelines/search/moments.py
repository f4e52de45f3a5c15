"""Moments by caption: ranked by words and, where captions have vectors, by meaning; fused; each told once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import duckdb
import numpy as np
import pyarrow.dataset as ds

from curate.books import read_recipe
from curate.dataset import Dataset
from curate.folder import decoded
from curate.models import WeightsError
from curate.scratch import scratch_folder
from curate.stage import Row
from pipelines.search.words import PLAIN, WORD, Words
from schemas import caption_checks, caption_vectors, captions, clips, decisions, media, sources
from schemas.tree import LEVELS
from stages.caption.chosen import captions_chosen
from stages.caption.meaning import Meaning, embed

MEMORY = "400MB"
"""Of the database; what is more goes to a temporary folder. 100 000 captions take less."""
BATCH = 4096
"""Vectors that are read at once."""
RRF = 60
"""Constant of reciprocal rank fusion (Cormack et al., SIGIR 2009, who found it to matter little)."""
LEAST_COVERAGE, OF_THE_BEST = 0.2, 0.9
"""Share of the query's information, and of what the caption with the most of it has, that a caption's words must have
to be ranked by them beside its meaning: one that shares but a common word with a paraphrase would push what is meant
down (`tests/benchmarks/search.py --tune`)."""
DEPTH = 1000
"""Captions of the ranking that are looked through for moments, at the least."""


class SearchError(Exception):
    """Nothing can be searched, or not for this; the message says what to do."""


class QueryError(SearchError):
    """There is nothing to look for."""


@dataclass(frozen=True)
class Found:
    """What was found and how."""

    moments: list[Row]
    """Best first: a caption's columns, `score`, `words`, `coverage`, `cosine`, where to `watch` it, and `pieces`, its
    text in parts, each with whether it matches."""
    by_words: str | None
    """Why there is no ranking by words; null: there is one."""
    by_meaning: str | None
    """Why there is no ranking by meaning; null: there is one."""


class Moments:
    """The captions of a dataset that may be used, ready to be asked."""

    def __init__(
        self,
        dataset: Dataset,
        database: duckdb.DuckDBPyConnection,
        encoder: ProcessPoolExecutor,
        level: str | None,
        kept: bool,
    ) -> None:
        self._dataset, self._database, self._encoder = dataset, database, encoder
        there = set(dataset.table_names())
        if captions.TABLE.name not in there:
            raise SearchError(f"{dataset.url} has no captions; run a recipe with the stage caption first")
        if kept and decisions.TABLE.name not in there:
            raise SearchError(f"{dataset.url} has no decisions, so nothing is kept; run a recipe with the stage select")
        recipe = read_recipe(dataset)
        for table in (*(m.TABLE for m in (captions, caption_checks, clips, decisions, media)), sources.SOURCES):
            database.register(table.name, dataset.scan(table))
        checked = caption_checks.TABLE.name in there
        database.execute(f"create temp view chosen as {captions_chosen(checked)}")
        database.execute(_TOLD, {"level": level, "kept": kept})
        self.captions = self._count("told")
        if not self.captions:
            raise SearchError(self._why_none(checked, level, kept))
        writer = recipe.writer(caption_vectors.TABLE.name)
        self._meaning = writer if isinstance(writer, Meaning) else Meaning()
        self._embedded = caption_vectors.TABLE.name in there
        if self._embedded:
            self._embed([])  # loads while the words are indexed
        writer = recipe.writer(captions.TABLE.name)
        self.words = Words(database, getattr(writer, "language", "en"))
        self.model: str | None = None
        """Who embedded the captions, and embeds the query."""
        self.vectors = 0
        """Captions with a vector of that model."""

    def find(self, text: str, limit: int) -> Found:
        """The moments that a text tells, best first.

        Raises:
            QueryError: the text has no words, or only such as are in every caption.
        """
        stems, no_words, no_meaning = self.hear(text)
        if no_words and no_meaning:
            raise QueryError(f"the query {text!r} has only stop words; say what is seen or heard in the moment")
        moments = once(self.ranked(max(DEPTH, 20 * limit), not no_words, not no_meaning), limit)
        self._tell(moments, self.words.forms(stems))
        return Found(moments, no_words, no_meaning)

    def hear(self, text: str) -> tuple[list[str], str | None, str | None]:
        """Compare the captions with a text, for `ranked`.

        Returns:
            The text's stems, and why its words and its meaning cannot be compared.

        Raises:
            QueryError: it has no words.
        """
        text = text.encode(errors="replace").decode()  # an argument's bytes need not be UTF-8
        heard, stems = self.words.split(text)
        if not heard:
            raise QueryError("the query has no words; say what is seen or heard in the moment")
        self.words.rank(stems)
        return stems, None if stems else "the query has only stop words", self._compare(text)

    def ranked(
        self, depth: int, words: bool, meaning: bool, least: float = LEAST_COVERAGE, of_the_best: float = OF_THE_BEST
    ) -> list[Row]:
        """The first captions, by the words of what was heard, by its meaning, or by both.

        Args:
            least, of_the_best: as `LEAST_COVERAGE` and `OF_THE_BEST`, for both.
        """
        both = words and meaning
        given = {"words": words, "meaning": meaning, "both": both, "depth": depth}
        limits = {"least": least if both else 0.0, "of_the_best": of_the_best if both else 0.0}
        return self._rows(_FUSED, given | limits)

    def _compare(self, text: str) -> str | None:
        """Make the table `near`: doc, cosine. Returns why that cannot be."""
        self._database.execute("create or replace temp table near (doc bigint, cosine float)")
        if not self._embedded:
            return "the captions have no vectors; the stage meaning makes them"
        try:
            model, (query,) = self._embed([text]).result()
        except WeightsError as error:
            return str(error)
        except BrokenProcessPool:
            return "the encoder's process died, perhaps for want of memory"
        scanner = self._dataset.scan(caption_vectors.TABLE).scanner(
            columns=["source_id", "node_id", "vector"],
            filter=ds.field("model") == model,
            batch_size=BATCH,
            batch_readahead=1,
            fragment_readahead=1,
        )
        self._database.register("streamed", scanner.to_reader())
        self._database.execute(_NEAR, {"query": query.tolist(), "size": len(query)})
        self._database.unregister("streamed")
        self.model, self.vectors = model, self._count("near")
        return None if self.vectors else f"no caption has a vector of {model}, which the recipe embeds with"

    def _embed(self, texts: list[str]) -> Future[tuple[str, np.ndarray]]:
        return self._encoder.submit(embed, texts, self._meaning.weights, self._meaning.weights_sha256)

    def _tell(self, moments: Sequence[Row], forms: Sequence[str]) -> None:
        """Add the columns that people and players need."""
        given = {"docs": [moment["doc"] for moment in moments], "forms": forms, "word": f"{WORD}|(?s:.)"}
        rows = {row["doc"]: row for row in self._rows(_MOMENT, given)}
        for moment in moments:
            moment |= rows[moment.pop("doc")]
            del moment["doc"]
            moment["source"] = decoded(moment["source"]) if moment["source"] else None
            file, offset_s = moment.pop("file"), moment.pop("offset_s")
            own = file is not None and offset_s is not None
            moment["watch"] = {
                "path": self._dataset.path(file) if own else moment["source"],
                "start_s": max(0.0, moment["start_s"] - (offset_s if own else 0.0)),
            }

    def _rows(self, sql: str, given: dict[str, Any]) -> list[Row]:
        return self._database.sql(sql, params=given).to_arrow_table().to_pylist()

    def _count(self, table: str) -> int:
        (row,) = self._database.sql(f"select count(*) from {table}").fetchall()  # noqa: S608 - ours
        return int(row[0])

    def _why_none(self, checked: bool, level: str | None, kept: bool) -> str:
        of = f"of its {self._count('captions')} captions, of which {self._count('chosen')} may be used"
        why = "the others did not pass caption_checks" if checked else "the others have a flag or no text"
        asked = [*([f"of level {level}"] if level else []), *(["of kept takes"] if kept else [])]
        return f"{self._dataset.url}: {of} ({why}), none is left{' ' if asked else ''}{' and '.join(asked)}"


@contextmanager
def opened(dataset: Dataset, level: str | None = None, kept: bool = False) -> Iterator[Moments]:
    """A dataset's captions, of one level or all, of kept takes or all, indexed for as long as the block lasts.

    Raises:
        SearchError: there are none.
    """
    encoder = ProcessPoolExecutor(1, get_context("spawn"))  # torch alone takes as much memory as all else
    try:
        with (
            scratch_folder() as folder,
            duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": str(folder)}) as database,
        ):
            yield Moments(dataset, database, encoder, level, kept)
    finally:
        encoder.shutdown(wait=False, cancel_futures=True)


def once(ranked: Sequence[Row], limit: int) -> list[Row]:
    """Of the captions, best first, no two of which one's span lies in the other's: a clip, its shot and its event tell
    of one moment. It is told at the finest span that has as much of the query, and whose meaning is as near."""
    taken: list[Row] = []
    for hit in ranked:
        if len(taken) == limit:
            break
        if any(hit["node_id"] == one["node_id"] or _inside(hit, one) or _inside(one, hit) for one in taken):
            continue
        finer = [one for one in ranked if _inside(one, hit) and _as_well(one, hit)]
        finest = min(finer, key=lambda one: LEVELS.index(one["level"]), default=hit)
        taken.append(finest | {"score": hit["score"]})
    return taken


def _inside(one: Row, other: Row) -> bool:
    """Whether a span is a part of another, or the same at a finer level; parts tile their whole exactly."""
    return bool(
        one["source_id"] == other["source_id"]
        and LEVELS.index(one["level"]) < LEVELS.index(other["level"])
        and other["start_s"] - 1e-6 <= one["start_s"]
        and one["end_s"] <= other["end_s"] + 1e-6
    )


def _as_well(one: Row, other: Row) -> bool:
    return all((one[by] or 0.0) >= (other[by] or 0.0) for by in ("coverage", "cosine"))


_TOLD = """
create temp table told as
select row_number() over (order by source_id, start_s, end_s, node_id) as doc, source_id, node_id, clip_id, level,
    start_s, end_s, text, text_from
from chosen c where level = coalesce($level, level) and (not $kept or exists (
    select 1 from clips k join decisions d using (clip_id)
    where d.kept and k.source_id = c.source_id and (
        k.clip_id = c.clip_id or c.clip_id is null and k.start_s < c.end_s and k.end_s > c.start_s)
))
"""
_NEAR = """
insert into near
select t.doc, list_inner_product(v.vector, $query::float[]) as cosine
from streamed v join told t on t.source_id = v.source_id and t.text_from = v.node_id
where len(v.vector) = $size and isfinite(list_inner_product(v.vector, $query::float[]))
"""
_FUSED = f"""
with worded as (
    select doc, rank() over (order by words desc) as place, words from hits
    where $words and coverage >= greatest($least, $of_the_best * (select max(coverage) from hits))
), meant as (select doc, rank() over (order by cosine desc) as place, cosine from near where $meaning), fused as (
    select doc, case when $both
        then (coalesce(1 / ({RRF} + w.place), 0) + coalesce(1 / ({RRF} + m.place), 0)) * ({RRF} + 1) / 2
        else coalesce(w.words, m.cosine) end as score
    from worded w full join meant m using (doc)
)
select f.doc, f.score, t.node_id, t.source_id, t.level, t.start_s, t.end_s, h.words, h.coverage, n.cosine
from fused f join told t using (doc) left join hits h using (doc) left join near n using (doc)
order by f.score desc, list_position({list(LEVELS)}, t.level), f.doc limit $depth
"""  # noqa: S608 - numbers and names out of this module
_MOMENT = f"""
select t.doc, t.clip_id, t.text, s.path as source, m.path as file, k.start_s as offset_s, list_transform(
    regexp_extract_all(t.text, $word), lambda p: {{'text': p, 'matches': list_contains($forms, {PLAIN.format("p")})}}
) as pieces
from told t left join sources s using (source_id) left join media m on m.clip_id = t.clip_id
left join clips k on k.clip_id = t.clip_id
where t.doc in (select unnest($docs))
"""  # noqa: S608 - of this module
