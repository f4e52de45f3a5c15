"""Reads captions that somebody else wrote: ActivityNet's and SODA's JSON, or a CSV or Parquet list."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from stages.caption.evaluate.spans import Span

COLUMNS = ("path", "start_s", "end_s", "text")


class ReferenceError(Exception):
    """The file is no reference; the message says what is wrong with it."""


def read(file: Path) -> dict[str, list[Span]]:
    """Spans by the video's name, in the order of time.

    JSON is `{video: {"timestamps": [[start, end], …], "sentences": [text, …]}}`; a table has the columns path, start_s,
    end_s and text.

    Raises:
        ReferenceError: the file is of another form, or holds no span.
    """
    try:
        found = _read_json(file) if file.suffix == ".json" else _read_table(file)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReferenceError(
            f"{file}: neither ActivityNet's JSON nor a table of {', '.join(COLUMNS)}: {error}"
        ) from None
    if not any(found.values()):
        raise ReferenceError(f"{file}: there is no caption in it")
    return {video: sorted(spans) for video, spans in found.items() if spans}


def _read_json(file: Path) -> dict[str, list[Span]]:
    told = json.loads(file.read_text(encoding="utf-8"))
    return {
        str(video): [
            _span(start, end, text) for (start, end), text in zip(v["timestamps"], v["sentences"], strict=True)
        ]
        for video, v in told.items()
    }


def _read_table(file: Path) -> dict[str, list[Span]]:
    import pyarrow.csv
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(file) if file.suffix == ".parquet" else pyarrow.csv.read_csv(file)
    found = defaultdict(list)
    for row in table.select(list(COLUMNS)).to_pylist():
        found[str(row["path"])].append(_span(row["start_s"], row["end_s"], row["text"]))
    return found


def _span(start: Any, end: Any, text: Any) -> Span:
    span = Span(float(start), float(end), str(text))
    if not (math.isfinite(span.start_s) and span.start_s < span.end_s < math.inf):
        raise ValueError(f"a caption from {start} to {end} s has no length")
    return span


def by_source(reference: Mapping[str, list[Span]], paths: Mapping[str, str]) -> dict[str, list[Span]]:
    """The same by source id. A video is a source's id, its path, or its file's name with or without the suffix; one
    that names several sources names none. `paths` are those of the sources by id."""
    names: dict[str, set[str]] = defaultdict(set)
    for source, path in paths.items():
        pure = PurePosixPath(path)
        for name in (source, path, pure.name, pure.stem):
            names[name].add(source)
    found = {}
    for video, spans in reference.items():
        pure = PurePosixPath(video)
        for name in (video, pure.name, pure.stem):
            if len(names.get(name, ())) == 1:
                found[next(iter(names[name]))] = spans
                break
    return found
