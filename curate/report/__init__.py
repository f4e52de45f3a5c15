"""The page where people look at a dataset: a folder that opens from disk, plays its clips, and lets rules be tried out.

`data` gathers what the page shows, `details` what it loads when a clip is opened, `posters` the pictures, `people` who
is in it. The page itself is `templates/page.html.j2` and `static/`; its charts are Vega-Lite's, copied out of the
installed package.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote

import jinja2

from curate.books import read_summary
from curate.dataset import Dataset
from curate.ledger import Step
from curate.report import details, people, posters
from curate.report.data import as_script, gather

PAGE = "report/index.html"
FUNNEL = "report/funnel.svg"
VEGA = "report/vega.js"

STATIC = ("report.css", "rules.js", "charts.js", "clip.js", "report.js")
"""Copied as they are; in the order in which the page loads them."""


def write(dataset: Dataset, copy: Path | None = None) -> str:
    """Write the report of a finished dataset; returns its path inside the dataset.

    Args:
        copy: a local folder that gets the page too, with the clips that it plays, under the same paths: a browser opens
            no page in a bucket.
    """
    steps = [Step(**step) for step in read_summary(dataset)["funnel"]]
    shown = gather(dataset)
    shown.data["clips"]["poster"] = posters.write(dataset, shown.clips)
    shown.data["people"] = people.write(dataset)
    details.write(dataset, shown.clips)
    for name in STATIC:
        dataset.write(f"report/{name}", files("curate.report").joinpath("static", name).read_bytes())
    dataset.write(VEGA, vega().encode())
    dataset.write("report/data.js", as_script("REPORT", shown.data))
    dataset.write(FUNNEL, funnel_svg(steps).encode())
    page = _templates().get_template("page.html.j2")
    scripts = [name for name in STATIC if name.endswith(".js")]
    text = page.render(name=shown.data["name"], scripts=scripts, people=bool(shown.data["people"]))
    dataset.write(PAGE, text.encode())
    if copy is not None:
        played = {unquote(path) for path in shown.data["clips"]["file"] if path}
        for path in [*dataset.tree("report"), *sorted(played)]:
            target = copy / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with dataset.fetch(path) as source:
                shutil.copyfile(source, target)
    return PAGE


@lru_cache(maxsize=1)
def vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, out of the installed package."""
    import vl_convert  # loads a JavaScript engine: only where a report is written

    # In a scope of its own: the bundle's short names would be everybody's.
    return f"(() => {{\n{vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;')}\n}})();\n"


def funnel_svg(steps: Sequence[Step]) -> str:
    """The retention funnel as a picture: hours left after each step."""
    return _templates().get_template("funnel.svg.j2").render(steps=steps, most=max(s.hours for s in steps) or 1.0)


def _templates() -> jinja2.Environment:
    # File names, captions and users' columns are other people's text: everything is escaped, whatever the suffix.
    return jinja2.Environment(
        loader=jinja2.PackageLoader("curate.report"),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
