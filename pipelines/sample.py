"""`curate sample DIR`: a film of about a minute and the truth about it, for a machine that has no video yet.

The first verb a newcomer types, before `curate run`. The film is rendered here, frame by frame, by
`pipelines.filmmaker`; `film.json` beside it says where every cut, take, flash and phrase is, so that what the pipeline
finds can be checked.
"""

import hashlib
import json
import os
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import av
import typer
from rich.console import Console
from rich.progress import Progress

from pipelines.filmmaker.encode import write_film
from pipelines.filmmaker.film import Film, Frame
from pipelines.filmmaker.storyboard import Storyboard, StoryboardError, bundled, read_storyboard
from pipelines.filmmaker.texture import FPS
from pipelines.filmmaker.voice import record

FILM, TRUTH = "film.mp4", "film.json"


class SampleError(Exception):
    """The film cannot be put where it was asked for; the message says what to do."""


def sample(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where film.mp4 and film.json go; made if missing.")],
    storyboard: Annotated[
        Path | None, typer.Option("--storyboard", help="Film this YAML file instead of the bundled storyboard.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Render again, over any film.mp4 and film.json.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Write a sample film of about a minute, rendered here, and the truth about its cuts and takes beside it."""
    try:
        board = read_storyboard(storyboard or bundled())
        started = time.monotonic()
        written = make_sample(directory, board, force=force, roll=_roll_with_progress)
    except (StoryboardError, SampleError) as error:
        _fail(str(error))
    except (OSError, av.FFmpegError) as error:
        reason = error.strerror or str(error)
        place = error.filename or directory
        _fail(
            f"cannot write the sample film: {place}: {reason}. Choose a directory that can be written, with 20 MB free."
        )
    frames = Film(board).frame_count
    following = ["curate", "run", "long_take", "-i", str(directory), "-o", "DATASET"]
    if json_output:
        paths = {"film": str(directory / FILM), "truth": str(directory / TRUTH)}
        typer.echo(json.dumps({**paths, "written": written, "frames": frames, "fps": FPS, "next": following}))
        return
    if written:
        took_s = time.monotonic() - started
        typer.echo(f"Wrote {directory / FILM} ({frames / FPS:.0f} s) and {directory / TRUTH} in {took_s:.0f} s.")
    else:
        typer.echo(f"{directory / FILM} is already there and whole: nothing to do (--force renders it again).")
    typer.echo(f"Next: {shlex.join(following)}")


def make_sample(
    directory: Path,
    storyboard: Storyboard,
    *,
    force: bool = False,
    roll: Callable[[Film], Iterable[Frame]] = Film.frames,
) -> bool:
    """Put the storyboard's film and truth into `directory`; False if the very same are there already.

    Both files are written under other names and renamed when whole, the truth last: it holds the film's hash. `roll`
    gives the film's frames, and may tell somebody how far it is. Raises SampleError if the directory holds another file
    called film.mp4, OSError or `av.FFmpegError` if writing fails.
    """
    if directory.exists() and not directory.is_dir():
        raise SampleError(f"{directory} is a file; name a directory for the sample film")
    directory.mkdir(parents=True, exist_ok=True)
    film_path, truth_path = directory / FILM, directory / TRUTH
    found = _truth_of(truth_path)
    if not force:
        if found and found.get("storyboard_sha256") == storyboard.digest and _is_whole(film_path, found):
            return False
        if not found and (film_path.exists() or truth_path.exists()):
            raise SampleError(
                f"{directory} has a {FILM} or {TRUTH} that `curate sample` did not write; --force replaces it"
            )
    film = Film(storyboard)
    sound, phrases = record(film)
    mark = f".{os.getpid()}.part"
    film_part, truth_part = directory / f".{FILM}{mark}", directory / f".{TRUTH}{mark}"
    try:
        write_film(film_part, roll(film), sound)
        truth = {
            **film.truth(),
            "speech": phrases,
            "storyboard_sha256": storyboard.digest,
            "film_sha256": _sha256(film_part),
        }
        truth_part.write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
        for part, path in ((film_part, film_path), (truth_part, truth_path)):
            _sync(part)
            part.replace(path)
    finally:
        film_part.unlink(missing_ok=True)
        truth_part.unlink(missing_ok=True)
    return True


def _roll_with_progress(film: Film) -> Iterator[Frame]:
    """The film's frames; on stderr a bar if a person looks on, else a line a take."""
    console = Console(stderr=True)
    if console.is_terminal:
        with Progress(console=console, transient=True) as bar:
            yield from bar.track(film.frames(), total=film.frame_count, description="Filming")
        return
    starts = {shot.start: shot.take for shot in film.shots}
    for number, frame in enumerate(film.frames()):
        if number in starts:
            take = starts[number]
            typer.echo(f"Filming {take.name} ({take.seconds:g} s), frame {number} of {film.frame_count}", err=True)
        yield frame


def _truth_of(path: Path) -> dict[str, Any]:
    """The truth file's content, or {} if there is none that this command wrote."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) and "storyboard_sha256" in content else {}


def _is_whole(film: Path, truth: dict[str, Any]) -> bool:
    return film.is_file() and _sha256(film) == truth.get("film_sha256")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Have the bytes on the disk before the name: a power cut must not leave an empty film.mp4."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _fail(message: str) -> NoReturn:
    typer.echo(f"curate sample: {message}", err=True)
    raise typer.Exit(1)
