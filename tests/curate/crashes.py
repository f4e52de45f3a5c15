"""Runs that are killed in front of one chosen operation on the dataset's files, for the tests of crashes."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
from engine import RECIPE

SETTINGS = (
    "takes.min_s=1",
    "screen.rules={}",
    "select.rules={}",
    "clips.preset=ultrafast",
    "flow.fps=1",
    "limits.interval_s=10",
)
FPS = 6
"""Pictures a second of the films: few, since each is looked at in every run."""


def film(source: Path, target: Path, seconds: float) -> None:
    """The beginning of a film, small, with a key frame a second."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = made.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.gop_size = FPS
        stream.options = {"preset": "ultrafast", "threads": "1"}
        number = 0
        for frame in given.decode(video=0):
            if frame.time is None or frame.time * FPS < number:
                continue
            small = frame.reformat(160, 96, "yuv420p")
            small.pts, small.time_base = number, Fraction(1, FPS)
            made.mux(stream.encode(small))
            number += 1
            if number >= seconds * FPS:
                break
        made.mux(stream.encode())


def footage(shared: Path, folder: Path) -> Path:
    """A film that is analysed in intervals, and a file that is none."""
    folder.mkdir(parents=True, exist_ok=True)
    film(shared / "footage/takes/dj2.mp4", folder / "film.mp4", 23)
    (folder / "text.mp4").write_text("this is no video")
    return folder


def attempt(
    films: Path, output: Path, count: Path, kill_at: int = 0, copies: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """One run of the command, killed with all its processes before operation number `kill_at` (from 1; 0: never).

    Args:
        count: where the operations are listed, one a line.
        copies: where a copy of the dataset, as it is before each operation, is left under the operation's number.
    """
    count.unlink(missing_ok=True)
    words = [sys.executable, "-m", "curate.cli", "run", RECIPE, "-i", str(films), "-o", str(output), "--workers", "1"]
    words += [word for setting in SETTINGS for word in ("--set", setting)]
    killer, path = str(Path(__file__).with_name("killer")), os.environ.get("PYTHONPATH")
    surroundings = os.environ | {
        "PYTHONPATH": f"{killer}{os.pathsep}{path}" if path else killer,
        "KILL_BELOW": str(output),
        "KILL_COUNT": str(count),
        "KILL_AT": str(kill_at),
        "KILL_COPIES": str(copies or ""),
    }
    return subprocess.run(words, env=surroundings, start_new_session=True, capture_output=True, text=True)


def operations(count: Path) -> list[str]:
    """The operations of the last attempt."""
    return count.read_text().splitlines()
