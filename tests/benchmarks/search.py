"""Whether a moment is found by its caption: `python tests/benchmarks/search.py [--tune] [--speed]`.

Recall@1, 5 and 10 of queries in a clip's own words, with half of its phrases in other words (`paraphrases`), and with
all of them, names left out; by words alone, by meaning alone, and by both as `curate search` does. The captions are
eight made sources (about 4 100 captions); right is a clip's caption that says all that the query says. `--tune`: other
sources and queries, of the same phrases, over values of what `moments` drops. `--speed`: seconds and memory of one
search in 100 000 captions.
"""

from __future__ import annotations

import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from paraphrases import FRAMES, WOMEN, phrases
from rich.console import Console
from rich.table import Table
from scenario import CAST, scenario

from curate.dataset import Dataset
from curate.plugins import recipe_text
from pipelines.search.moments import DEPTH, LEAST_COVERAGE, OF_THE_BEST, once, opened
from schemas import caption_vectors, captions, sources
from stages.caption.meaning import MINILM, embed

TUNED, JUDGED = range(200, 208), range(300, 308)
QUERIES = 200
KINDS = ("own words", "half in other words", "all in other words")
CACHE = Path(tempfile.gettempdir()) / "longtake-search-vectors"


def made(folder: str, seeds: range, random_vectors: bool = False) -> Dataset:
    """A dataset of made sources; their vectors are kept in a temporary folder for the next time."""
    place = Dataset(folder)
    place.write("recipe.yaml", recipe_text("long_take").encode())
    for seed in seeds:
        rows = scenario(seed, f"source-{seed}").captions
        table = pa.Table.from_pylist(rows, captions.TABLE.schema)
        place.write_part(captions.TABLE, f"{seed}", table, {})
        if random_vectors:
            found = np.random.default_rng(seed).normal(size=(len(rows), 384)).astype(np.float32)
            found /= np.linalg.norm(found, axis=1, keepdims=True)
        else:
            found = _embedded(seed, [row["text"] for row in rows])
        mine = {"source_id": table["source_id"], "node_id": table["node_id"], "model": [MINILM.name] * len(rows)}
        mine |= {"vector": list(found), "facts_vector": pa.nulls(len(rows), caption_vectors.VECTOR)}
        place.write_part(caption_vectors.TABLE, f"{seed}", pa.table(mine, schema=caption_vectors.TABLE.schema), {})
        film = dict.fromkeys(sources.SOURCES.schema.names) | {"source_id": f"source-{seed}", "path": f"/{seed}.mp4"}
        film |= {"paths": [], "user": "{}"}
        place.write_part(sources.SOURCES, f"{seed}", pa.Table.from_pylist([film], sources.SOURCES.schema), {})
    return place


def _embedded(seed: int, texts: list[str]) -> np.ndarray:
    CACHE.mkdir(exist_ok=True)
    file = CACHE / f"{seed}.npz"
    if not file.exists():
        np.savez(file, texts=np.array(texts), vectors=embed(texts)[1])
    with np.load(file, allow_pickle=False) as stored:
        assert stored["texts"].tolist() == texts, f"{file} is of other captions: remove it"
        return stored["vectors"]


def queries(place: Dataset, seed: int) -> Iterator[tuple[str, str, set[str]]]:
    """(kind, query, node_ids that are right), three for each of `QUERIES` clips."""
    rows = place.scan(captions.TABLE).to_table(columns=["node_id", "level", "text"]).to_pylist()
    clips = [row for row in rows if row["level"] == "clip"]
    other = phrases()
    firsts = {row["node_id"]: row["text"].split(". ")[0].rstrip(".") for row in clips}
    told = {name: _told(first, other) for name, first in firsts.items()}
    rng = random.Random(seed)
    for name in rng.sample(sorted(firsts), QUERIES):
        parts = sorted(told[name])
        for kind, share in zip(KINDS, (0.0, 0.5, 1.0), strict=True):
            swapped = set(rng.sample(parts, round(share * len(parts))))
            query, right = firsts[name], told[name] - set(FRAMES)
            for part in swapped:
                query = re.sub(rf"\b{re.escape(part)}\b", _other(part, other), query)
            named = next(part for part in parts if part in CAST)
            alike = {named} if named not in swapped else {who for who in CAST if (who in WOMEN) == (named in WOMEN)}
            rest = right - {named}
            yield kind, query, {node for node, has in told.items() if rest <= has and alike & has}


def _told(sentence: str, other: dict[str, str]) -> set[str]:
    """The phrases of a sentence, each in none longer."""
    found = {part for part in (*other, *CAST) if re.search(rf"\b{re.escape(part)}\b", sentence)}
    return {part for part in found if not any(part != longer and part in longer for longer in found)}


def _other(part: str, other: dict[str, str]) -> str:
    return other.get(part, "a woman" if part in WOMEN else "a man")


def main() -> None:
    if "--speed" in sys.argv:
        speed()
        return
    tuning = "--tune" in sys.argv
    with tempfile.TemporaryDirectory() as folder:
        place = made(folder, TUNED if tuning else JUDGED)
        asked = list(queries(place, 1 if tuning else 2))
        ways = {"words": (True, False), "meaning": (False, True), "both, all hits": (True, True, 0.0, 0.0)}
        limits = [(0.2, share) for share in (0.0, 0.5, 0.7, 0.8, 0.9)] + [(0.1, 0.8), (0.3, 0.8)]
        for least, share in limits if tuning else [(LEAST_COVERAGE, OF_THE_BEST)]:
            ways[f"both, coverage from {least} and {share} of the best"] = (True, True, least, share)
        places = defaultdict(list)
        with opened(place) as index:
            for kind, query, right in asked:
                index.hear(query)
                for way, how in ways.items():
                    found = [hit["node_id"] for hit in once(index.ranked(DEPTH, *how), 10)]
                    places[kind, way].append(next((n for n, node in enumerate(found) if node in right), 99))
        shown = Table("queries", "ranked by", "recall@1", "@5", "@10", title=f"{QUERIES} clips of {index.captions}")
        for (kind, way), of in sorted(places.items(), key=lambda item: KINDS.index(item[0][0])):
            shown.add_row(kind, way, *(f"{np.mean(np.array(of) < k):.3f}" for k in (1, 5, 10)))
        Console(width=110).print(shown)
        for kind, query, right in asked[:6]:
            print(f"{kind}: {query!r} ({len(right)} are right)")


def speed() -> None:
    with tempfile.TemporaryDirectory() as folder:
        made(folder, range(1000, 1194), random_vectors=True)
        before = time.perf_counter()
        line = [sys.executable, "-m", "curate.cli", "search", folder, "a man saws an oak plank", "--json"]
        told = json.loads(subprocess.run(line, stdout=subprocess.PIPE, check=True).stdout)
        took = time.perf_counter() - before
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu, most = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
    print(f"{told['captions']} captions: {took:.1f} s, CPU {cpu:.1f} s, at most {most:.2f} GiB in a process")


if __name__ == "__main__":
    main()
