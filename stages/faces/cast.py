"""The faces of a cast: its photos read into embeddings.

A photo that could put a wrong name on a face is refused, all of them at once, each with its file and its cure. The
files are other people's: only three formats are opened, and only up to a size.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from stages.faces import detect
from stages.faces.clusters import distances
from stages.faces.detect import Detector
from stages.faces.look import Bounds, Look
from stages.faces.members import MOST_PHOTOS, CastError, checked

_FORMATS = ("JPEG", "PNG", "WEBP")
MOST_PIXELS = 80_000_000
"""Of a photo: beyond any camera's of 24 megapixels; it takes 240 MB as pixels."""
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


@dataclass(frozen=True)
class Cast:
    """Photos as embeddings (photos, 128), and the name that each belongs to; and a portrait by name, JPEG."""

    names: tuple[str, ...]
    owners: tuple[int, ...]
    embeddings: np.ndarray
    portraits: tuple[bytes, ...] = ()

    def apart(self, embedding: np.ndarray) -> np.ndarray:
        """Distance (names,) of a face (128,) to each name's nearest photo."""
        to_photos = np.linalg.norm(self.embeddings - embedding, axis=1)
        nearest = np.full(len(self.names), np.inf)
        np.minimum.at(nearest, list(self.owners), to_photos)
        return nearest


def read(cast: str, sha256: str, detector: Detector, progress: Callable[[], None]) -> Cast:
    """The faces of a cast; of those who have no photo there are none. A photo takes about 0.15 s the first time, later
    ones of the process nothing.

    Args:
        cast: a folder or a table; see `members`.
        sha256: the state that it must be in.
        detector: who finds the faces.
        progress: called after each photo.

    Raises:
        CastError: it is in another, or a photo is unreadable, shows no face or several that may be meant, or two names
            have one face.
    """
    names, owners, embeddings, files, faults = [], [], [], [], []
    portraits: dict[int, bytes] = {}
    for member in checked(cast, sha256):
        if member.photos:
            names.append(member.name)
        for path in member.photos:
            label = f"{member.where}: {path}" if member.where else f"{path}"
            try:
                embedding, portrait = _embedded(path, hashlib.sha256(path.read_bytes()).digest(), detector)
            except CastError as fault:
                faults.append(f"{member.where}: {fault}" if member.where else str(fault))
                continue
            finally:
                progress()
            embeddings.append(embedding)
            portraits.setdefault(len(names) - 1, portrait)
            owners.append(len(names) - 1)
            files.append(label)
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
    return Cast(tuple(names), tuple(owners), np.array(embeddings), tuple(portraits[n] for n in range(len(names))))


@lru_cache(maxsize=MOST_PHOTOS)
def _embedded(path: Path, sha256: bytes, detector: Detector) -> tuple[np.ndarray, bytes]:
    """The embedding and the portrait of a photo's face; `sha256` tells states of the file apart."""
    face = _face(path, detector)
    return face.embedding, face.portrait()


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
