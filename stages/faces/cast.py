"""A cast: a folder with photos of people, `NAME.jpg` or `NAME/….jpg`, read into embeddings.

A photo that could put a wrong name on a face is refused, all of them at once, each with its file and its cure. The
files are other people's: only three formats are opened, and only up to a size.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from stages.faces import detect
from stages.faces.clusters import distances
from stages.faces.detect import Detector
from stages.faces.look import Bounds, Look

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
OTHER_PICTURES = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jxl", ".tif", ".tiff")
_FORMATS = ("JPEG", "PNG", "WEBP")
MOST_BYTES, MOST_PIXELS = 30 << 20, 80_000_000
"""Of a photo: beyond any camera's JPEG of 24 megapixels; it takes 240 MB as pixels."""
MOST_PHOTOS = 2000
"""Of a cast: 1000 people with two photos each take 4 min to read."""
SIDES = (640, 1280, 320)
"""Long sides, px, at which a face is looked for, in this order: the detector knows faces of 10 to 300 px best."""
LEAST_SCORE = 0.7
BOUNDS = Bounds(size_px=24, sharpness=0.06, frontality=-0.5)
"""What a photo must come up to: a little blur and a head turned a little are less harm than a name without a photo."""
SECOND = 0.5
"""Side of a second face over the first's from which the photo does not say who is meant."""
TWINS = 0.35
"""Distance up to which photos of two names show one person: of LFW's pairs of different people hardly one in 10 000 is
so near, and half of those of one person are."""
_CURE = "crop it to the one face"


class CastError(ValueError):
    """A cast that cannot be used; the message has a line a fault, with the file and the cure."""


@dataclass(frozen=True)
class Cast:
    """Photos as embeddings (photos, 128), and the name that each belongs to."""

    names: tuple[str, ...]
    owners: tuple[int, ...]
    embeddings: np.ndarray

    def apart(self, embedding: np.ndarray) -> np.ndarray:
        """Distance (names,) of a face (128,) to each name's nearest photo."""
        to_photos = np.linalg.norm(self.embeddings - embedding, axis=1)
        nearest = np.full(len(self.names), np.inf)
        np.minimum.at(nearest, list(self.owners), to_photos)
        return nearest


def photos(folder: str | Path) -> dict[str, list[Path]]:
    """The photos by name, both in order.

    Raises:
        CastError: there are none, too many, one of another format or too large, or two names that differ in case only.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise CastError(f"{root}: no such folder; give a folder with NAME.jpg or NAME/*.jpg for each person")
    by_name: dict[str, list[Path]] = {}
    faults: list[str] = []
    for name, path in _files(root):
        if path.suffix.lower() in OTHER_PICTURES:
            faults.append(f"{path}: {path.suffix} is not read; convert it to JPEG, PNG or WebP")
        elif path.suffix.lower() in SUFFIXES:
            by_name.setdefault(name, []).append(path)
            if path.stat().st_size > MOST_BYTES:
                faults.append(f"{path}: {path.stat().st_size >> 20} MB are no photo of a face; make it smaller")
    for name in set(by_name):
        if same := [other for other in by_name if other.casefold() == name.casefold() and other < name]:
            faults.append(f"{root}: {same[0]!r} and {name!r} are one name in different letters; rename one")
    if sum(map(len, by_name.values())) > MOST_PHOTOS:
        faults.append(f"{root}: more than {MOST_PHOTOS} photos; a few of each person who may be seen are enough")
    if not by_name and not faults:
        faults.append(f"{root}: holds no photo; put NAME.jpg or NAME/*.jpg there for each person")
    if faults:
        raise CastError("\n".join(sorted(faults)))
    return by_name


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """(name, file) of everything that may be a photo."""
    for entry in sorted(root.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from (
                (entry.name, path) for path in sorted(entry.iterdir()) if path.is_file() and path.name[0] != "."
            )
        elif entry.is_file():
            yield entry.stem, entry


def digest(folder: str | Path) -> str:
    """SHA-256 of the photos and their names, by which it is known that a cast has changed.

    Raises:
        CastError: as `photos`.
    """
    whole = hashlib.sha256()
    for name, paths in photos(folder).items():
        for path in paths:
            whole.update(f"{name}\n{path.name}\n".encode())
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def read(folder: str, sha256: str, detector: Detector, progress: Callable[[], None]) -> Cast:
    """The cast in a folder. A photo takes about 0.15 s the first time, later ones of the process nothing.

    Args:
        sha256: the state that the folder must be in.
        detector: who finds the faces.
        progress: called after each photo.

    Raises:
        CastError: it is in another, or a photo is unreadable, shows no face or several that may be meant, or two names
            have one face.
    """
    if digest(folder) != sha256:
        raise CastError(
            f"{folder}: the cast is not the one that the recipe was read with; run again without cast_sha256 in it"
        )
    names, owners, embeddings, files, faults = [], [], [], [], []
    for name, paths in photos(folder).items():
        names.append(name)
        for path in paths:
            try:
                embeddings.append(_embedded(path, hashlib.sha256(path.read_bytes()).digest(), detector))
            except CastError as fault:
                faults.append(str(fault))
                continue
            finally:
                progress()
            owners.append(len(names) - 1)
            files.append(path)
    if embeddings:
        apart = distances(np.array(embeddings))
        faults += [
            f"{files[a]} and {files[b]}: two names, {names[owners[a]]!r} and {names[owners[b]]!r}, for one face "
            f"({apart[a, b]:.2f} apart); take one away"
            for a, b in zip(*np.nonzero(np.triu(apart < TWINS, 1)), strict=True)
            if owners[a] != owners[b]
        ]
    if faults:
        raise CastError("\n".join(faults))
    return Cast(tuple(names), tuple(owners), np.array(embeddings))


@lru_cache(maxsize=MOST_PHOTOS)
def _embedded(path: Path, sha256: bytes, detector: Detector) -> np.ndarray:
    """The embedding of a photo's face; `sha256` tells states of the file apart."""
    return _face(path, detector).embedding


def _face(path: Path, detector: Detector) -> Look:
    """The one face of a photo."""
    whole = _opened(path)
    fault = f"{path}: shows no face that can be found; give a photo from the front, the face 60 px wide or more"
    for side in SIDES:
        picture = whole.copy()
        picture.thumbnail((side, side))
        rgb = np.asarray(picture)
        boxes = detect.found(rgb, detector, LEAST_SCORE, BOUNDS.size_px, 50)
        seen = sorted((Look(rgb, box) for box in boxes), key=lambda look: -look.box.side)
        able = [look for look in seen if BOUNDS.fault(look) is None]
        if not able:
            if seen and side == SIDES[0]:
                fault = f"{path}: its face cannot be recognised ({BOUNDS.fault(seen[0])}); give another photo"
            continue
        if len(able) > 1 and able[1].box.side > SECOND * able[0].box.side:
            raise CastError(f"{path}: shows {len(able)} faces, so it does not say who is meant; {_CURE}")
        return able[0]
    raise CastError(fault)


def _opened(path: Path) -> Image.Image:
    """A photo, upright, in RGB; where it is transparent, grey."""
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=_FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise CastError(f"{path}: {image.width} x {image.height} px are too large; make it smaller")
            image.draft("RGB", (2 * max(SIDES), 2 * max(SIDES)))  # a JPEG is decoded at a fraction of its size
            turned = ImageOps.exif_transpose(image).convert("RGBA")
    except CastError:
        raise
    except Exception as error:  # Pillow raises errors of many kinds for damaged files
        raise CastError(f"{path}: cannot be read as a photo ({error}); save it again as JPEG or PNG") from error
    ground = Image.new("RGBA", turned.size, (128, 128, 128, 255))
    return Image.alpha_composite(ground, turned).convert("RGB")
