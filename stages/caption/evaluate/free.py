"""What can be said of captions with nothing to compare them with: times, coverage, repetition, checks passed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

from stages.caption.evaluate.words import jaccard, ngrams, words

Row = Mapping[str, Any]
EXACT_S = 1e-3
"""Times that differ by less are the same: node ids are in ms."""


def statistics(rows: Sequence[Row], checks: Mapping[str, Row]) -> dict[str, Any]:
    """Of rows of `captions` of one level or one model. `checks` are rows of `caption_checks` by node id; where a node
    has none its share passed is null. A source's length is its story's end, or else the last end of any caption."""
    sources = defaultdict(list)
    for row in sorted(rows, key=lambda r: (r["start_s"], r["end_s"])):
        # A story that says again what its shots say does not repeat itself.
        sources[row["source_id"], row["level"]].append(row)
    texts = [words(row["text"] or "") for row in rows]
    seconds = sum(max(row["end_s"] - row["start_s"], 0.0) for row in rows)
    judged = [checks[row["node_id"]] for row in rows if row["node_id"] in checks]
    same = Counter(" ".join(text) for text in texts if text)
    neighbours = [j for of in sources.values() for j in _neighbours(of)]
    pairs = [pair for text in texts for pair in ngrams(text, 2)]
    repeats = [_fours(of) for of in sources.values()]
    fours = sum(total for total, _ in repeats)
    return {
        "nodes": len(rows),
        "with_text": sum(map(bool, texts)),
        "words_per_s": sum(map(len, texts)) / seconds if seconds else None,
        "rep_4": sum(again for _, again in repeats) / fours if fours else None,
        "distinct_2": len(set(pairs)) / len(pairs) if pairs else None,
        "adjacent_jaccard": fmean(neighbours) if neighbours else None,
        "duplicates": sum(count for count in same.values() if count > 1),
        "flagged_share": fmean(bool(row["flags"]) for row in rows) if rows else None,
        "passed_share": fmean(bool(row["passed"]) for row in judged) if judged else None,
    }


def times(rows: Sequence[Row], lengths: Mapping[str, float]) -> dict[str, Any]:
    """Validity, coverage and overlap of the spans of one level; `lengths` are the sources', seconds."""
    sources = defaultdict(list)
    for row in rows:
        sources[row["source_id"]].append((row["start_s"], row["end_s"]))
    wrong = sum(
        not 0 <= start < end <= lengths[source] + EXACT_S for source, spans in sources.items() for start, end in spans
    )
    held = {source: _covered(spans) for source, spans in sources.items()}
    length = sum(lengths[source] for source in sources)
    return {
        "time_valid_share": 1 - wrong / len(rows) if rows else None,
        "coverage": sum(covered for covered, _ in held.values()) / length if length else None,
        "overlap_s": sum(overlap for _, overlap in held.values()),
    }


def tiling(rows: Sequence[Row]) -> float | None:
    """Share of the nodes with children that these tile exactly; null where no node has any."""
    children = defaultdict(list)
    for row in rows:
        children[row["parent_id"]].append((row["start_s"], row["end_s"]))
    parents = [row for row in rows if row["node_id"] in children]
    return fmean(_tiled(row, sorted(children[row["node_id"]])) for row in parents) if parents else None


def report(rows: Sequence[Row], checks: Mapping[str, Row]) -> dict[str, Any]:
    """All of it: by level, by model, and the tree's tiling."""
    lengths = {
        source: max(r["end_s"] for r in rows if r["source_id"] == source)
        for source in {r["source_id"] for r in rows if r["level"] != "story"}
    } | {r["source_id"]: r["end_s"] for r in rows if r["level"] == "story"}
    levels, models = _by(rows, "level"), _by(rows, "model")
    return {
        "levels": {name: statistics(of, checks) | times(of, lengths) for name, of in levels.items()},
        "models": {name: statistics(of, checks) for name, of in models.items()},
        "tiling": tiling(rows),
    }


def _by(rows: Sequence[Row], column: str) -> dict[str, list[Row]]:
    found = defaultdict(list)
    for row in rows:
        found[row[column]].append(row)
    return dict(sorted(found.items()))


def _neighbours(rows: Sequence[Row]) -> list[float]:
    sets = [set(ngrams(words(row["text"] or ""), 2)) for row in rows if row["text"]]
    return [jaccard(a, b) for a, b in pairwise(sets)]


def _fours(rows: Sequence[Row]) -> tuple[int, int]:
    """Runs of four words in a source's captions, and how many of them were there before."""
    fours = [four for row in rows for four in ngrams(words(row["text"] or ""), 4)]
    return len(fours), len(fours) - len(set(fours))


def _covered(spans: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Seconds under a span, and seconds that spans share with those before."""
    reached, covered, overlap = 0.0, 0.0, 0.0
    for start, end in sorted(spans):
        covered += max(end - max(start, reached), 0.0)
        overlap += max(min(end, reached) - max(start, 0.0), 0.0)
        reached = max(reached, end)
    return covered, overlap if overlap > EXACT_S else 0.0


def _tiled(parent: Row, spans: Sequence[tuple[float, float]]) -> bool:
    edges = [parent["start_s"], *(edge for span in spans for edge in span), parent["end_s"]]
    return all(abs(a - b) <= EXACT_S for a, b in zip(edges[::2], edges[1::2], strict=True))
