"""A sheet on which people judge a sample of captions, and the share judged true when it comes back.

The page opens from disk, shows each clip with its caption and facts, and is worked with the keyboard; the CSV beside it
can be filled in by hand instead. Captions are other people's text: escaped in the page, and never a formula in the CSV.
"""

from __future__ import annotations

import csv
import io
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jinja2

from stages.caption.evaluate.intervals import wilson

Row = Mapping[str, Any]
COLUMNS = ("node_id", "level", "model", "start_s", "end_s", "text", "verdict", "note")
VERDICTS = ("true", "false", "unsure")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What makes a spreadsheet take a cell for a formula."""


def sample(rows: Sequence[Row], n: int, seed: int) -> list[Row]:
    """`n` rows with text, in turn from each level and model, so that a rare one is seen too."""
    strata = defaultdict(list)
    for row in sorted(rows, key=lambda r: r["node_id"]):
        if row["text"]:
            strata[row["level"], row["model"]].append(row)
    draw = random.Random(seed)  # noqa: S311 - the same seed gives the same sheet
    shuffled = [draw.sample(of, len(of)) for _, of in sorted(strata.items())]
    turns = max(map(len, shuffled), default=0)
    return [of[turn] for turn in range(turns) for of in shuffled if turn < len(of)][:n]


def page(rows: Sequence[Row], links: Mapping[str, str], name: str) -> str:
    """The sheet as HTML. `links` are the clips by node id; a node may have none."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("stages.caption.evaluate"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("audit.html.j2").render(
        rows=[{**row, "link": links.get(row["node_id"])} for row in rows], name=name, columns=COLUMNS, verdicts=VERDICTS
    )


def table(rows: Iterable[Row]) -> str:
    """The sheet as CSV, its verdicts empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, "text": _cell(row["text"]), "model": _cell(row["model"]), "verdict": "", "note": ""})
    return buffer.getvalue()


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


class SheetError(Exception):
    """A filled sheet cannot be read; the message says where."""


def read(text: str) -> dict[str, Any]:
    """The share judged true of those judged true or false, in all and by level.

    Raises:
        SheetError: a column is missing or a verdict is none of `VERDICTS`.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    if missing := {"level", "verdict"} - set(reader.fieldnames or ()):
        raise SheetError(f"column {', '.join(sorted(missing))} is missing")
    judged: dict[str, list[bool]] = defaultdict(list)
    unsure = empty = 0
    for number, row in enumerate(reader, 2):
        verdict = (row["verdict"] or "").strip().lower()
        if verdict and verdict not in VERDICTS:
            raise SheetError(f"row {number}: verdict {verdict[:40]!r} is none of {', '.join(VERDICTS)}")
        unsure += verdict == "unsure"
        empty += not verdict
        if verdict in ("true", "false"):
            judged[row["level"]].append(verdict == "true")
    of = [true for level in judged.values() for true in level]
    levels = {level: wilson(sum(true), len(true)) for level, true in sorted(judged.items())}
    return {"true": wilson(sum(of), len(of)), "levels": levels, "unsure": unsure, "not_judged": empty}
