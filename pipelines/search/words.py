"""Full text over captions in DuckDB without its extension: tokens in a table, ranked by BM25F.

BM25F (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009) adds up a word's count over the fields of
a text, each weighed and by its own length, before it is saturated: a word of the caption that is spoken, too, is no
second word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import duckdb
import pyarrow as pa
import snowballstemmer

from stages.caption.checks.form import STOPS

K1, B = 1.2, 0.75
"""Saturation and share of the length: what the paper, Lucene and DuckDB's own full text take."""
FIELDS = {
    "caption": ("c.text", 2.0),
    "layers": ("concat_ws(' ', c.prompt, c.short)", 1.0),
    "content": (
        "concat_ws(' ', array_to_string(c.subjects, ' '), array_to_string(c.actions, ' '), c.setting, c.camera, "
        "c.light, c.style, c.sound)",
        1.0,
    ),
    "shown": (
        "concat_ws(' ', array_to_string(c.text_on_screen, ' '), "
        "array_to_string(try(json_extract_string(c.facts, '$.text[*].text')), ' '))",
        1.0,
    ),
    "speech": ("array_to_string(try(json_extract_string(c.facts, '$.speech[*].text')), ' ')", 1.0),
}
"""Each field as SQL over a row of `captions_chosen`, and its weight: the caption, which was checked, counts double."""
_ALONE = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}"
WORD = rf"[{_ALONE}]|(?:[^\P{{L}}{_ALONE}]|[\p{{M}}\p{{N}}])+"
"""A word, for RE2: letters and digits in a row; a sign by itself in scripts that put no space between words."""
PLAIN = "nfc_normalize(lower({}))"
"""A text as words are compared."""
_ENGLISH = frozenset(
    """about above after all also am and any are as at be because been before being below between both but by can could
    did do does doing done during each else ever few for from further had has have having he her here hers herself him
    himself his how i if in into is it its itself just may me might more most must my myself no nor not now of off on
    once only onto or other our ours ourselves out over own same shall she should so some somebody someone something
    such than that the their theirs them themselves then there these they this those through to too toward towards
    under until up upon us very was we were what when where which while who whom whose why will with would you your
    yours yourself d ll m re s t ve""".split()
)
"""English words that carry no content alone: articles, pronouns, prepositions, auxiliaries, what an apostrophe cuts."""
_STEMMERS = dict(
    pair.split("=")
    for pair in """ar=arabic ca=catalan cs=czech da=danish de=german el=greek en=english es=spanish et=estonian
    eu=basque fa=persian fi=finnish fr=french ga=irish hi=hindi hu=hungarian hy=armenian id=indonesian it=italian
    lt=lithuanian ne=nepali nl=dutch no=norwegian pl=polish pt=portuguese ro=romanian ru=russian sr=serbian sv=swedish
    ta=tamil tr=turkish""".split()
)
"""Snowball's algorithm for a language as ISO 639-1 has it."""


class Words:
    """An index over the tables `chosen` (rows of `captions_chosen`) and `told` (doc, source_id, node_id)."""

    def __init__(self, database: duckdb.DuckDBPyConnection, language: str) -> None:
        self._database = database
        algorithm = _STEMMERS.get(language)
        known = set(snowballstemmer.algorithms())
        self._stemmer = snowballstemmer.stemmer(algorithm) if algorithm in known else None
        self._stops = STOPS.get(language, frozenset()) | (_ENGLISH if language == "en" else frozenset())
        texts = ", ".join(sql for sql, _ in FIELDS.values())
        database.execute(
            f"""
            create temp table tokens as select * from (
                select doc, field::utinyint as field, unnest(regexp_extract_all({PLAIN.format("body")}, $word)) as word
                from (
                    select t.doc, unnest([{texts}]) as body, unnest(range({len(FIELDS)})) as field
                    from chosen c join told t using (source_id, node_id)
                )
            ) where word not in (select unnest($stops))
            """,  # noqa: S608 - columns and expressions out of this module
            {"word": WORD, "stops": sorted(self._stops)},
        )
        database.execute("create temp table lengths as select doc, field, count(*) as n from tokens group by all")
        vocabulary = [row[0] for row in database.sql("select distinct word from tokens").fetchall()]
        self._fill("stems", {"word": vocabulary, "stem": self._stemmed(vocabulary)})

    def split(self, text: str) -> tuple[list[str], list[str]]:
        """A text's words, and the stems of those that are no stop words, each once."""
        found = self._database.execute(f"select regexp_extract_all({PLAIN.format('?')}, ?)", [text, WORD]).fetchall()
        words = list(dict.fromkeys(found[0][0]))
        return words, list(dict.fromkeys(self._stemmed(word for word in words if word not in self._stops)))

    def forms(self, stems: Sequence[str]) -> list[str]:
        """The words of the captions that have one of the stems."""
        found = self._database.execute("select word from stems where stem in (select unnest(?))", [stems])
        return [row[0] for row in found.fetchall()]

    def rank(self, stems: Sequence[str]) -> None:
        """Make the table `hits`: doc, `words` (BM25F) and `coverage`, the share of the query's information in it.

        A word's information is its inverse document frequency; one that no caption has counts as the rarest.
        """
        self._fill("asked", {"stem": list(stems)})
        weights = [weight for _, weight in FIELDS.values()]
        self._database.execute(
            f"""
            create or replace temp table hits as
            with found as materialized (
                select doc, field, stem, count(*) as n from tokens join stems using (word) semi join asked using (stem)
                group by all
            ), size as (select count(*) as n from told), seen as (
                select stem, count(distinct doc) as n from found group by stem
            ), rare as (
                select stem, ln(1 + (size.n - coalesce(seen.n, 0) + 0.5) / (coalesce(seen.n, 0) + 0.5)) as idf
                from asked left join seen using (stem), size
            ), usual as (select field, avg(n) as n from lengths group by field), counted as (
                select doc, stem, sum($weights[f.field + 1] * f.n / (1 - {B} + {B} * l.n / u.n)) as tf
                from found f join lengths l using (doc, field) join usual u using (field) group by doc, stem
            )
            select doc, sum(idf * tf / ({K1} + tf)) as words, sum(idf) / (select sum(idf) from rare) as coverage
            from counted join rare using (stem) group by doc
            """,  # noqa: S608 - numbers out of this module
            {"weights": weights},
        )

    def _stemmed(self, words: Iterable[str]) -> list[str]:
        return self._stemmer.stemWords(list(words)) if self._stemmer else list(words)

    def _fill(self, name: str, columns: dict[str, list[str]]) -> None:
        given = pa.table(columns, schema=pa.schema([(column, pa.string()) for column in columns]))
        self._database.register("given", given)
        self._database.execute(f"create or replace temp table {name} as select * from given")  # noqa: S608 - ours
        self._database.unregister("given")
