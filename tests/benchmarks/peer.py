"""Longtake beside Data-Juicer, the peer that runs on a CPU: cut, measure motion, write every shot as a clip.

Both get the same film: 100 s of 1280x720 at 24 fps, twelve real takes with eleven hard cuts, no sound. Longtake runs
`all_shots.yaml`: with its own detector (`as it comes`), and with the content score
by which Data-Juicer cuts (`as theirs`), whose wrong cuts between key frames must be encoded. Data-Juicer runs
`video_split_by_scene_mapper` and `video_motion_score_filter` at their defaults, but for three things that make the work
the same: shots may be as short as a frame, no motion is too little, and in the row `as ours` x264 runs at veryfast, crf
20 (`as it comes` is medium, crf 23). The film encoded whole by x264 as ours would is a yardstick for the machine.
Counted are the CPU seconds of all processes, imports included, and the largest sum of their memory.

Data-Juicer needs ffmpeg, and an environment of its own, which is made in a temporary folder unless --peer-python
names one. It would install what it lacks while it runs; that is turned off. Aim: at most 20 CPU seconds for ours.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from films import cut_together, footage_root
from measure import Cost, run
from rich.console import Console
from rich.table import Table

PACKAGES = (
    "py-data-juicer==1.6.1",
    "scenedetect",
    "opencv-contrib-python",
    "av==13.1.0",
    "aiohttp",
    "torch",
    "torchvision",
)
NO_INSTALLS = {"UV_OFFLINE": "1", "PIP_NO_INDEX": "1"}
SHOT_S = 100 / 12
ENCODING = "-an -c:v libx264 -preset veryfast -crf 20"


def make_environment(folder: Path) -> Path:
    """The interpreter of a fresh environment with Data-Juicer and what the two operators need."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def ours(film: Path, folder: Path, detector: str) -> tuple[Cost, int]:
    """Cost, and the number of clips."""
    recipe = Path(__file__).with_name("all_shots.yaml")
    command = [str(Path(sys.executable).with_name("curate")), "run", str(recipe), "-i", str(film), "-o", str(folder)]
    cost = run([*command, "--workers", "1", "--set", f"cuts.detector={detector}"], folder.with_suffix(".log"))
    return cost, len(list((folder / "clips").rglob("*.mp4")))


def encoded(film: Path, out: Path) -> Cost:
    """What decoding the film and encoding it whole on one thread costs."""
    command = [sys.executable, str(Path(__file__).with_name("one_encode.py")), str(film), str(out)]
    return run(command, out.with_suffix(".log"))


def data_juicer(python: Path, film: Path, folder: Path, encoding: str | None) -> tuple[Cost, int]:
    """Cost, and the number of clips."""
    folder.mkdir()
    rows = folder / "in.jsonl"
    rows.write_text(json.dumps({"text": "<__dj__video>", "videos": [str(film)]}))
    split: dict[str, Any] = {"min_scene_len": 1, "save_dir": str(folder / "clips")}
    if encoding:
        split["ffmpeg_extra_args"] = encoding
    steps = [{"video_split_by_scene_mapper": split}, {"video_motion_score_filter": {"min_score": 0.0}}]
    plan = {"dataset_path": str(rows), "export_path": str(folder / "out" / "out.jsonl"), "process": steps}
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    command = [str(python.with_name("dj-process")), "--config", str(folder / "plan.yaml")]
    cost = run(command, folder.with_suffix(".log"), NO_INSTALLS)
    return cost, len(list((folder / "clips").glob("*.mp4")))


def main(
    footage: Annotated[Path | None, typer.Option(help="Folder of real footage.")] = None,
    peer_python: Annotated[Path | None, typer.Option(help="Interpreter of an environment with Data-Juicer.")] = None,
    peer: Annotated[bool, typer.Option(help="Whether to run Data-Juicer at all.")] = True,
    rounds: Annotated[int, typer.Option(help="Repetitions, in turns.")] = 3,
) -> None:
    if peer and not shutil.which("ffmpeg"):
        raise SystemExit("Data-Juicer splits with ffmpeg, which is not installed; or give --no-peer")
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        film = work / "film.mp4"
        takes = sorted((footage_root(footage) / "takes").iterdir())
        cut_together(takes, film, 1280, 720, SHOT_S)
        python = peer_python or (make_environment(work / "venv") if peer else Path())
        found: dict[str, list[tuple[Cost, int]]] = {}
        for number in range(rounds):
            for how, detector in (("as it comes", "cascade"), ("as theirs", "content")):
                folder = work / f"ours-{detector}-{number}"
                found.setdefault(f"Longtake, {how}", []).append(ours(film, folder, detector))
            found.setdefault("x264 alone", []).append((encoded(film, work / "encoded.mp4"), 1))
            for how, encoding in (("as ours", ENCODING), ("as it comes", None)) if peer else ():
                folder = work / f"{how.replace(' ', '-')}-{number}"
                found.setdefault(f"Data-Juicer, {how}", []).append(data_juicer(python, film, folder, encoding))
            for tool, runs in found.items():
                if runs[-1][0].code:
                    raise SystemExit(f"{tool} failed:\n" + "\n".join(p.read_text()[-2000:] for p in work.glob("*.log")))
    table = Table("tool", "clips", "CPU s (median)", "peak GiB (median)")
    for tool, runs in found.items():
        cpu_s, peak = (statistics.median(getattr(c, name) for c, _ in runs) for name in ("cpu_s", "peak_gib"))
        table.add_row(tool, str(runs[0][1]), f"{cpu_s:.1f}", f"{peak:.2f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
