"""Voices as vectors: each source's own, the same reader known again in another file, and embedders of one's own."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.dataset import to_arrow
from curate.models import WeightsError
from curate.workspace import open_workspace
from schemas import sources, speech
from stages.pack import Pack
from stages.speech.embedders import banks, embedder
from stages.speech.voices import Voices, _alone
from tests.stages.listening import ffmpeg, film, listen, source
from tests.stages.tiny_onnx import voice_embedder


def voiced(path, folder, rows, **parameters):
    """Rows of `voices` of a file whose `speech` is this."""
    tables = {"sources": to_arrow(sources.SOURCES, [source(path)]), "speech": to_arrow(speech.TABLE, rows)}
    with open_workspace(str(folder / "dataset")) as work:
        return to_arrow(speech.VOICES, list(Voices(**parameters).run(tables, work))).to_pylist()


def line(start_s, end_s, voice=1, kind="speech"):
    row = {"source_id": "s", "start_s": start_s, "end_s": end_s, "kind": kind, "voice": voice}
    return row | {"weak": False, "origin": "none"}


@pytest.fixture(scope="module")
def talk(footage, tmp_path_factory):
    """Two readers in turn, as a file."""
    folder = tmp_path_factory.mktemp("talk")
    names = ["367/367-130732-0004.flac", "533/533-1066-0001.flac", "367/367-130732-0001.flac"]
    inputs = [x for name in names for x in ("-i", footage / "voices" / name)]
    path = folder / "talk.wav"
    ffmpeg(*inputs, "-filter_complex", f"concat=n={len(names)}:v=0:a=1", path)
    return path


def test_a_voice_is_known_again_in_another_file_by_its_vector(footage, talk, tmp_path):
    found = voiced(talk, tmp_path, listen(talk, tmp_path))
    assert [row["voice"] for row in found] == [1, 2]
    for row in found:
        assert np.linalg.norm(row["embedding"]) == pytest.approx(1, abs=1e-4)
        assert row["seconds"] > 1.5
        assert 0 <= row["spread"] < 0.5
        assert (row["model"], row["unmeasured"]) == ("campplus-zh-en", None)
    known = np.array([row["embedding"] for row in found])
    for who, other in (("367/367-130732-0007.flac", 0), ("533/533-1066-0003.flac", 1)):
        path = footage / "voices" / who
        (again,) = voiced(path, tmp_path, listen(path, tmp_path))
        alike = known @ np.array(again["embedding"])
        assert alike[other] > alike[1 - other] + 0.2


def test_only_what_one_voice_says_alone_is_embedded(talk, tmp_path):
    rows = [line(0, 3), line(2.5, 5), line(4, 4.6, voice=2), line(1, 1.5, None), line(4.5, 4.8, 3, "song")]
    rows.append(line(4.05, 4.2, voice=4))
    first, second, fourth = voiced(talk, tmp_path, rows)
    assert (first["voice"], first["lines"], first["seconds"]) == (1, 2, pytest.approx(2.5 + 1.5 + 0.2, abs=0.5))
    assert (second["voice"], second["embedding"], second["seconds"], second["spread"]) == (2, None, 0, None)
    assert "alone" in second["unmeasured"]
    assert fourth["embedding"] is None
    (short,) = voiced(talk, tmp_path, [line(0, 3), line(3, 8)], seconds=6)
    assert short["seconds"] == pytest.approx(6, abs=0.01)
    assert voiced(talk, tmp_path, [line(0, 0, None, "none")]) == []
    assert voiced(film(tmp_path / "mute.mkv"), tmp_path, [line(0, 3)]) == []


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0.1, 9), st.sampled_from([1, 2, None])), min_size=1, max_size=12))
def test_what_is_alone_lies_in_the_line_and_in_no_other_voices(given_lines):
    rows = [line(start, start + length, voice) for start, length, voice in given_lines]
    for mine in rows:
        parts = list(_alone(mine, rows))
        assert all(mine["start_s"] <= a < b <= mine["end_s"] for a, b in parts)
        others = [r for r in rows if r is not mine and (r["voice"] != mine["voice"] or r["voice"] is None)]
        for t in np.linspace(mine["start_s"], mine["end_s"], 23)[1:-1]:
            free = not any(r["start_s"] <= t <= r["end_s"] for r in others)
            if free:
                assert any(a <= t <= b for a, b in parts)
            elif any(r["start_s"] < t < r["end_s"] for r in others):
                assert not any(a < t < b for a, b in parts)


def test_vectors_of_voices_go_into_no_shard():
    assert "voices" not in Pack().inputs({"voices", "speech", "faces", "dialogue"})


def test_an_embedder_of_your_own_says_who_it_is_and_tells_its_file_apart(talk, tmp_path):
    path = voice_embedder(tmp_path / "mine.onnx")
    rows = listen(talk, tmp_path, embedder=str(path), distance=0.3)
    assert {row["kind"] for row in rows} == {"speech"}
    assert all("mine@" in row["model"] for row in rows if row["model"])
    (first, *_) = voiced(talk, tmp_path, [line(0, 3)], embedder=str(path))
    assert len(first["embedding"]) == 16
    assert first["model"].startswith("mine@")
    with pytest.raises(WeightsError, match="SHA-256"):
        embedder(str(path), "0" * 8)


def test_the_banks_are_kaldis_and_do_not_depend_on_loudness():
    samples = np.random.default_rng(0).normal(size=16000).astype(np.float32) * 1000
    for window in ("hamming", "povey"):
        found = banks(samples, window)
        assert found.shape == (98, 80)
        assert np.abs(found.mean(0)).max() < 1e-4
        assert np.abs(banks(samples / 10, window) - found).max() < 1e-2
    assert np.abs(banks(samples, "hamming") - banks(samples, "povey")).max() > 0.05


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: voice_embedder(path, mels=40), "shape"),
        (lambda path: path.write_bytes(b"\x00not a network"), "no ONNX file"),
        (lambda path: None, "no weights at"),
    ],
)
def test_another_network_is_refused_with_a_cure(tmp_path, make, why):
    path = tmp_path / "other.onnx"
    make(path)
    with pytest.raises(WeightsError, match=why):
        embedder(str(path))


def test_weights_in_other_files_are_not_opened(tmp_path):
    path = voice_embedder(tmp_path / "big.onnx")
    loaded = onnx.load(path)
    onnx.save(loaded, path, save_as_external_data=True, location="elsewhere.bin", size_threshold=0)
    with pytest.raises(WeightsError, match="other files"):
        embedder(str(path))
