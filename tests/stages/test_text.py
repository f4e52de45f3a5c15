"""Text found and read in real stills, subtitles told from titles and scenery, and hostile letters made harmless."""

import socket
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.dataset import to_arrow
from schemas import text
from stages import ocr
from stages.ocr import MOST_LETTERS, Ocr, cleaned
from stages.text import Text, alike
from tests.stages.looking import clip, inputs, run, screening, take, written


def read(pictures, **parameters):
    tables = inputs(pictures)
    tables["ocr"] = to_arrow(text.OCR, run(Ocr(**parameters), tables))
    (found,) = run(Text(), tables)
    return tables["ocr"].to_pylist(), found


@pytest.mark.parametrize("name", ["pancake.mkv", "yoga.mp4"])
def test_subtitles_that_change_are_a_band_and_are_read_with_their_times(footage, name, capfd, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("nothing is downloaded"))
    pictures = take(footage / "footage/takes" / name)
    said = ["where is the river", "where is the river", "", "", "nobody will answer", "nobody will answer"]
    stills, found = read([written(p, said[n % 6]) if said[n % 6] else p for n, p in enumerate(pictures)])
    assert 0.5 < found["subtitle_share"] < 0.9
    x0, y0, x1, y1 = found["subtitle_box"]
    assert x0 < 0.4 < 0.6 < x1
    assert 0.8 < y0 < 0.92 < y1 < 1
    (line,) = [line for line in found["lines"] if alike(line["text"], "nobody will answer")]
    assert line["first_s"] in (4, 5)
    assert line["last_s"] in (4, 5, 10)
    assert 0.005 < found["area_share"] < found["area_share_max"] < 0.1
    assert 5 <= len(stills) < len(pictures)
    assert capfd.readouterr() == ("", "")


def test_a_title_that_stays_and_bare_scenery_are_no_subtitles(footage):
    pictures = take(footage / "footage/takes/pancake.mkv")
    _, plain = read(pictures)
    assert (plain["subtitle_share"], plain["area_share"], plain["lines"]) == (0, 0, [])
    _, title = read([written(p, "Breakfast at home") for p in pictures])
    assert title["subtitle_share"] == 0
    assert title["text_share"] == 1
    assert len(title["lines"]) == 1


def test_the_burnt_in_title_of_a_real_take_is_read_in_its_own_script(footage):
    _, found = read(take(footage / "footage/takes/dj2.mp4")[:7])
    assert found["lines"][0]["text"] == "泰式邦一拍灵之拍打胃部"
    assert found["subtitle_share"] == 0


def test_a_still_where_the_picture_changes_is_searched_out_of_turn():
    dark, light = np.zeros((90, 160, 3), np.uint8), np.full((90, 160, 3), 200, np.uint8)
    stills, found = read([dark, dark, dark, light, light], every_s=100)
    assert [still["t_s"] for still in stills] == [0, 3]
    assert (found["looks"], found["subtitle_share"]) == (2, None)
    assert "2 stills do not tell" in found["unmeasured"]


def test_who_is_not_looked_at_says_why():
    grey = [np.full((90, 160, 3), 90, np.uint8)] * 3
    rows = [clip(0, 2, "a"), clip(2, 3, "b"), clip(50, 60, "c"), clip(0, 1, "d", long_enough=False)]
    tables = inputs(grey, rows)
    plain = {row["clip_id"]: row["unmeasured"] for row in run(Ocr(), tables)}
    assert plain["a"] is None
    assert "no still" in plain["c"]
    assert "shorter" in plain["d"]
    tables["screening"] = screening(a=False, b=True, c=True, d=True)
    tables["ocr"] = to_arrow(text.OCR, run(Ocr(), tables))
    found = {row["clip_id"]: row for row in run(Text(), tables)}
    assert "cheap scores" in found["a"]["unmeasured"]
    assert found["a"]["area_share"] is None
    assert found["d"]["area_share"] == 0


@given(st.text(max_size=400))
def test_letters_are_bounded_and_hold_nothing_that_controls(letters):
    found = cleaned(letters + "\x1b[2J\u202e\x00" + letters)
    assert len(found) <= MOST_LETTERS
    assert not any(unicodedata.category(c).startswith("C") for c in found)
    assert cleaned(found) == found.strip()


def test_a_nan_of_the_reader_is_no_line(monkeypatch):
    class Broken:
        boxes = np.array([[[1, 1], [50, 1], [50, 9], [1, 9]]] * 3, float)
        txts = ("one", "two", "six")
        scores = (float("nan"), 0.9, 0.9)

    Broken.boxes[1, 0, 0] = np.nan
    monkeypatch.setattr(ocr, "engine", lambda _: lambda picture: Broken)
    (row,) = run(Ocr(), inputs([np.zeros((90, 160, 3), np.uint8)]))
    assert row["texts"] == ["six"]
