"""Films with the sound that a test needs, and the stage `speech` run on them without an engine."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pyarrow as pa

from curate.dataset import to_arrow
from curate.media.probe import probe
from curate.stage import Row
from curate.workspace import open_workspace
from schemas import sources, speech
from stages.speech.stage import Speech

PICTURE = ("-f", "lavfi", "-i", "color=c=gray:s=64x48:r=10")


def ffmpeg(*arguments: str | Path) -> None:
    """Run ffmpeg; its own complaint is the error's."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def film(to: Path, *sound: str | Path) -> Path:
    """A grey film of ten seconds at most with the sound that these arguments of ffmpeg make of the inputs from 1 on."""
    ffmpeg(*PICTURE, *sound, "-map", "0:v", "-c:v", "libx264", "-preset", "ultrafast", "-shortest", "-t", "10", to)
    return to


def source(path: Path) -> Row:
    known = {"source_id": "s", "path": str(path), "paths": [str(path)], "user": "{}"}
    return known | probe(str(path), sound_only=True)


def listen(path: Path, folder: Path, screened: pa.Table | None = None, **parameters: Any) -> list[Row]:
    """Rows of `speech` of a file, after a screening if there is one; without music and noise unless they are asked
    for."""
    stage = Speech(**({"transcriber": "none", "events": False} | parameters))
    with open_workspace(str(folder / "dataset")) as work:
        tables = {"sources": to_arrow(sources.SOURCES, [source(path)])}
        tables |= {} if screened is None else {"screening": screened}
        rows = list(stage.run(tables, work))  # type: ignore[arg-type]
    return to_arrow(speech.TABLE, rows).to_pylist()  # type: ignore[arg-type]
