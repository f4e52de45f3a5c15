"""Scratch folders go with who made them, or with the next who makes one."""

import os
import subprocess
import sys

HOLD = "from curate.scratch import scratch_folder\nwith scratch_folder() as f: print(f, flush=True); input()"
USE = "from curate.scratch import scratch_folder\nwith scratch_folder() as f: (f / 'clip.mp4').write_bytes(b'x')"


def python(code, folder, **options):
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(folder)}, **options)


def test_what_a_killed_process_left_is_removed_and_a_living_one_s_is_not(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    killed, alive = python(HOLD, tmp_path, **pipes), python(HOLD, tmp_path, **pipes)
    with killed, alive:
        left, held = killed.stdout.readline().strip(), alive.stdout.readline().strip()
        killed.kill()
        killed.wait()
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (tmp_path / "longtake-link").symlink_to(elsewhere)
        assert python(USE, tmp_path).wait() == 0
        assert not os.path.exists(left)
        assert os.path.isdir(held)
        assert elsewhere.is_dir()
        alive.communicate("\n")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["elsewhere", "longtake-link"]


def test_many_that_make_and_sweep_at_once_take_nothing_from_each_other(tmp_path):
    """Nobody's folder goes between its making and its locking, whatever the clock says."""
    loop = (
        "from curate import scratch\n"
        "for _ in range(30):\n"
        "    scratch._sweep.cache_clear()\n"
        "    with scratch.scratch_folder() as f: (f / 'clip.mp4').write_bytes(b'x'); assert (f / 'clip.mp4').exists()\n"
    )
    with python(loop, tmp_path) as one, python(loop, tmp_path) as other:
        assert one.wait() == other.wait() == 0
    assert not list(tmp_path.iterdir())
