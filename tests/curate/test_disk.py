"""A disk that is full, that may only be read, or that goes away stops a run with a plain word, and harms nothing."""

import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
import typer
from crashes import SETTINGS, footage
from engine import RECIPE, fingerprint
from films import cut
from typer.testing import CliRunner

from curate.commands.run import run as run_command
from curate.dataset import Dataset
from curate.media.encoder import Encoding


@contextmanager
def disk(place, size):
    """A disk in memory of so many bytes; where none can be mounted the test is skipped."""
    place.mkdir(exist_ok=True)
    if not shutil.which("mount"):
        pytest.skip("no file system can be mounted here: there is no `mount`")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def remount(place, how):
    """Whether a disk could be given another size, or be made read-only."""
    return not subprocess.run(["mount", "-o", f"remount,{how}", str(place)], capture_output=True).returncode


@pytest.fixture(scope="module")
def films(request, tmp_path_factory):
    return footage(request.getfixturevalue("footage"), tmp_path_factory.mktemp("films"))


def run(films, output, *more):
    """`curate run` in this process."""
    verb = typer.Typer()
    verb.command()(run_command)
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    return CliRunner().invoke(verb, [RECIPE, "-i", str(films), "-o", str(output), *settings, *map(str, more)])


def completed(done):
    assert done.exit_code == 0, done.stderr
    return True


def stopped(done, *said):
    """Whether a run ended with one plain line that says what is wrong and where."""
    assert isinstance(done.exception, SystemExit), (done.exception, done.stderr)
    assert done.exit_code == 1, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert all(str(word) in last for word in said), done.stderr
    return True


def whole(dataset):
    """Whether every part that is there is what was written."""
    place = Dataset(str(dataset))
    for name in place.table_names():
        for key in place.keys(name):
            place.read_parquet(place.part(name, key))
    return True


@pytest.fixture(scope="module")
def undisturbed(films, scheduler, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "dataset"
    assert completed(run(films, output, "--scheduler", scheduler))
    return output


@pytest.fixture(scope="module")
def size(undisturbed):
    """Bytes that the dataset takes on a disk."""
    return sum(4096 * (1 + p.stat().st_size // 4096) for p in undisturbed.rglob("*") if p.is_file())


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_more_space_completes_it(films, undisturbed, size, scheduler, tmp_path):
    with disk(tmp_path / "disk", size) as place:
        output = place / "dataset"
        for share in (0.02, 0.3, 0.6, 0.9):
            assert remount(place, f"size={int(share * size)}")
            done = run(films, output, "--scheduler", scheduler)
            assert stopped(done, output, "No space left on device", "MB left there", "run the same command again")
            assert whole(output)
        assert remount(place, f"size={3 * size}")
        assert completed(run(films, output, "--scheduler", scheduler))
        assert fingerprint(output) == fingerprint(undisturbed)


@pytest.mark.slow
def test_a_full_scratch_folder_stops_the_run_and_is_no_fault_of_a_source(films, undisturbed, tmp_path, monkeypatch):
    output = tmp_path / "dataset"
    with disk(tmp_path / "scratch", "64m") as scratch:
        monkeypatch.setenv("TMPDIR", str(scratch))
        monkeypatch.setattr(tempfile, "tempdir", None)
        ballast = scratch / "ballast"
        for left in (60_000, 150_000):  # with nothing left at all Python takes another folder
            ballast.unlink(missing_ok=True)
            with open(ballast, "wb") as file:
                shutil.copyfileobj(Nothing(shutil.disk_usage(scratch).free - left), file)
            assert stopped(run(films, output, "--workers", 1), "No space left on device", scratch)
            assert whole(output)
        ballast.unlink()
        assert completed(run(films, output, "--workers", 1))
    assert fingerprint(output) == fingerprint(undisturbed)


def test_a_clip_that_cannot_be_copied_for_want_of_space_is_not_encoded_instead(films, tmp_path):
    coarse = Encoding("smart", 51, "ultrafast", 2.0, 128_000)
    copied = cut(films / "film.mp4", tmp_path / "copy.mp4", 3, 100, coarse)
    encoded = cut(films / "film.mp4", tmp_path / "encoded.mp4", 3, 100, replace(coarse, mode="encode"))
    between = (copied.out.stat().st_size + encoded.out.stat().st_size) // 2
    assert copied.written.mode == "smart"
    assert encoded.out.stat().st_size < between - 8192
    with disk(tmp_path / "scratch", between) as scratch, pytest.raises(OSError, match="No space left on device"):
        cut(films / "film.mp4", scratch / "clip.mp4", 3, 100, coarse)


class Nothing:
    """So many zero bytes to read."""

    def __init__(self, size):
        self.left = size

    def read(self, most):
        size = min(most, self.left)
        self.left -= size
        return bytes(size)


@pytest.mark.slow
def test_a_disk_that_turns_read_only_stops_the_run(films, undisturbed, size, scheduler, tmp_path):
    with disk(tmp_path / "disk", 3 * size) as place:
        output = place / "dataset"
        tables = output / "tables"

        def protect():
            """A whole disk could not be made read-only while the run has its lock open."""
            subprocess.run(["mount", "--bind", str(tables), str(tables)], check=True)
            assert remount(tables, "bind,ro")

        with once(lambda: (tables / "boundaries").exists(), protect):
            done = run(films, output, "--scheduler", scheduler)
        assert stopped(done, output, "Read-only file system", "make it writable")
        assert stopped(run(films, output, "--scheduler", scheduler), output, "Read-only file system")
        subprocess.run(["umount", str(tables)], check=True)
        assert whole(output)
        assert completed(run(films, output, "--scheduler", scheduler))
        assert fingerprint(output) == fingerprint(undisturbed)


@pytest.mark.slow
def test_a_dataset_whose_folder_vanishes_is_made_anew(films, undisturbed, scheduler, tmp_path):
    output = tmp_path / "dataset"
    with once(lambda: (output / "tables/boundaries").exists(), lambda: output.rename(tmp_path / "away")):
        assert stopped(run(films, output, "--scheduler", scheduler), output)
    assert completed(run(films, output, "--scheduler", scheduler))
    assert fingerprint(output) == fingerprint(undisturbed)


def until(there, seconds=200):
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def once(there, do):
    """Do something as soon as something is there, while the block goes on."""
    watcher = threading.Thread(target=lambda: (until(there), do()))
    watcher.start()
    yield
    watcher.join()


def test_a_place_where_no_folder_can_be_made_is_told(films, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert stopped(run(films, tmp_path / "file/dataset"), tmp_path / "file", "Not a directory")
