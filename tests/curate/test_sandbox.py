"""The child process that opens media: whatever happens to it, the caller gets an answer and the next call works."""

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from curate.media.probe import probe
from curate.sandbox import ChildDiedError, ChildRaisedError, Sandbox, for_this_thread
from curate.stage import Row
from tests.curate.films import HEIGHT, WIDTH, film, steady

WHOLE = {"start_pts": None, "end_pts": None, "lead_pts": None}


STALL_S = 60.0


@pytest.fixture(scope="module")
def kept() -> Iterator[Sandbox]:
    """One for all tests that leave it fit for work: a child's libraries take longer to load than most of them last."""
    box = Sandbox(memory_gib=4, stall_s=STALL_S)
    yield box
    box.close()


@pytest.fixture
def sandbox(kept: Sandbox, short: Path) -> Sandbox:
    kept._stall_s = STALL_S
    assert packets(kept, short) == 10
    return kept


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("short") / "a.mp4", steady(10))


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes several seconds to analyse."""
    return film(tmp_path_factory.mktemp("long") / "a.mp4", steady(250), size=(320, 240), gop=250)


def packets(box: Sandbox, path: Path) -> int:
    answer, _ = box.call("probe", {"path": str(path)})
    return int(answer["probe"]["packets"])


def analysis(box: Sandbox, path: Path) -> Row:
    """The request that analyses a whole film."""
    source = box.call("probe", {"path": str(path)})[0]["probe"]
    return {
        "source": {"source_id": "s" * 32, "path": str(path), **source},
        "probes": {"signals": {}, "flow": {"fps": 60}, "picture": {"fps": 60}},
        "interval": WHOLE,
    }


def child() -> psutil.Process:
    """The one child that does media work for this process."""
    (found,) = [p for p in psutil.Process().children() if "curate.child" in p.cmdline()]
    return found


def once_at_work(action: Callable[[], None]) -> Callable[[float], None]:
    """A progress callback that does something at the first sign of life."""
    left = [action]

    def progress(video_s: float) -> None:
        if left:
            left.pop()()

    return progress


def test_answers_and_keeps_its_child(sandbox: Sandbox, short: Path) -> None:
    pid = child().pid
    assert packets(sandbox, short) == 10
    assert child().pid == pid


def test_tables_come_back(sandbox: Sandbox, short: Path) -> None:
    header, tables = sandbox.call("analyze", analysis(sandbox, short))
    assert header["decode"]["frames"] == tables["signals"].num_rows == 10


def test_raised_error_carries_class_message_and_trace(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no film")
    with pytest.raises(ChildRaisedError, match="no readable video container") as caught:
        packets(sandbox, tmp_path / "notes.mp4")
    assert caught.value.kind == "MediaError"
    assert "open_media" in caught.value.trace
    assert caught.value.number is None


def test_raised_system_error_carries_its_number(sandbox: Sandbox, short: Path, tmp_path: Path) -> None:
    request = analysis(sandbox, short)
    request["source"]["path"] = f"memory://{tmp_path}/gone.mp4"
    with pytest.raises(ChildRaisedError) as caught:
        sandbox.call("analyze", request)
    assert caught.value.kind == "FileNotFoundError"
    assert packets(sandbox, short) == 10


def test_crash_is_named_and_survived(sandbox: Sandbox, short: Path, long: Path) -> None:
    request = analysis(sandbox, long)
    first = child().pid
    crash = once_at_work(lambda: os.kill(first, signal.SIGSEGV))
    with pytest.raises(ChildDiedError, match="SIGSEGV"):
        sandbox.call("analyze", request, progress=crash)
    assert packets(sandbox, short) == 10
    assert child().pid != first


def test_hang_ends_at_the_stall_limit(sandbox: Sandbox, short: Path, long: Path) -> None:
    request = analysis(sandbox, long)
    first = child()
    sandbox._stall_s = 2
    began: list[float] = []

    def stop() -> None:
        first.suspend()
        began.append(time.monotonic())

    with pytest.raises(ChildDiedError, match="no progress for 2 s"):
        sandbox.call("analyze", request, progress=once_at_work(stop))
    assert 1.5 < time.monotonic() - began[0] < 10
    assert not first.is_running()
    # The new child's start takes longer than this stall limit on a busy machine.
    sandbox._stall_s = STALL_S
    assert packets(sandbox, short) == 10


def test_child_that_does_not_listen_is_a_hang_too(sandbox: Sandbox, short: Path) -> None:
    """A request larger than the pipe must not wait for ever for somebody to read it."""
    first = child()
    first.suspend()
    large = {"rows": pa.table({"x": pa.array(range(1_000_000))})}
    sandbox._stall_s = 1
    with pytest.raises(ChildDiedError, match="no progress for 1 s"):
        sandbox.call("probe", {"path": str(short)}, large)
    assert not first.is_running()
    sandbox._stall_s = STALL_S
    assert packets(sandbox, short) == 10


def test_deadline(sandbox: Sandbox, short: Path, long: Path) -> None:
    request = analysis(sandbox, long)
    began = time.monotonic()
    with pytest.raises(ChildDiedError, match="longer than its deadline"):
        sandbox.call("analyze", request, deadline_s=0.7)
    assert time.monotonic() - began < 10
    assert packets(sandbox, short) == 10


def test_signs_of_life_tell_how_far_the_work_is(sandbox: Sandbox, long: Path) -> None:
    request = analysis(sandbox, long)
    heard: list[float] = []
    sandbox.call("analyze", request, progress=heard.append)
    assert heard
    assert heard == sorted(heard)
    assert 0 <= heard[0] < heard[-1] < 25


def test_memory_limit(short: Path, tmp_path: Path) -> None:
    """A picture that needs more than the cap is out of memory, and not taken for a damaged one."""
    path = film(tmp_path / "bomb.mov", steady(3), codec="png", pix_fmt="rgba")
    source = {"source_id": "s" * 32, "path": str(path), **probe(str(path))}
    size = struct.pack(">II", WIDTH, HEIGHT)
    path.write_bytes(path.read_bytes().replace(b"IHDR" + size, b"IHDR" + struct.pack(">II", 16000, 16000)))
    sandbox = Sandbox(memory_gib=0.5, stall_s=60)
    with pytest.raises(ChildDiedError, match=r"memory limit of 0\.5 GiB"):
        sandbox.call("analyze", {"source": source, "probes": {"signals": {}}, "interval": WHOLE})
    assert packets(sandbox, short) == 10
    sandbox.close()


def test_interrupted_call_leaves_no_half_answer(sandbox: Sandbox, short: Path, long: Path) -> None:
    """As when a worker is told to stop in the middle of a task."""
    request = analysis(sandbox, long)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sandbox.call("analyze", request, progress=once_at_work(interrupt))
    assert packets(sandbox, short) == 10


def test_what_libraries_print_is_no_answer(sandbox: Sandbox, footage: Path) -> None:
    for name in ("corrupted.mp4", "failing_audio.mp4", "unordered.mov"):
        assert packets(sandbox, footage / "footage/broken" / name) > 0


def test_a_sandbox_for_each_thread(short: Path) -> None:
    mine = for_this_thread(4, 60)
    assert for_this_thread(4, 60) is mine
    assert packets(mine, short) == 10
    theirs: list[Sandbox] = []

    def other() -> None:
        theirs.append(for_this_thread(4, 60))
        assert packets(theirs[0], short) == 10
        theirs[0].close()

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert theirs[0] is not mine
    mine.close()


PARENT = """
import sys, time
from curate.media.probe import probe
from curate.sandbox import Sandbox
box = Sandbox(4, 60)
box.call("probe", {"path": sys.argv[1]})
print(box._child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("at_work", [False, True])
def test_child_ends_when_its_parent_is_killed(short: Path, at_work: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(short)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        orphan = psutil.Process(int(parent.stdout.readline()))
        if at_work:
            orphan.suspend()  # so that it does not see its input end at once
        parent.kill()
        parent.wait()
        if at_work:
            time.sleep(0.2)
            orphan.resume()
        psutil.wait_procs([orphan], timeout=15)
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


def test_child_takes_no_code_from_where_the_user_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: Path
) -> None:
    (tmp_path / "pyarrow.py").write_text("raise SystemExit('taken from the current folder')")
    monkeypatch.chdir(tmp_path)
    sandbox = Sandbox(4, 60)
    assert packets(sandbox, short) == 10
    sandbox.close()
