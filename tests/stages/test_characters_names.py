"""Names beside those of photos: titles on screen, recordings, what is said; and what is measured, in words."""

import json
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageDraw, ImageFont

from stages.characters import clues, recordings, words
from stages.characters.clues import Clue
from stages.characters.command import characters
from stages.characters.naming import LEAST_NAME, SURE, assigned
from stages.characters.pitch import median_hz
from stages.characters.titles import LETTERS_A_MISTAKE, letters, mistakes, titled
from stages.faces.members import CastError, Member
from stages.speech.networks import CAMPPLUS
from tests.stages.listening import ffmpeg
from tests.stages.test_characters import joined_tables, shot_and_reverse
from tests.stages.verbs import typed

NAMES = {"Ann Lee": ("Annie",), "Bo Ray Williams": (), "Zoë Núñez": ()}


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("ANN LEE", "Ann Lee"),
        ("Annie", "Ann Lee"),
        ("Dr. Ann Lee, surgeon", "Ann Lee"),
        ("ANN LEE - Surgeon", "Ann Lee"),
        ("ANNLEE | Surgeon", "Ann Lee"),
        ("Bo Rav WiIliams", "Bo Ray Williams"),  # two letters of 13
        ("Zoe Nunez", "Zoë Núñez"),
        ("ANN LEE: Come here!", None),
        ("Ann Lee said so", None),
        ("Thanks, Ann Lee.", None),
        ("Lee", None),
        ("ANN LEEDS", None),
        ("Bo Rav WiIliaws", None),
        ("", None),
    ],
)
def test_a_title_is_a_name_alone_or_before_a_role(line, name):
    assert titled(line, NAMES) == name


def test_a_title_that_may_be_two_names_is_nobodys():
    assert titled("Jon Smythe", {"Jon Smythe": (), "John Smythe": ()}) is None
    assert titled("Jon Smythe", {"Jon Smythe": (), "Jan Kowalski": ()}) == "Jon Smythe"


@given(st.text("abc", max_size=8), st.text("abc", max_size=8), st.integers(0, 4))
def test_mistakes_are_counted_up_to_the_bound(one, other, most):
    counts = [[max(n, m) if 0 in (n, m) else 0 for m in range(len(other) + 1)] for n in range(len(one) + 1)]
    for n in range(1, len(one) + 1):
        for m in range(1, len(other) + 1):
            around = counts[n - 1][m] + 1, counts[n][m - 1] + 1, counts[n - 1][m - 1] + (one[n - 1] != other[m - 1])
            counts[n][m] = min(around)
    assert mistakes(one, other, most) == min(counts[-1][-1], most + 1)


@given(st.sampled_from(sorted(NAMES)), st.data())
def test_a_name_is_read_with_as_many_mistakes_as_are_stated_and_no_more(name, data):
    plain = letters(name)
    most = len(plain) // LETTERS_A_MISTAKE
    places = data.draw(st.lists(st.integers(0, len(plain) - 1), min_size=most, max_size=most + 1, unique=True))
    wrong = "".join("q" if n in places else c for n, c in enumerate(plain))
    assert titled(wrong, NAMES) == (name if len(places) <= most else None)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcd"), st.floats(-6, 6)), max_size=20),
    st.lists(st.sampled_from("abcd"), unique=True),
)
def test_nobody_has_two_names_and_no_name_two_people(given_clues, names):
    found = assigned(4, names, [Clue("said", w, "", voice=v, name=n) for v, n, w in given_clues], lambda c: c.voice)
    assert len({named.name for named in found.values()}) == len(found)
    for thing, named in found.items():
        assert sum(w for v, n, w in given_clues if (v, n) == (thing, named.name)) >= LEAST_NAME - 1e-9
        assert SURE <= named.confidence <= 1


def third(text, *times, clip_id="k"):
    row = {"source_id": "s", "clip_id": clip_id, "text": text, "times_s": list(times), "box": [0, 0.8, 1, 0.9]}
    return row | {"confidence": 0.9, "model": "m"}


def named(**given_tables):
    told, _ = joined_tables(
        *shot_and_reverse(), cast=[Member("Ann Lee", aliases=("Annie",)), Member("Bo Ray")], **given_tables
    )
    return {row["label"]: row for row in told}


def test_a_title_over_a_lone_face_names_it_and_its_voice():
    found = named(lower_thirds=[third("ANN LEE", 5.0, 6.5), third("Surgeon", 5.0)])
    assert {name: row["voices"] for name, row in found.items()} == {"Ann Lee": [2], "a": [1]}
    ann = found["Ann Lee"]
    assert ann["named_by"] == "lower third"
    assert 0.9 < ann["name_confidence"] < 1
    assert {(e["kind"], e["person"], e["voice"]) for e in ann["evidence"]} >= {("lower third", "b", None)}


def test_a_title_over_two_faces_or_over_none_names_nobody():
    heard, seen = shot_and_reverse()
    both = [(start, end, who) for start, end, _ in seen for who in "ab"]
    told, _ = joined_tables(heard, both, cast=[Member("Ann Lee")], lower_thirds=[third("ANN LEE", 5.0)])
    assert {row["name"] for row in told} == {None}
    told, _ = joined_tables(heard, [], cast=[Member("Ann Lee")], lower_thirds=[third("ANN LEE", 5.0)])
    assert {row["name"] for row in told} == {None}  # one title is not enough for a voice alone
    twice = [third("ANN LEE", 5.0), third("ANN LEE", 21.0, clip_id="l")]
    told, _ = joined_tables(heard, [], cast=[Member("Ann Lee")], lower_thirds=twice)
    assert {(row["name"], *row["voices"]) for row in told} == {("Ann Lee", 2), (None, 1)}


def test_two_titles_over_one_face_name_nobody():
    assert {row["name"] for row in named(lower_thirds=[third("ANN LEE", 5.0), third("Bo Ray", 5.0)]).values()} == {None}


def test_a_title_does_not_name_whom_the_photos_speak_against():
    photo = (Member("Ann Lee", photos=("ann.jpg",)),)
    far = {"b": {"nearest": "Ann Lee", "distance": 0.75, "margin": 0.1}}
    near = {"b": {"nearest": "Ann Lee", "distance": 0.53, "margin": 0.1}}
    for of, name in ((far, None), (near, "Ann Lee")):
        heard, seen = shot_and_reverse()
        told, _ = joined_tables(heard, seen, cast=photo, lower_thirds=[third("ANN LEE", 5.0)], of_people=of)
        assert {row["name"] for row in told if row["people"] == ["b"]} == {name}


def test_who_has_no_photo_is_named_by_what_is_said():
    heard, seen = shot_and_reverse()
    heard[0] = (*heard[0][:3], {"text": "Hi, I'm Annie.", "origin": "subtitle file"})
    told, lines = joined_tables(heard, seen, cast=[Member("Ann Lee", aliases=("Annie",), description="A surgeon.")])
    ann = next(row for row in told if row["name"] == "Ann Lee")
    assert (ann["voices"], ann["people"], ann["named_by"]) == ([1], ["a"], "said")
    assert ann["cast_description"] == "A surgeon."
    assert [line["name"] for line in lines[::2]] == ["Ann Lee"] * 5


def prints(*vectors):
    rows = [{"source_id": "s", "voice": n, "seconds": 5.0, "lines": 1} for n in range(1, len(vectors) + 1)]
    return [row | {"embedding": list(v), "model": CAMPPLUS.name} for row, v in zip(rows, vectors, strict=True)]


def test_a_recording_names_a_voice_and_a_voice_that_sounds_otherwise_is_not_the_faces():
    east, north = [1.0, 0.0], [0.0, 1.0]
    cast, known = [Member("Ann Lee", voices=("ann.wav",))], {"Ann Lee": np.array(east)}
    heard, seen = shot_and_reverse()
    told, _ = joined_tables(heard, [], cast=cast, voices=prints(north, east), recordings=known)
    assert {(row["name"], *row["voices"]) for row in told} == {("Ann Lee", 2), (None, 1)}
    assert next(row["named_by"] for row in told if row["name"]) == "voice"
    told, _ = joined_tables(heard, seen, cast=cast, voices=prints(north, north), recordings=known)
    assert {row["name"] for row in told} == {None}


def test_what_is_measured_is_said_and_nothing_else():
    heard, seen = shot_and_reverse()
    heard += [(40.0 + 5 * n, 44.0 + 5 * n, 3, {}) for n in range(6)]
    seen += [(40.0 + 5 * n, 44.0 + 5 * n, "ab"[n % 2]) for n in range(6)]
    pitches = [{"source_id": "s", "voice": n, "seconds": 5.0, "pitch_hz": 110.0 * n} for n in (1, 2, 3)]
    told, _ = joined_tables(heard, seen, pitches=pitches)
    described = {row["label"]: row["description"] for row in told}
    assert described["narrator"] == "speaks 24.0 s, high voice (about 330 Hz), a voice whose face is not known"
    assert described["a"] == "seen 1.0 s, speaks 15.0 s, 80% of it in the picture, low voice (about 110 Hz)"
    assert words.voice(150) == "middle voice (about 150 Hz)"


@pytest.mark.parametrize("hertz", [85, 120, 165, 240, 400])
def test_pitch_is_the_fundamental_whatever_the_harmonics(hertz):
    t = np.arange(16000) / 16000
    noise = 0.02 * np.random.default_rng(0).normal(size=16000)
    rich = sum(np.sin(2 * np.pi * hertz * n * t) / n for n in range(1, 8)) + noise
    lacking = sum(np.sin(2 * np.pi * hertz * n * t) for n in range(2, 6)) + noise
    assert median_hz(rich, 16000) == pytest.approx(hertz, rel=0.03)
    assert median_hz(lacking, 16000) == pytest.approx(hertz, rel=0.03)


def test_noise_and_silence_have_no_pitch():
    assert median_hz(np.random.default_rng(0).normal(size=16000), 16000) is None
    assert median_hz(np.zeros(16000), 16000) is None
    assert median_hz(np.zeros(10), 16000) is None


def test_recordings_of_a_cast_tell_readers_apart(footage, tmp_path):
    readers = sorted((footage / "voices").iterdir())[:3]
    vectors = {}
    for reader in readers:
        files = sorted(reader.iterdir())
        for n, file in enumerate((files[0], files[-1])):
            vectors[reader.name, n] = recordings.voice(
                Member(reader.name, voices=(file,), where="row 1"), tmp_path, print
            )
    for (one, n), vector in vectors.items():
        for (other, m), second in vectors.items():
            (clue,) = clues.sounds({0: vector}, {"x": second})
            if (one, n) != (other, m):
                assert (clue.weight > 0) == (one == other), (one, other, clue.detail)


def test_a_recording_that_cannot_be_used_is_refused(footage, tmp_path):
    one, other = (sorted(folder.iterdir())[0] for folder in sorted((footage / "voices").iterdir())[:2])
    both, silent, text = tmp_path / "both.wav", tmp_path / "silent.wav", tmp_path / "text.wav"
    ffmpeg("-i", one, "-i", other, "-filter_complex", "[0:a][1:a]concat=n=2:v=0:a=1", both)
    ffmpeg("-f", "lavfi", "-i", "sine=f=440:d=3", silent)
    text.write_text("no sound")
    for file, wrong in (
        (both, "2 voices are heard.*cut it"),
        (silent, "nobody speaks"),
        (text, "cannot be listened to"),
    ):
        with pytest.raises(CastError, match=f"row 7: .*{file.name}: {wrong}"):
            recordings.voice(Member("Ann", voices=(file,), where="row 7"), tmp_path, print)


def titles(film, to, shown, end_s, start_s=0):
    """The film from its second `start_s` to `end_s`, with (start, end, words) on a bar low in the picture."""
    large = ImageFont.load_default(22)
    with av.open(str(film)) as box, av.open(str(to), "w") as out:
        video, sound = box.streams.video[0], box.streams.audio[0]
        pictures = out.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        pictures.width, pictures.height, pictures.pix_fmt = video.width, video.height, "yuv420p"
        kept = out.add_stream_from_template(sound)
        for packet in box.demux(video, sound):
            if packet.dts is None or packet.dts * packet.time_base >= end_s:
                continue
            if packet.stream is sound:
                if packet.pts * packet.time_base < start_s:
                    continue
                packet.pts = packet.dts = packet.pts - round(start_s / packet.time_base)
                packet.stream = kept
                out.mux(packet)
                continue
            for frame in packet.decode():
                if frame.time < start_s:
                    continue
                picture = frame.to_image()
                for start, end, text in shown:
                    if start <= frame.time < end:
                        draw = ImageDraw.Draw(picture)
                        draw.rectangle((30, 280, 330, 320), fill=(20, 40, 120))
                        draw.text((40, 286), text, fill="white", font=large)
                made = av.VideoFrame.from_image(picture)
                made.pts, made.time_base = round((frame.time - start_s) * 25), Fraction(1, 25)
                out.mux(pictures.encode(made))
        out.mux(pictures.encode(None))


FROM = 14


@pytest.mark.slow
def test_names_read_in_a_film_name_faces_and_voices_without_a_photo(footage, tmp_path):
    film = footage / "footage/edited/dialogue.mp4"
    lines = json.loads(film.with_suffix(".json").read_text())["utterances"]
    mine = {"biden": "Joe Biden, senator", "obama": "BARACK OBAMA"}
    shown = [
        (line["start"] + 0.3, line["end"], mine[line["character"]])
        for line in lines
        if 14 < line["start"] < 22 and line["on_screen"] == [line["character"]]
    ]
    titles(film, tmp_path / "film.mp4", shown, 23, FROM)
    (tmp_path / "cast.csv").write_text("name,description\nBarack Obama,Speaks of hope.\nJoe Biden,\nAnn Lee,\n")
    cast = ("--cast", tmp_path / "cast.csv")
    done = typed(characters, tmp_path / "film.mp4", *cast, "--json", "--set", "speech.transcriber=none")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    called = {row["name"]: row for row in found["characters"] if row["name"]}
    assert set(called) == {"Barack Obama", "Joe Biden"}
    assert all(row["named_by"] == "lower third" and row["people"] for row in called.values())
    assert called["Barack Obama"]["cast_description"] == "Speaks of hope."
    told = {
        (line["character"], turn["character"])
        for line in lines
        for turn in found["utterances"]
        if min(FROM + turn["end"], line["end"]) - max(FROM + turn["start"], line["start"]) > 1
        and turn["character"] in called
    }
    assert told <= {("biden", "Joe Biden"), ("obama", "Barack Obama")}
