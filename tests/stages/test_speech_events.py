"""Music and noise on real sound: a film's score, speech over it, meetings without any; and what is sung is no line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.speech.diarization import Turn
from stages.speech.events import Events, events
from stages.speech.formats import vtt
from stages.speech.sound import RATE, Sound
from tests.stages.listening import ffmpeg, film, listen


def told(path, folder, kind):
    rows = listen(path, folder, events=True)
    return rows, sum(row["end_s"] - row["start_s"] for row in rows if row["kind"] == kind)


def test_a_silent_films_piano_is_music_and_nobody_speaks(footage, tmp_path):
    rows, seconds = told(footage / "footage/takes/chaplin.mp4", tmp_path, "music")
    assert seconds > 9
    (none,) = [row for row in rows if row["kind"] == "none"]
    assert "nobody is heard" in none["unmeasured"]
    (music,) = [row for row in rows if row["kind"] == "music"]
    assert (music["voice"], music["text"], music["model"]) == (None, None, "fireredvad-aed")


@pytest.mark.parametrize("name", ["meetings/trn04.wav", "voices/3005/3005-163389-0000.flac"])
def test_speech_without_music_has_none(footage, tmp_path, name):
    rows, seconds = told(footage / name, tmp_path, "music")
    assert seconds == 0
    assert all(row["music_share"] == 0 for row in rows if row["kind"] == "speech")


def test_a_line_over_music_says_so_and_stays_a_line(footage, tmp_path):
    path = tmp_path / "both.wav"
    voice, music = footage / "voices/3005/3005-163389-0000.flac", footage / "footage/takes/chaplin.mp4"
    mix = "[0]aresample=16000,volume=2[v];[1:a]aresample=16000,pan=mono|c0=c0,volume=0.3[m];[v][m]amix=2:duration=first"
    ffmpeg("-i", voice, "-i", music, "-filter_complex", mix, path)
    rows, seconds = told(path, tmp_path, "music")
    lines = [row for row in rows if row["kind"] == "speech"]
    assert lines
    assert all(row["music_share"] > 0.8 for row in lines)
    assert seconds > 6
    assert "[music]" in vtt(rows)


def test_traffic_is_noise_and_digital_silence_nothing(footage, tmp_path):
    _, seconds = told(footage / "footage/broken/failing_audio.mp4", tmp_path, "noise")
    assert seconds > 2
    silence = ("-f", "lavfi", "-i", "anullsrc=r=44100:cl=stereo", "-map", "1:a", "-c:a", "flac")
    for sound, name in ((silence, "silent.mkv"), ((), "mute.mkv")):
        (row,) = listen(film(tmp_path / name, *sound), tmp_path, events=True)
        assert row["kind"] == "none"


def test_what_is_sung_is_a_song_unless_subtitles_tell(footage, tmp_path, monkeypatch):
    path = tmp_path / "voice.wav"
    ffmpeg("-i", footage / "voices/3005/3005-163389-0000.flac", path)
    monkeypatch.setattr(Events, "sung", lambda self, start_s, end_s: True)
    assert {row["kind"] for row in listen(path, tmp_path, events=True) if row["kind"] != "noise"} == {"song"}
    path.with_suffix(".srt").write_text("1\n00:00:00,000 --> 00:00:09,000\nIt is spoken.\n")
    assert [row["kind"] for row in listen(path, tmp_path, events=True) if row["text"]] == ["speech"]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40), st.booleans())
def test_spans_lie_within_the_sound_and_no_noise_where_somebody_speaks_or_plays(chances, loud):
    each = np.repeat(np.array(chances, np.float32), 70, 0)
    heard = Events(each, np.full(len(each), -30.0 if loud else -90.0))
    turns = [Turn(1.0, 2.5, 0)]
    for kind, start_s, end_s in heard.spans(turns):
        part = each[round(start_s * 100) : round(end_s * 100)]
        assert 0 <= start_s < end_s <= len(each) / 100
        assert end_s - start_s >= 1
        if kind == "noise":
            assert loud
            assert end_s <= 1.0 + 0.01 or start_s >= 2.5 - 0.01
            assert part.max() < 0.25
        else:
            assert (part[:, 1:].max(1) >= 0.5).any()
    assert 0 <= heard.music_share(0, len(each) / 100) <= 1
    assert heard.music_share(5000, 5001) == 0


@given(st.integers(0, 40_000))
def test_sound_of_any_length_is_heard_to_its_end(length):
    rng = np.random.default_rng(length)
    sound = Sound((rng.normal(size=length) * 3000).astype("<i2"), 0, 1)
    found = events(sound, lambda at_s: None)
    assert len(found.chances) == len(found.level_db) == -(-length // (RATE // 100))
    assert np.isfinite(found.level_db).all()


def test_long_sound_is_heard_in_blocks_as_in_one(footage, tmp_path):
    from stages.speech import events as module

    path = tmp_path / "music.wav"
    ffmpeg("-i", footage / "footage/takes/dj2.mp4", "-ar", "16000", "-ac", "1", "-f", "s16le", path)
    sound = Sound(np.frombuffer(path.read_bytes(), "<i2"), 0, 1)
    whole = module.events(sound, lambda at_s: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", 4 * RATE)
        parts = module.events(sound, lambda at_s: None)
    assert np.abs(whole.chances - parts.chances).max() < 0.05
    assert np.allclose(whole.level_db, parts.level_db, atol=1e-3)
