"""The report in real headless Chromium: it loads, plays, filters, and shows at once what a moved threshold would do."""

import json
import shutil

import cv2
import numpy as np
import pytest
from browser import chromium, errors, until
from engine import curate, rows
from excerpts import excerpt
from verbs import command

from curate import report
from curate.books import read_summary
from curate.dataset import Dataset, to_arrow
from schemas import captions, characters, faces, ledger

EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'<!--"
PICTURE = cv2.imencode(".jpg", np.zeros((112, 112, 3), np.uint8))[1].tobytes()
FLAW = "loop: <b>the same</b> words twice"

RULES = [
    "takes.min_s=5",
    "screen.rules={long: {column: clips.duration_s, min: 6}}",
    "select.rules={moving: {column: motion.mean_w_s, min: 0.005}, few: {at_most: 9, best: quality.sharpness}}",
    "clips.preset=ultrafast",
]


@pytest.fixture(scope="module")
def dataset(footage, scheduler, tmp_path_factory):
    """Two takes, one kept; hostile names and captions; a video that is none."""
    folder = tmp_path_factory.mktemp("in")
    takes = footage / "footage/takes"
    excerpt(takes / "pancake.mkv", folder / "pancake.mkv", 7)
    excerpt(takes / "yoga.mp4", folder / "yoga <img src=x onerror=alert(1)> '&\".mp4", 6.5)
    (folder / "<script>alert(1)<!--\x1b[31m.mp4").write_text("no video")
    output = tmp_path_factory.mktemp("out") / "dataset"
    curate([folder], output, scheduler, RULES)
    place = Dataset(str(output))
    (key,) = [k for k in place.keys("captions") if place.read_part(captions.TABLE, k).num_rows]
    told = place.read_part(captions.TABLE, key).to_pylist()
    place.write_part(captions.TABLE, key, to_arrow(captions.TABLE, [told[0] | {"text": EVIL, "flags": [FLAW]}]), {})
    somebody(place, told[0])
    report.write(place)
    return output


def somebody(place, caption):
    """A character with a hostile name who is seen and speaks for two seconds of a caption's source."""
    ids, spoken = {"source_id": caption["source_id"], "label": EVIL, "name": EVIL}, {"start_s": 1.0, "end_s": 3.0}
    seen = ids | spoken | {"person_id": "p"}
    seconds = {"speaking_s": 2.0, "screen_s": 2.0, "on_screen_s": 2.0, "confidence": 0.9}
    lists = {name: [] for name in ("times_s", "boxes", "tracks", "merges", "clips", "evidence", "spoken_as", "seen")}
    more = {"clip_id": caption["clip_id"] or "k", "track_id": "t", "detections": 2, "size_px": 50.0, "quality": 1.0}
    blank = lists | more | seconds | {"model": "m", "portrait": PICTURE, "weak": False, "by_hand": False}
    blank |= {"character_id": "c", "people": ["p"], "voices": [1], "description": "seen 2.0 s", "named_by": "face"}
    blank |= {"cast_description": EVIL, "identity_id": "i", "sources": 3}
    for table in (characters.CHARACTERS, characters.DIALOGUE, faces.PEOPLE, faces.FACES, faces.IDENTITIES):
        blank["people"] = 1 if table is faces.IDENTITIES else ["p"]
        row = {name: value for name, value in (blank | seen).items() if name in table.schema.names}
        place.write_part(table, "k", to_arrow(table, [row]), {})


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser, dataset):
    browser.get((dataset / "report/index.html").as_uri())
    until(lambda: browser.execute_script("return document.documentElement.dataset.ready"), "the page is ready")
    return browser


def js(page, code, *arguments):
    return page.execute_script(f"return {code}", *arguments)


def funnel(page):
    return js(
        page,
        "[...document.querySelectorAll('#funnel tbody tr')]"
        ".map((r) => [r.dataset.step, r.querySelector('.clips').textContent])",
    )


def cards(page):
    return js(page, "[...document.querySelectorAll('.card')].map((c) => c.dataset.clip)")


def put(page, selector, value, event="input"):
    page.execute_script(
        "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
        "e.dispatchEvent(new Event(arguments[2], {bubbles: true}))",
        selector, value, event,
    )  # fmt: skip


def test_it_loads_from_disk_without_a_word_on_the_console_and_shows_the_funnel(page, dataset):
    assert errors(page) == []
    stored = read_summary(Dataset(str(dataset)))["funnel"]
    shown = dict(funnel(page))
    for step in stored:
        name = step["name"].replace("after moving", "after select.moving")
        assert shown[name] == str(step["count"])
    clips = [r["clip_id"] for r in rows(dataset, ledger.TABLE) if r["kind"] == "clip"]
    assert sorted(cards(page)) == sorted(clips)


def test_every_score_with_a_rule_has_a_histogram_with_its_threshold(page):
    page.execute_script("document.querySelector('#scores').scrollIntoView({behavior: 'instant'})")
    for column in ("motion.mean_w_s", "clips.duration_s"):
        plot = f"document.querySelector('[data-column=\"{column}\"] svg')"
        until(
            lambda plot=plot: js(page, f"{plot} && {plot}.querySelectorAll('.mark-rule line').length"),
            f"{column} drawn",
        )
        assert js(page, f"{plot}.querySelectorAll('.mark-rect path').length") > 0
    assert errors(page) == []


def test_a_clip_plays_on_its_card_and_in_full_with_its_caption_and_series(page, dataset):
    kept = next(r["clip_id"] for r in rows(dataset, ledger.TABLE) if r["kind"] == "clip" and r["state"] == "kept")
    page.execute_script(f"document.querySelector('[data-clip=\"{kept}\"] .thumb button').click()")
    until(
        lambda: js(page, f"(document.querySelector('[data-clip=\"{kept}\"] video') || {{}}).currentTime > 0.1"),
        "it plays",
    )
    page.execute_script(f"document.querySelector('[data-clip=\"{kept}\"] .open').click()")
    until(lambda: js(page, "(document.querySelector('#clip video') || {}).currentTime > 0.1"), "it plays in full")
    until(lambda: js(page, "document.querySelectorAll('#clip .line path').length"), "series are drawn")
    assert EVIL in js(page, "document.querySelector('#clip .said').textContent")
    assert js(page, "document.querySelector('#clip .flag').textContent") == f"Not used: {FLAW}"
    lanes = js(page, "[...document.querySelectorAll('#clip .lane > span:first-child')].map((e) => e.textContent)")
    assert {f"{EVIL} is seen", f"{EVIL} speaks"} <= set(lanes)
    layers = js(page, "[...document.querySelectorAll('#clip .layers dt')].map((e) => e.textContent)")
    assert {"short", "camera"} <= set(layers)
    assert js(page, "document.querySelectorAll('#clip .all div').length") > 15
    page.execute_script("document.querySelector('#clip').close()")
    assert errors(page) == []


def test_people_are_shown_with_their_faces(page):
    js(page, "document.querySelector('#people').scrollIntoView()")
    cells = js(page, "[...document.querySelectorAll('#people td')].map((cell) => cell.textContent)")
    known = f"named by face; seen 2.0 s; {EVIL}; {EVIL} in 3 sources"
    assert cells[1:6] == [EVIL, known, "2.0 s", "2.0 s", "0.90"]
    until(lambda: js(page, "document.querySelector('#people img').naturalWidth") == 112, "the face is there")
    assert errors(page) == []


def test_a_clip_that_was_not_cut_plays_its_span_of_the_source(page, dataset):
    out = next(r["clip_id"] for r in rows(dataset, ledger.TABLE) if r["kind"] == "clip" and r["state"] == "rejected")
    page.execute_script(f"document.querySelector('[data-clip=\"{out}\"] .thumb button').click()")
    until(
        lambda: js(page, f"(document.querySelector('[data-clip=\"{out}\"] video') || {{}}).currentTime > 0.1"),
        "it plays",
    )
    assert "#t=0," in js(page, f"document.querySelector('[data-clip=\"{out}\"] video').src")


def test_clips_are_filtered_by_state_rule_text_and_score_and_sorted(page):
    everything = cards(page)
    put(page, "#state", "rejected")
    (rejected,) = cards(page)
    put(page, "#state", "")
    put(
        page,
        "#by",
        js(page, "[...document.querySelectorAll('#by option')].find((o) => o.textContent === 'select.moving').value"),
    )
    assert cards(page) == [rejected]
    put(page, "#by", "")
    put(page, "#text", "yoga MOTION.mean_w_s")
    assert cards(page) == [rejected]
    put(page, "#text", "")
    put(page, "#column", "motion.mean_w_s")
    put(page, "#from", "0.005")
    assert cards(page) == [c for c in everything if c != rejected]
    put(page, "#from", "")
    put(page, "#sort", "motion.mean_w_s")
    slow_last = cards(page)
    put(page, "#order", "up")
    assert cards(page) == slow_last[::-1] != slow_last
    assert slow_last[-1] == rejected


def test_a_moved_slider_changes_the_funnel_and_gives_the_line_that_makes_it_so(page, dataset, tmp_path):
    before = dict(funnel(page))
    assert not page.find_element("id", "whatif").is_displayed()
    put(page, "input[type=range][data-path='select.rules.moving.min']", "0")
    until(lambda: page.find_element("id", "whatif").is_displayed(), "the line is shown")
    after = dict(funnel(page))
    assert (before["kept"], after["kept"]) == ("1", "2")
    assert page.find_element("id", "effect").text == "1 in, 0 out"
    words = page.find_element("id", "line").text.split(" ")
    assert words[:3] == ["curate", "select", str(dataset)]
    copied = tmp_path / "copy"
    shutil.copytree(dataset, copied)
    done = command("select", copied, *words[3:], "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["after"][-1] == {"name": "kept", "count": 2, "hours": pytest.approx(told["after"][-1]["hours"])}
    put(page, "#state", "in")
    assert len(cards(page)) == 1
    put(page, "input[type=text][data-path='select.rules.few.at_most']", "1", "change")
    until(lambda: dict(funnel(page))["kept"] == "1", "the quota is felt")
    page.find_element("id", "reset").click()
    assert dict(funnel(page)) == before
    assert not page.find_element("id", "whatif").is_displayed()


def test_nothing_that_others_wrote_runs(page):
    for opener in js(page, "[...document.querySelectorAll('.card .open')].map((b, n) => n)"):
        page.execute_script("document.querySelectorAll('.card .open')[arguments[0]].click()", opener)
        until(lambda: js(page, "document.querySelectorAll('#clip .lane').length > 1"), "details are there")
        page.execute_script("document.querySelector('#clip').close()")
    assert js(page, "document.title") == "dataset: curation report"
    assert js(page, "document.querySelectorAll('img[src=\"x\"], main script').length") == 0
    assert "<script>alert(1)<!--" in js(page, "document.querySelector('#errors').textContent")
    assert errors(page) == []


def test_the_keyboard_searches_opens_and_closes(page):
    from selenium.webdriver.common.keys import Keys

    page.find_element("tag name", "body").send_keys("/")
    assert js(page, "document.activeElement.id") == "text"
    button = page.find_element("css selector", ".card .open")
    button.send_keys(Keys.ENTER)
    first = until(lambda: js(page, "(document.querySelector('#clip .id') || {}).textContent"), "a clip is open")
    page.switch_to.active_element.send_keys("j")
    until(lambda: js(page, "document.querySelector('#clip .id').textContent") != first, "the next clip is open")
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    until(lambda: not js(page, "document.querySelector('#clip').open"), "it is closed")


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_its_width_light_and_dark(page, width):
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    grounds = []
    for scheme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        grounds.append(js(page, "getComputedStyle(document.body).backgroundColor"))
        assert js(page, "document.documentElement.scrollWidth") <= width
    assert len(set(grounds)) == 2


def test_the_report_needs_nothing_from_the_net(dataset):
    page = (dataset / "report/index.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    for name in ("vega.js", "data.js", *report.STATIC):
        assert (dataset / "report" / name).stat().st_size > 0
