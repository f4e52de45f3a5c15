"""Scripts in every field that others fill: the report and the audit sheet, in a real Chromium, run none of them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from curate import report
from curate.dataset import Dataset, to_arrow
from schemas import captions, characters, errors, faces
from stages.caption.evaluate import audit
from tests.curate import films
from tests.curate.browser import chromium, until
from tests.curate.browser import errors as complaints
from tests.curate.engine import curate

PAYLOADS = (
    "<script>window.OWNED=1</script>",
    "</script><script>window.OWNED=1</script>",
    "</title></style></textarea><script>window.OWNED=1</script>",
    "<img src=x onerror=window.OWNED=1>",
    '"><svg onload=window.OWNED=1>',
    "' onmouseover='window.OWNED=1' autofocus onfocus='window.OWNED=1",
    "javascript:window.OWNED=1",
    "<a href=javascript:window.OWNED=1 id=evil>x</a>",
    '<iframe srcdoc="<script>parent.OWNED=1</script>"></iframe>',
    "<style>*{display:none!important}</style>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href=https://evil.example/>",
    "<!--<script>",
    "]]><![CDATA[",
    "{{ 7*7 }}{% raw %}${7*7}",
    '\\"); window.OWNED=1; //',
    "\u2028window.OWNED=1\u2029",
    "datum['constructor']('window.OWNED=1')()",
    "__proto__",
    "\x1b[31m\x07\u202e",
)
EVIL = " ".join(PAYLOADS)
NAME = EVIL.replace("/", "\\")[:150]


@pytest.fixture(scope="module")
def dataset(scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of a film with a hostile name, in a dataset with one; hostile captions, people, columns and errors."""
    folder = tmp_path_factory.mktemp("in")
    dark = films.flash(set())
    film = films.film(folder / "plain.mp4", films.steady(60), base=Fraction(1, 25), picture=dark)
    film = film.rename(folder / f"{NAME}.mp4")
    (folder / f"{NAME[:60]} none.mp4").write_text("no film")
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["path", "url", EVIL], [str(film), EVIL, EVIL]])
    output = tmp_path_factory.mktemp("out") / f"{NAME[:80]}"
    only = ["takes.min_s=0.5", "screen.rules={}", "select.rules={}", "clips.preset=ultrafast"]
    curate([folder, folder / "list.csv"], output, scheduler, only)
    place = Dataset(str(output))
    (key,) = [k for k in place.keys("captions") if place.read_part(captions.TABLE, k).num_rows]
    told = place.read_part(captions.TABLE, key).to_pylist()
    layers = {"text": EVIL, "short": EVIL, "prompt": EVIL, "raw": EVIL, "flags": [EVIL], "model": EVIL}
    place.write_part(captions.TABLE, key, to_arrow(captions.TABLE, [row | layers for row in told]), {})
    problem = {"path": EVIL, "source_id": told[0]["source_id"], "clip_id": EVIL, "stage": EVIL, "message": EVIL}
    row = dict.fromkeys(errors.TABLE.schema.names, "x") | problem | {"error": EVIL}
    place.write_part(errors.TABLE, "evil", to_arrow(errors.TABLE, [row]), {})
    somebody(place, told[0])
    report.write(place)
    return output


def somebody(place: Dataset, caption: dict[str, Any]) -> None:
    """Who is seen and speaks, all of whose texts are hostile."""
    texts = dict.fromkeys(("label", "name", "description", "cast_description", "named_by"), EVIL)
    ids = {"source_id": caption["source_id"], "clip_id": caption["clip_id"] or "k", "person_id": "p", "track_id": "t"}
    ids |= {"character_id": "c", "identity_id": EVIL, "people": ["p"], "voices": [1], "sources": 3}
    numbers = {"start_s": 0.2, "end_s": 1.0, "speaking_s": 2.0, "screen_s": 2.0, "on_screen_s": 2.0, "confidence": 0.9}
    numbers |= {"detections": 2, "size_px": 50.0, "quality": 1.0, "weak": False, "by_hand": False, "model": EVIL}
    lists = {name: [] for name in ("times_s", "boxes", "tracks", "merges", "clips", "evidence", "spoken_as", "seen")}
    lists |= {"portrait": b"\xff\xd8 no picture"}
    for table in (characters.CHARACTERS, characters.DIALOGUE, faces.PEOPLE, faces.FACES, faces.IDENTITIES):
        given = lists | numbers | ids | texts | {"people": 1 if table is faces.IDENTITIES else ["p"]}
        row = {name: value for name, value in given.items() if name in table.schema.names}
        place.write_part(table, "k", to_arrow(table, [row]), {})


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


def unharmed(page: Any) -> None:
    """Nothing ran, nothing was fetched from elsewhere, nothing became an element."""
    assert page.execute_script("return window.OWNED") is None
    assert (
        page.execute_script("return document.querySelectorAll('iframe, base, #evil, [onerror], [onload]').length") == 0
    )
    assert page.execute_script("return ({}).polluted === undefined && document.body.offsetHeight > 100")
    fetched = page.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert [url for url in fetched if not url.startswith(("file:", "data:"))] == []
    assert page.current_url.startswith("file:")
    links = page.execute_script("return [...document.querySelectorAll('[href],[src]')].map((e) => e.href || e.src)")
    assert [link for link in links if link and not str(link).startswith("file:")] == []


@pytest.mark.slow
def test_the_report_runs_nothing_of_theirs(browser: Any, dataset: Path) -> None:
    browser.get((dataset / "report/index.html").as_uri())
    until(lambda: browser.execute_script("return document.documentElement.dataset.ready"), "the page is ready")
    unharmed(browser)
    browser.execute_script("document.querySelector('.card .open').click()")
    until(lambda: browser.execute_script("return document.querySelectorAll('#clip .said li').length > 1"), "it opened")
    unharmed(browser)
    text = browser.execute_script("return document.body.textContent")
    for payload in PAYLOADS:
        assert payload in text
    browser.execute_script(
        "const e = document.querySelector('#text'); e.value = arguments[0];"
        "e.dispatchEvent(new Event('input', {bubbles: true}))",
        EVIL,
    )
    unharmed(browser)
    script = [line for line in complaints(browser) if "Content Security Policy" in line]
    assert script == []  # nothing even tried


def test_the_audit_sheet_runs_nothing_of_theirs(browser: Any, tmp_path: Path) -> None:
    row = {"node_id": EVIL, "level": EVIL, "model": EVIL, "start_s": 0.0, "end_s": 1.0, "text": EVIL, "facts": EVIL}
    row |= {"source_id": EVIL, "clip_id": EVIL}
    (tmp_path / "audit.html").write_text(audit.page([row], {EVIL: f"clips/{EVIL}"}, EVIL), encoding="utf-8")
    browser.get((tmp_path / "audit.html").as_uri())
    assert browser.execute_script("return document.body.textContent").count("window.OWNED=1") > 5
    assert browser.execute_script("return window.OWNED") is None
    assert browser.execute_script("return document.querySelectorAll('iframe, base, #evil').length") == 0
    assert browser.current_url.startswith("file:")
