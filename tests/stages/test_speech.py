"""Who speaks when, on real voices: a dialogue whose truth is known, a real meeting, and sound of every odd kind."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from curate.media.container import MediaError
from stages.speech.command import speech as command
from stages.speech.diarization import Turn, merged, overlaps
from stages.speech.formats import rttm, vtt
from stages.speech.speakers import speakers
from stages.speech.stretches import Stretch, joined, runs, stretches
from tests.stages.listening import ffmpeg, film, listen
from tests.stages.looking import screening
from tests.stages.verbs import typed


def annotation(turns):
    made = Annotation()
    for n, (start, end, who) in enumerate(turns):
        made[Segment(start, end), n] = str(who)
    return made


@pytest.fixture(scope="module")
def dialogue(footage, tmp_path_factory):
    """Rows of the dialogue film, once for all tests."""
    return listen(footage / "footage/edited/dialogue.mp4", tmp_path_factory.mktemp("dialogue"))


def test_the_voices_of_a_dialogue_are_told_apart(footage, dialogue):
    told = json.loads((footage / "footage/edited/dialogue.json").read_text())["utterances"]
    truth = annotation((u["start"], u["end"], u["character"]) for u in told)
    known = [row for row in dialogue if row["voice"]]
    found = annotation((row["start_s"], row["end_s"], row["voice"]) for row in known)
    parts = DiarizationErrorRate()(truth, found, uem=Timeline([Segment(0, 129.4)]), detailed=True)
    assert parts["confusion"] <= 0.03 * parts["total"]
    assert parts["false alarm"] <= 0.03 * parts["total"]
    # The recordings begin and end with silence that the truth counts as speech.
    assert parts["missed detection"] <= 0.2 * parts["total"]
    assert {row["kind"] for row in dialogue} == {"speech"}
    assert [row["start_s"] for row in dialogue] == sorted(row["start_s"] for row in dialogue)


def test_every_line_says_what_it_knows_and_no_more(dialogue):
    for row in dialogue:
        assert row["end_s"] > row["start_s"]
        assert (row["text"], row["words"], row["speaker"], row["language"]) == (None, None, None, None)
        assert (row["weak"], row["origin"], row["trouble"]) == (False, "none", None)
        assert "campplus" in row["model"]
        assert (row["voice_margin"] is None) == (row["voice"] is None)


def test_a_real_meeting_with_people_at_once(footage, tmp_path):
    rows = listen(footage / "meetings/trn04.wav", tmp_path)
    truth = [line.split() for line in (footage / "meetings/trn04.rttm").read_text().splitlines()]
    first, last = min(float(t[3]) for t in truth), max(float(t[3]) + float(t[4]) for t in truth)
    assert min(row["start_s"] for row in rows) > first - 0.5
    assert max(row["end_s"] for row in rows) < last + 0.5
    assert len({row["voice"] for row in rows} - {None}) in (2, 3)
    both = [row for row in rows if row["overlap_s"] > 0.1 and row["end_s"] > 21 and row["start_s"] < 22]
    assert len({row["voice"] for row in both}) == 2


def test_words_by_recognition_are_weak_and_within_their_line(footage, tmp_path):
    path = tmp_path / "few.wav"
    ffmpeg("-i", footage / "voices/367/367-130732-0000.flac", "-t", "5", path)
    rows = [row for row in listen(path, tmp_path, transcriber="pocketsphinx") if row["text"]]
    assert rows
    for row in rows:
        assert (row["weak"], row["origin"]) == (True, "pocketsphinx")
        assert row["text"] == " ".join(word["text"] for word in row["words"])
        times = [t for word in row["words"] for t in (word["start_s"], word["end_s"])]
        assert times == sorted(times)
        assert row["start_s"] <= times[0]
        assert times[-1] <= row["end_s"] + 1e-6


def test_a_voice_is_heard_through_eight_kilohertz_and_in_the_middle_of_six_channels(footage, tmp_path):
    voice = footage / "voices/367/367-130732-0000.flac"
    narrow = film(tmp_path / "narrow.mkv", "-i", voice, "-map", "1:a", "-ar", "8000", "-c:a", "pcm_s16le")
    centre = "[1:a]aresample=48000,pan=5.1|FC=c0[a]"
    wide = film(tmp_path / "wide.mp4", "-i", voice, "-filter_complex", centre, "-map", "[a]", "-c:a", "aac")
    for path in (narrow, wide):
        rows = listen(path, tmp_path)
        assert {row["kind"] for row in rows} == {"speech"}
        assert {row["voice"] for row in rows} <= {1, None}
        assert sum(row["end_s"] - row["start_s"] for row in rows) > 1.5


def test_of_several_tracks_the_default_is_heard_and_a_commentary_only_where_there_is_nothing_else(footage, tmp_path):
    voice = footage / "voices/367/367-130732-0000.flac"
    silence = ("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono")
    both = (*silence, "-i", voice, "-map", "1:a", "-map", "2:a", "-c:a", "flac")
    second = film(tmp_path / "second.mkv", *both, "-disposition:a:0", "0", "-disposition:a:1", "default")
    rows = listen(second, tmp_path)
    assert {row["kind"] for row in rows} == {"speech"}
    assert rows[0]["trouble"] == "audio track 2 of 2 was listened to"
    spoken = film(tmp_path / "spoken.mkv", *both, "-disposition:a:0", "comment+default", "-disposition:a:1", "0")
    assert listen(spoken, tmp_path)[0]["trouble"] == "audio track 2 of 2 was listened to"


@pytest.mark.parametrize(
    ("sound", "why"),
    [
        ((), "no audio track"),
        (("-f", "lavfi", "-i", "anullsrc=r=44100:cl=stereo", "-map", "1:a", "-c:a", "flac"), "silent throughout"),
        (("-f", "lavfi", "-i", "sine=f=440:r=44100", "-map", "1:a", "-c:a", "flac"), "nobody is heard"),
        (("-f", "lavfi", "-i", "anoisesrc=a=0.1:d=9:seed=1", "-map", "1:a", "-c:a", "flac"), "nobody is heard"),
    ],
)
def test_where_nobody_speaks_the_row_says_why(tmp_path, sound, why):
    (row,) = listen(film(tmp_path / "mute.mkv", *sound), tmp_path)
    assert why in row["unmeasured"]
    assert (row["kind"], row["voice"], row["text"], row["origin"]) == ("none", None, None, "none")


def test_what_screening_left_nothing_of_is_not_listened_to(footage, tmp_path):
    path = footage / "voices/367/367-130732-0000.flac"
    (row,) = listen(path, tmp_path, screening(a=False, b=False))
    assert (row["kind"], row["unmeasured"]) == ("none", "screening left none of its takes")
    for rows in (
        listen(path, tmp_path, screening(a=False, b=True)),
        listen(path, tmp_path, screening(), every_source=True),
    ):
        assert rows[0]["kind"] == "speech"


def test_a_file_cut_off_in_the_middle_is_heard_as_far_as_it_goes(footage, tmp_path):
    whole = tmp_path / "whole.mkv"
    film(whole, "-i", footage / "voices/367/367-130732-0000.flac", "-map", "1:a", "-c:a", "pcm_s16le")
    half = tmp_path / "half.mkv"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    rows = listen(half, tmp_path)
    assert rows[0]["kind"] == "speech"
    (tmp_path / "bad.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt ")
    with pytest.raises(MediaError):
        listen(tmp_path / "bad.wav", tmp_path)


def test_the_command_prints_json_and_writes_rttm_and_vtt(footage, tmp_path):
    path = tmp_path / "two [words].wav"
    ffmpeg("-i", footage / "meetings/trn04.wav", "-ss", "12", "-t", "12", path)
    files = ("--rttm", tmp_path / "out.rttm", "--vtt", tmp_path / "out.vtt")
    done = typed(command, path, "--json", "--set", "speech.transcriber=none", *files)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["lines"]
    assert set(found["speakers"]) <= {"voice 1", "voice 2", "voice 3", "unknown"}
    fields = (tmp_path / "out.rttm").read_text().splitlines()[0].split(" ")
    assert (len(fields), fields[0], fields[1]) == (10, "SPEAKER", "two_[words]")
    assert (tmp_path / "out.vtt").read_text().startswith("WEBVTT\n\n00:00:")


def test_a_wrong_use_is_told_in_one_line(tmp_path):
    for arguments in ([tmp_path / "none.mp4"], [tmp_path, "--set", "speech.distance=7"]):
        done = typed(command, *arguments)
        assert done.exit_code == 2
        assert "Traceback" not in done.output


def test_exports_escape_what_other_people_wrote():
    row = {"start_s": 0.0, "end_s": 1.5, "kind": "speech", "speaker": "A <b> & Co", "voice": 1, "weak": False}
    row["text"] = "x --> y\n\nNOTE <c>"
    assert vtt([row]) == "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\n<v A &lt;b&gt; &amp; Co>x --&gt; y NOTE &lt;c&gt;\n"
    assert rttm([row], "a film") == "SPEAKER a_film 1 0.000 1.500 <NA> <NA> A_<b>_&_Co <NA> <NA>\n"
    assert rttm([row | {"kind": "none"}], "a film") == ""


places = st.tuples(st.integers(0, 300), st.integers(1, 60)).map(lambda p: (p[0], p[0] + p[1]))


@given(st.lists(places, min_size=1, max_size=25), st.integers(0, 2**32 - 1))
def test_stretches_that_sound_at_once_are_never_one_voice(spans, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(len(spans), 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    made = [Stretch(start, end, np.ones(end - start, bool)) for start, end in spans]
    found = speakers(made, vectors, rng.uniform(0, 3, len(spans)), 0.9, 1.0)
    for n, one in enumerate(made):
        for m in range(n):
            at_once = one.start < made[m].end and made[m].start < one.end
            assert not (at_once and found[n] == found[m] >= 0)
    seen = [k for k in dict.fromkeys(found.tolist()) if k >= 0]
    assert seen == list(range(len(seen)))


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 5), st.integers(-1, 2)), max_size=20))
def test_merging_keeps_every_moment_and_overlap_is_within_its_turn(given_turns):
    turns = [Turn(start, start + length, voice) for start, length, voice in given_turns]
    found = merged(turns, 0.5)
    for turn in turns:
        assert any(f.voice == turn.voice and f.start_s <= turn.start_s and f.end_s >= turn.end_s for f in found)
    assert sum(f.voice == -1 for f in found) == sum(t.voice == -1 for t in turns)
    for turn, overlap in zip(found, overlaps(found), strict=True):
        assert -1e-9 <= overlap <= turn.end_s - turn.start_s + 1e-9


@given(st.lists(st.tuples(st.floats(0, 0.5), st.floats(0.1, 4)), min_size=1, max_size=60), st.floats(1, 15))
def test_a_long_line_is_parted_at_pauses_until_it_is_short_or_has_none(talk, line_s):
    turns, at = [], 0.0
    for pause, length in talk:
        turns.append(Turn(at + pause, at + pause + length, 0))
        at += pause + length
    found = merged(turns, 0.5, line_s)
    assert [f.start_s for f in found] == sorted(f.start_s for f in found)
    for line in found:
        parts = [t for t in turns if line.start_s <= t.start_s < line.end_s]
        assert (line.start_s, line.end_s) == (parts[0].start_s, parts[-1].end_s)
        pauses = [b.start_s - a.end_s for a, b in pairwise(parts)]
        assert line.end_s - line.start_s <= line_s or max(pauses, default=0) <= 0


@given(st.lists(st.booleans(), max_size=60), st.integers(0, 5))
def test_runs_cover_what_is_on_and_lie_further_apart_than_a_pause(on, pause):
    found = runs(np.array(on, bool), pause)
    covered = np.zeros(len(on), bool)
    for start, end in found:
        assert on[start]
        assert on[end - 1]
        covered[start:end] = True
    assert (covered | ~np.array(on, bool)).all()
    assert all(later[0] - earlier[1] > pause for earlier, later in pairwise(found))


def test_windows_join_in_a_pause_and_long_stretches_are_cut_in_equal_parts():
    windows = np.ones((2, 600, 3), bool)
    windows[:, :, 1:] = False
    windows[0, 400:420] = windows[1, 100:120] = False  # the same pause, 300 frames apart
    active, cuts = joined(windows, [0, 300], 900, 0.0169)
    assert active.shape == (900, 3)
    assert len(cuts) == 1
    assert 400 <= cuts[0] < 420
    found = stretches(active, cuts, 0.0169)
    assert [s.start for s in found][:1] == [0]
    assert found[-1].end == 900
    assert max(s.end - s.start for s in found) * 0.0169 <= 4.1
