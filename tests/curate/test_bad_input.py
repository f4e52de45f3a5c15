"""Bad input: each gets its row in `errors` or its result, the job finishes, and the summary counts them."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import wave
from fractions import Fraction
from pathlib import Path

import films
import pytest
from engine import RECIPE, curate, rows
from excerpts import excerpt
from verbs import command

from schemas import clips, errors, ledger, sources

SETTINGS = ["takes.min_s=0.5", "screen.rules={}", "select.rules={}", "clips.preset=ultrafast"]


def film(path, frames):
    films.film(path, films.steady(frames), base=Fraction(1, 25), size=(64, 48), picture=films.flash(set()))


@pytest.fixture(scope="module")
def bad(tmp_path_factory, footage):
    """A folder with every kind of trouble."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("I am no video\n" * 100)
    (folder / "zeros.mkv").write_bytes(bytes(100_000))
    film(folder / "one frame.mp4", 1)
    film(folder / 'it\'s "quoted"\nand 長い, naïve.mp4', 30)
    film(folder / "plain.mp4", 30)
    film(folder / "unnamed.mp4", 31)
    os.rename(folder / "unnamed.mp4", os.fsencode(folder) + b"/\xff\xfe unnamable.mp4")
    with wave.open(str(folder / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 8000, "NONE", ""))
        sound.writeframes(bytes(16000))
    os.rename(folder / "sound.wav", folder / "audio only.mp4")
    whole = excerpt(footage / "footage/takes/yoga.mp4", folder / "truncated.mp4", 4).read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    damaged = bytearray(whole)
    damaged[len(whole) // 2 : len(whole) // 2 + 20_000] = os.urandom(20_000)
    (folder / "damaged in the middle.mp4").write_bytes(damaged)
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "fifo.mp4")
    (folder / "dangling.mp4").symlink_to(folder / "gone")
    return folder


@pytest.fixture(scope="module")
def made(bad, footage, scheduler, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "dataset"
    inputs = [bad, footage / "footage/broken", bad / "missing.mp4", str(bad / "*.nothing")]
    return output, curate(inputs, output, scheduler, SETTINGS)


def test_the_job_finishes_and_counts(made):
    output, summary = made
    book = [r for r in rows(output, ledger.TABLE) if r["kind"] == "source"]
    assert len(book) == len(rows(output, sources.SOURCES)) == sum(summary.states["source"].values())
    assert summary.states["source"]["failed"] == sum(r["state"] == "failed" for r in book)
    assert all(r["reason"] for r in book if r["state"] != "kept")


@pytest.mark.parametrize(
    ("name", "state", "reason"),
    [
        ("empty.mp4", "failed", "the file is empty"),
        ("text.mp4", "failed", "no readable video container"),
        ("zeros.mkv", "failed", "no readable video container"),
        ("audio only.mp4", "failed", "no video stream, only audio"),
        ("truncated.mp4", "failed", "no readable video container"),
        ("fifo.mp4", "failed", "no regular file"),
        ("dangling.mp4", "failed", "no such file"),
        ("missing.mp4", "failed", "no such file"),
        ("*.nothing", "failed", "nothing matches"),
        ('it\'s "quoted"\nand 長い, naïve.mp4', "kept", None),
        ("%FF%FE%20unnamable.mp4", "kept", None),
        ("damaged in the middle.mp4", "kept", None),
        ("failing_audio.mp4", "kept", None),
        ("corrupted.mp4", "kept", None),
        ("no_duration.webm", "kept", None),
        ("transparent.webm", "kept", None),
        ("smpte2997.mp4", "kept", None),
    ],
)
def test_each_has_its_state_and_reason(made, name, state, reason):
    output, _ = made
    (row,) = [r for r in rows(output, ledger.TABLE) if r["kind"] == "source" and r["path"].endswith(name)]
    assert (row["state"], reason is None or reason in row["reason"]) == (state, True), row["reason"]
    filed = [r for r in rows(output, errors.TABLE) if r["path"].endswith(name)]
    assert bool(filed) == (state == "failed")


def test_a_film_of_one_frame_has_a_result(made):
    output, _ = made
    (source,) = [r for r in rows(output, sources.SOURCES) if r["path"].endswith("one frame.mp4")]
    (clip,) = [r for r in rows(output, clips.TABLE) if r["source_id"] == source["source_id"]]
    assert clip["frames"] == 1


def test_strict_exits_with_1_and_names_nothing_twice(bad, tmp_path, scheduler):
    words = ["run", RECIPE, "-i", bad / "text.mp4", bad / "plain.mp4"]
    words += ["-o", tmp_path / "out", "--scheduler", scheduler, "--json"]
    relaxed, strict = command(*words), command(*words, "--strict")
    assert (relaxed.returncode, strict.returncode) == (0, 1)
    told = json.loads(relaxed.stdout)
    assert told["states"]["source"] == {"kept": 0, "rejected": 1, "failed": 1}
    assert json.loads(strict.stdout)["tasks"] == 0


def test_retry_failed_tries_what_failed_and_nothing_else(bad, footage, scheduler, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(bad / "text.mp4", folder)
    shutil.copy(bad / "plain.mp4", folder)
    curate([folder], tmp_path / "out", scheduler, SETTINGS)
    assert curate([folder], tmp_path / "out", scheduler, SETTINGS).tasks == 0
    before = rows(tmp_path / "out", errors.TABLE)
    assert len(before) == 1
    assert curate([folder], tmp_path / "out", scheduler, SETTINGS, retry_failed=True).tasks == 1
    assert rows(tmp_path / "out", errors.TABLE) == before


def test_a_replaced_file_replaces_its_source(bad, footage, scheduler, tmp_path):
    film_path = tmp_path / "film.mp4"
    shutil.copy(bad / "text.mp4", film_path)
    assert curate([film_path], tmp_path / "out", scheduler, SETTINGS).failed == 1
    shutil.copy(bad / "plain.mp4", film_path)
    summary = curate([film_path], tmp_path / "out", scheduler, SETTINGS)
    assert summary.states["source"] == {"kept": 1, "rejected": 0, "failed": 0}
    assert rows(tmp_path / "out", errors.TABLE) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand a run to another user")
def test_a_file_that_may_not_be_read_fails_by_itself(bad):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        secret, output = folder / "secret.mp4", folder / "out"
        shutil.copy(bad / "plain.mp4", secret)
        secret.chmod(0o600)
        output.mkdir()
        for path in (folder, output):
            path.chmod(0o777)
        script = (
            "import os, sys\n"
            "from curate import recipe, work\n"
            "text = work.dump(recipe.load('long_take'))\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "from curate.listing import look\n"
            "task = dict(kind='ingest', key='k', **vars(look(sys.argv[1])))\n"
            "print(work.perform(sys.argv[2], text, [task])[0].failed)\n"
        )
        done = subprocess.run([sys.executable, "-c", script, secret, output], capture_output=True, text=True)
        assert done.stdout.strip() == "1", done.stderr
        (row,) = rows(output, sources.INPUTS)
        assert "Permission denied" in row["failure"]
