"""Scratch folders go with who made them, or with the next who makes one."""

import os
import subprocess
import sys
import time

HOLD = "from curate.scratch import scratch_folder\nwith scratch_folder() as f: print(f, flush=True); input()"
USE = "from curate.scratch import scratch_folder\nwith scratch_folder() as f: (f / 'clip.mp4').write_bytes(b'x')"


def python(code, folder, **options):
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(folder)}, **options)


def aged(folder):
    os.utime(folder, (time.time() - 3600,) * 2)


def test_what_a_killed_process_left_is_removed_and_a_living_one_s_is_not(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    killed, alive = python(HOLD, tmp_path, **pipes), python(HOLD, tmp_path, **pipes)
    with killed, alive:
        left, held = killed.stdout.readline().strip(), alive.stdout.readline().strip()
        killed.kill()
        killed.wait()
        aged(left)
        aged(held)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (tmp_path / "longtake-link").symlink_to(elsewhere)
        assert python(USE, tmp_path).wait() == 0
        assert not os.path.exists(left)
        assert os.path.isdir(held)
        assert elsewhere.is_dir()
        alive.communicate("\n")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["elsewhere", "longtake-link"]
