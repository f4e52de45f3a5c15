"""Kills a whole process group in front of one chosen operation on files. Put this folder on PYTHONPATH.

Python tells an audit hook of every file that is about to be opened, renamed, removed or made, in whichever process;
those below `KILL_BELOW` are counted through in the file `KILL_COUNT`, and before number `KILL_AT` all are killed.
What is on disk before an operation is what was there after the one before it. With `KILL_COPIES` nothing is killed: a
copy of the folder, as it is before each operation, is left there under the operation's number.
"""

import fcntl
import os
import shutil
import signal
import sys

BELOW, COUNT, AT = os.environ.get("KILL_BELOW"), os.environ.get("KILL_COUNT"), int(os.environ.get("KILL_AT", "0"))
COPIES = os.environ.get("KILL_COPIES")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}


def changes(event, args):
    """Whether an event is about a change below the folder."""
    if event == "open":
        if not isinstance(args[2], int) or not args[2] & WRITING:
            return False
    elif event not in CHANGES:
        return False
    # A file may be moved in from elsewhere.
    named = args[:2] if event == "os.rename" else args[:1]
    names = [os.fsdecode(name) for name in named if isinstance(name, (str, bytes, os.PathLike))]
    if not any(f"{name}/".startswith(f"{BELOW}/") for name in names):
        return False
    # What is there is not made, and what is not there is not removed.
    return event not in ("os.mkdir", "os.remove") or os.path.lexists(args[0]) == (event == "os.remove")


def count(event, args):
    """Count one operation, and kill before the chosen one."""
    if not changes(event, args):
        return
    descriptor = os.open(COUNT, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, f"{event} {' '.join(map(str, args[:2]))}\n".encode())
        number = os.pread(descriptor, os.fstat(descriptor).st_size, 0).count(b"\n")
        if number == AT:
            os.kill(0, signal.SIGKILL)
        if COPIES and os.path.exists(BELOW):
            shutil.copytree(BELOW, f"{COPIES}/{number}")
    finally:
        os.close(descriptor)


if BELOW and COUNT:
    sys.addaudithook(count)
