"""Lines from subtitles beside a film and within it: names, songs and noises told; what is broken is said."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.speech.cues import Cue, lines
from stages.speech.subtitles import MOST_BYTES, SubtitleError, beside, read
from tests.stages.listening import ffmpeg, film, listen

SRT = """1
00:00:00,500 --> 00:00:02,000
BIDEN: <i>Hello</i> there,
my friend.

2
00:00:02,500 --> 00:00:04,500
- Hi.
- What is it?

3
00:00:05,000 --> 00:00:06,000
[door slams]

4
00:00:06,500 --> 00:00:07,500
♪ La la la ♪
"""
VTT = """WEBVTT - a title

NOTE a remark
on two lines

STYLE
::cue { color: red }

1
00:00.500 --> 00:02.000 align:start position:10%
<v Joe Biden>Hello <b>there</b></v>

NOTE another

00:02.500 --> 00:03.500
<v.loud Ann O'Hara>Hi &amp; bye
"""


def said(rows):
    return [(row["speaker"], row["text"]) for row in rows if row["text"]]


@pytest.fixture
def mute(tmp_path):
    """A film without sound: only subtitles say anything."""
    return film(tmp_path / "film.mkv")


def test_a_file_beside_the_film_gives_lines_and_names(mute, tmp_path):
    mute.with_suffix(".srt").write_text(SRT)
    rows = listen(mute, tmp_path)
    assert said(rows) == [
        ("Biden", "Hello there, my friend."),
        (None, "Hi."),
        (None, "What is it?"),
        (None, "[door slams]"),
        (None, "♪ La la la ♪"),
    ]
    assert [row["kind"] for row in rows] == ["speech", "speech", "speech", "sound", "song"]
    assert {(row["origin"], row["weak"], row["model"]) for row in rows} == {("subtitle file", False, None)}
    assert rows[1]["end_s"] == rows[2]["start_s"]  # two speakers share a cue's time
    assert rows[0]["trouble"] == "no audio track"


def test_webvtt_says_who_speaks_and_its_remarks_are_no_lines(mute, tmp_path):
    mute.with_suffix(".vtt").write_text(VTT)
    mute.with_suffix(".srt").write_text(SRT)  # the poorer form
    rows = listen(mute, tmp_path)
    assert said(rows) == [("Joe Biden", "Hello there"), ("Ann O'Hara", "Hi & bye")]


def test_the_wanted_language_is_taken_and_an_old_encoding_read(mute, tmp_path):
    mute.with_suffix(".fr.srt").write_bytes(SRT.replace("What is it?", "Ça va, naïf?").encode("cp1252", "replace"))
    mute.with_suffix(".en-GB.srt").write_text(SRT)
    assert listen(mute, tmp_path)[0]["language"] == "en-GB"
    french = listen(mute, tmp_path, language="fr")
    assert french[0]["language"] == "fr"
    assert (None, "Ça va, naïf?") in said(french)
    (nothing,) = listen(mute, tmp_path, language="de")
    assert nothing["unmeasured"] == "no audio track"
    (nothing,) = listen(mute, tmp_path, subtitles=False)
    assert nothing["origin"] == "none"


@pytest.mark.parametrize(
    ("suffix", "content", "why"),
    [
        (".srt", b"", "holds no cue"),
        (".srt", b"\x00\x01\x02" * 500, "holds no cue"),
        (".srt", b"1\n00:00:01,000 --> 00:00:00,000\nback\n", "times that can be used"),
        (".srt", b"1\n01:00:00,000 --> 01:00:01,000\nlate\n", "another film's"),
        (".vtt", SRT.encode(), "does not begin with WEBVTT"),
        (".vtt", b"WEBVTT\n\nNOTE all\n", "holds no cue"),
        (".srt", b"1\n00:00:01,000 --> 00:00:02,000\nx" + b"y" * MOST_BYTES, "no subtitle file"),
    ],
)
def test_a_broken_file_is_said_and_the_sound_listened_to(footage, tmp_path, suffix, content, why):
    path = tmp_path / "film.wav"
    ffmpeg("-i", footage / "voices/367/367-130732-0000.flac", "-t", "4", path)
    path.with_suffix(suffix).write_bytes(content)
    rows = listen(path, tmp_path)
    assert why in rows[0]["trouble"]
    assert {row["origin"] for row in rows} == {"none"}
    assert {row["kind"] for row in rows} == {"speech"}


@pytest.mark.parametrize("letter", "{<([*-:")
def test_no_text_takes_for_ever(tmp_path, letter):
    place = tmp_path / "film.srt"
    place.write_text(f"1\n00:00:01,000 --> 00:00:02,000\n{letter * 2_000_000}\n")
    began = time.process_time()
    list(lines(read(place)))
    assert time.process_time() - began < 2


def test_neither_a_link_nor_a_pipe_is_followed(mute, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text(SRT)
    mute.with_suffix(".srt").symlink_to(secret)
    with pytest.raises(SubtitleError, match="no regular file"):
        beside(str(mute), None, 10.0)
    mute.with_suffix(".srt").unlink()
    os.mkfifo(mute.with_suffix(".srt"))
    with pytest.raises(SubtitleError, match="no regular file"):
        read(mute.with_suffix(".srt"))


def test_other_files_beside_are_not_taken(mute, tmp_path):
    for name in ("film2.srt", "film.commentary track.srt", "film.srt.bak", "film.txt"):
        (tmp_path / name).write_text(SRT)
    assert beside(str(mute), None, 10.0) is None


@pytest.mark.parametrize(("container", "codec"), [("mkv", "srt"), ("mp4", "mov_text"), ("mkv", "ass")])
def test_a_track_within_the_film_is_read(tmp_path, container, codec):
    (tmp_path / "lines.srt").write_text(SRT)
    path = tmp_path / f"film.{container}"
    film(path, "-i", tmp_path / "lines.srt", "-map", "1:s", "-c:s", codec, "-metadata:s:s:0", "language=eng")
    rows = listen(path, tmp_path)
    assert said(rows)[:3] == [("Biden", "Hello there, my friend."), (None, "Hi."), (None, "What is it?")]
    assert rows[0]["start_s"] == pytest.approx(0.5, abs=0.05)
    assert rows[0]["end_s"] == pytest.approx(2.0, abs=0.05)
    assert {(row["origin"], row["language"]) for row in rows} == {("subtitle track", "eng")}


def test_lines_have_the_voice_that_is_heard_and_speech_without_a_line_stays(footage, tmp_path):
    path = tmp_path / "film.mp4"
    ffmpeg("-i", footage / "footage/edited/dialogue.mp4", "-t", "9.6", "-vn", "-c:a", "copy", path)
    first = "WEBVTT\n\n00:00.500 --> 00:03.000\nFirst.\n\n00:03.600 --> 00:05.900\nSecond.\n"
    path.with_suffix(".vtt").write_text(first)
    rows = listen(path, tmp_path, transcriber="none")
    assert [(row["text"], row["voice"]) for row in rows] == [("First.", 1), ("Second.", 2), (None, 1)]
    assert [row["origin"] for row in rows] == ["subtitle file", "subtitle file", "none"]


@given(st.text(max_size=200), st.floats(0, 100), st.floats(0.1, 20))
def test_any_text_becomes_lines_within_its_cue(text, start_s, length_s):
    found = list(lines([Cue(start_s, start_s + length_s, text)]))
    for line in found:
        assert line.text == " ".join(line.text.split())
        assert 0 < len(line.text) <= 500
        assert start_s <= line.start_s <= line.end_s <= start_s + length_s + 1e-9
    if found:
        assert found[-1].end_s == start_s + length_s
