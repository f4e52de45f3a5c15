"""Plants defects in real takes, at a strength and a seed, and encodes the result: the truth of `planted.py`.

A planter takes the pictures of a take and returns those with the defect. Everything random comes from the generator
that it is given, so a seed names one film for good.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Pictures = list[np.ndarray]
"""(rows, columns, 3) uint8 each, BGR, all of one size."""


@dataclass(frozen=True)
class Film:
    """Pictures at a constant rate, and where the defect is."""

    pictures: Pictures
    fps: Fraction
    box: tuple[float, float, float, float] | None = None
    """x0, y0, x1, y1 of what was put on, or of the picture that borders leave; 0 to 1."""


Planter = Callable[[Film, float, np.random.Generator], Film]


@dataclass(frozen=True)
class Defect:
    """A kind of defect: how it is planted and how strongly."""

    plant: Planter
    unit: str
    """What a strength counts."""
    chosen_on: tuple[float, ...]
    """Strengths on which thresholds are chosen."""
    judged_on: tuple[float, ...]
    """Strengths on which they are judged."""


def load(take: Path, long_side: int, seconds: float, start_s: float = 0.0) -> Film:
    """The pictures of a take from `start_s` on, shrunk to `long_side` px (never enlarged), sides even."""
    pictures: Pictures = []
    with av.open(str(take)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        fps = stream.average_rate or Fraction(25)
        for decoded in container.decode(stream):
            if decoded.time is not None and decoded.time < start_s:
                continue
            if len(pictures) >= seconds * fps:
                break
            scale = min(1.0, long_side / max(decoded.width, decoded.height))
            width, height = (max(2, round(side * scale / 2) * 2) for side in (decoded.width, decoded.height))
            pictures.append(decoded.reformat(width, height, "bgr24", interpolation="AREA").to_ndarray())
    return Film(pictures, Fraction(fps).limit_denominator(1001))


def write(
    film: Film,
    out: Path,
    crf: int = 21,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
) -> None:
    """Encode a film, silent."""
    with av.open(str(out), "w") as box:
        given = {"crf": str(crf), "preset": "veryfast"} if codec == "libx264" else {}
        stream = box.add_stream(codec, rate=film.fps, options=given | (options or {}))
        height, width = film.pictures[0].shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        for picture in film.pictures:
            box.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "bgr24")))
        box.mux(stream.encode(None))


def _each(film: Film, change: Callable[[np.ndarray], np.ndarray]) -> Film:
    return Film([change(picture) for picture in film.pictures], film.fps)


def letterbox(film: Film, strength: float, rng: np.random.Generator) -> Film:
    """Black bars above and below, each `strength` of the height, over the picture."""
    return _bars(film, 0, strength, rng)


def pillarbox(film: Film, strength: float, rng: np.random.Generator) -> Film:
    """Black bars left and right, each `strength` of the width, over the picture."""
    return _bars(film, 1, strength, rng)


def _bars(film: Film, axis: int, strength: float, rng: np.random.Generator) -> Film:
    side = film.pictures[0].shape[axis]
    bar = max(2, round(strength * side / 2) * 2)
    level = int(rng.integers(0, 6))

    def covered(picture: np.ndarray) -> np.ndarray:
        picture = picture.copy()
        lines = picture.swapaxes(0, axis)
        lines[:bar] = lines[-bar:] = level
        return picture

    left = (0.0, bar / side, 1.0, 1 - bar / side)
    return Film([covered(p) for p in film.pictures], film.fps, left if axis == 0 else (left[1], 0.0, left[3], 1.0))


def blurred_sides(film: Film, strength: float, rng: np.random.Generator) -> Film:
    """The middle of the picture between sides, each `strength` of the width, that are its own blurred enlargement."""
    height, width = film.pictures[0].shape[:2]
    bar = round(strength * width / 2) * 2
    inner = width - 2 * bar

    def filled(picture: np.ndarray) -> np.ndarray:
        middle = picture[:, bar : bar + inner]
        rows = round(height * inner / width)
        behind = cv2.resize(middle[(height - rows) // 2 : (height + rows) // 2], (width, height))
        behind = cv2.GaussianBlur(behind, (0, 0), width / 40)
        behind[:, bar : bar + inner] = middle
        return behind

    return Film([filled(p) for p in film.pictures], film.fps, (bar / width, 0.0, 1 - bar / width, 1.0))


def blur(film: Film, strength: float, rng: np.random.Generator) -> Film:
    """Out of focus: a Gaussian of `strength` px on a picture 640 px wide."""
    sigma = strength * max(film.pictures[0].shape[:2]) / 640
    return _each(film, lambda picture: cv2.GaussianBlur(picture, (0, 0), sigma))


def motion_blur(film: Film, strength: float, rng: np.random.Generator) -> Film:
    """Smeared along a line of `strength` px on a picture 640 px wide, across, up or aslant."""
    length = max(2, round(strength * max(film.pictures[0].shape[:2]) / 640))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.choice([0, 0, 90, 45])
    kernel[length // 2] = 1
    if angle == 90:
        kernel = kernel.T.copy()
    if angle == 45:
        kernel = np.eye(length, dtype=np.float32)
    return _each(film, lambda picture: cv2.filter2D(picture, -1, kernel / kernel.sum()))


def frozen(film: Film, strength: float, rng: np.random.Generator) -> Film:
    """One picture stands for `strength` seconds while the clock runs on."""
    held = round(strength * film.fps)
    room = len(film.pictures) - held - 2
    at = int(rng.integers(room // 4, max(room // 4 + 1, 3 * room // 4)))
    pictures = film.pictures[:at] + [film.pictures[at]] * held + film.pictures[at + held :]
    return Film(pictures, film.fps)


def flicker(film: Film, strength: float, rng: np.random.Generator) -> Film:
    """Light that swings by `strength` of its own, up and down: as a wave of 3 to 11 Hz or at random in each picture."""
    count, fps = len(film.pictures), float(film.fps)
    if rng.random() < 0.3:
        wave = rng.uniform(-1, 1, count)
    else:
        hertz = rng.uniform(3, min(11, 0.45 * fps))
        wave = np.sin(2 * math.pi * hertz * np.arange(count) / fps + rng.uniform(0, 6))
    gains = 1 + strength * wave
    return Film([cv2.convertScaleAbs(p, alpha=g) for p, g in zip(film.pictures, gains, strict=True)], film.fps)


PATTERNS: tuple[tuple[int, ...], ...] = ((2,), (2, 1, 1, 1), (3, 2), (2, 1), (3,), (2, 2, 1))
"""How long each picture in turn stands: doubled, every fourth doubled (24 in 30), 3:2 (24 in 60), ..."""


def doubled(film: Film, strength: float, rng: np.random.Generator) -> Film:
    """Pictures repeated in a pattern, the number `strength` of `PATTERNS`; the rate rises so that motion keeps its
    speed."""
    pattern = PATTERNS[int(strength)]
    turns = [pattern[n % len(pattern)] for n in range(len(film.pictures))]
    pictures = [p for p, times in zip(film.pictures, turns, strict=True) for _ in range(times)]
    return Film(pictures, film.fps * Fraction(sum(pattern), len(pattern)))


def over_exposed(film: Film, strength: float, rng: np.random.Generator) -> Film:
    """A gain under which `strength` of the area of the film's pictures is blown white."""
    some = np.stack([cv2.cvtColor(p, cv2.COLOR_BGR2GRAY) for p in film.pictures[:: max(1, len(film.pictures) // 8)]])
    gain = 258 / max(1.0, float(np.quantile(some, 1 - strength)))
    return _each(film, lambda picture: cv2.convertScaleAbs(picture, alpha=max(1.0, gain)))


def under_exposed(film: Film, strength: float, rng: np.random.Generator) -> Film:
    """An offset under which `strength` of the area is crushed to black."""
    some = np.stack([cv2.cvtColor(p, cv2.COLOR_BGR2GRAY) for p in film.pictures[:: max(1, len(film.pictures) // 8)]])
    off = float(np.quantile(some, strength))
    return _each(film, lambda picture: cv2.subtract(picture, np.full_like(picture, round(off))))


def noise(film: Film, strength: float, rng: np.random.Generator) -> Film:
    """Sensor noise of standard deviation `strength` grey levels."""
    height, width = film.pictures[0].shape[:2]
    grain = rng.normal(0, strength, (height + 64, width + 64)).astype(np.float32)

    def grainy(picture: np.ndarray) -> np.ndarray:
        y, x = rng.integers(0, 64, 2)
        return np.clip(picture + grain[y : y + height, x : x + width, None], 0, 255).astype(np.uint8)

    return _each(film, grainy)


def upscaled(film: Film, strength: float, rng: np.random.Generator) -> Film:
    """Shrunk to `strength` of its size and enlarged again."""
    height, width = film.pictures[0].shape[:2]
    small = (round(width * strength), round(height * strength))
    how = int(rng.choice([cv2.INTER_CUBIC, cv2.INTER_LINEAR, cv2.INTER_LANCZOS4]))
    return _each(
        film,
        lambda p: cv2.resize(cv2.resize(p, small, interpolation=cv2.INTER_AREA), (width, height), interpolation=how),
    )


def interlaced(film: Film, strength: float, rng: np.random.Generator) -> Film:
    """The lines of two pictures in one, in `strength` of the pictures."""
    pictures = []
    for now, then in zip(film.pictures, [*film.pictures[1:], film.pictures[-1]], strict=True):
        woven = now.copy()
        if rng.random() < strength:
            woven[1::2] = then[1::2]
        pictures.append(woven)
    return Film(pictures, film.fps)


def screen(film: Film, strength: float, rng: np.random.Generator) -> Film:
    """A screen recording: the take plays in a window of `strength` of the width amid still panels, text and lines."""
    height, width = film.pictures[0].shape[:2]
    page = np.full((height, width, 3), 250 if rng.random() < 0.5 else 32, np.uint8)
    ink = 30 if page[0, 0, 0] > 128 else 225
    canvas = Image.fromarray(page)
    draw = ImageDraw.Draw(canvas)
    size = max(8, height // 28)
    font = ImageFont.load_default(size)
    draw.rectangle((0, 0, width, int(size * 1.8)), fill=tuple(int(v) for v in rng.integers(40, 220, 3)))
    for y in range(2 * size, height, int(1.5 * size)):
        line = " ".join(rng.choice(WORDS, 14))
        draw.text((size // 2, y), line, fill=(ink,) * 3, font=font)
    for y in (height // 3, 2 * height // 3):
        draw.line((0, y, width, y), fill=(128,) * 3, width=1)
    page = np.asarray(canvas)
    inner = (round(width * strength / 2) * 2, round(height * strength / 2) * 2)
    x = int(rng.integers(0, width - inner[0] + 1))
    y = int(rng.integers(min(2 * size, height - inner[1]), height - inner[1] + 1))

    def shown(picture: np.ndarray) -> np.ndarray:
        whole = page.copy()
        whole[y : y + inner[1], x : x + inner[0]] = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA)
        return whole

    box = (x / width, y / height, (x + inner[0]) / width, (y + inner[1]) / height)
    return Film([shown(p) for p in film.pictures], film.fps, box)


def watermark(film: Film, strength: float, rng: np.random.Generator) -> Film:
    """A still logo, a ring and a word, in a corner: `strength` opaque, 12 to 22 % of the width long."""
    height, width = film.pictures[0].shape[:2]
    long = max(80, round(width * rng.uniform(0.12, 0.22)))
    tall = max(14, long // 4)
    mask = Image.new("L", (long, tall), 0)
    draw = ImageDraw.Draw(mask)
    draw.ellipse((1, 1, tall - 2, tall - 2), outline=255, width=max(2, tall // 7))
    draw.ellipse((tall // 3, tall // 3, tall - tall // 3, tall - tall // 3), fill=255)
    word = str(rng.choice(("STOCK", "clipio", "Kanal 8", "vidbay")))
    draw.text((tall + 3, tall // 10), word, fill=255, font=ImageFont.load_default(tall * 0.7))
    alpha = np.asarray(mask, np.float32)[..., None] / 255 * strength
    margin = max(4, width // 40)
    x = margin if rng.random() < 0.5 else width - margin - long
    y = margin if rng.random() < 0.5 else height - margin - tall
    colour = 255.0 if rng.random() < 0.7 else float(rng.integers(150, 230))

    def marked(picture: np.ndarray) -> np.ndarray:
        picture = picture.copy()
        under = picture[y : y + tall, x : x + long]
        under[:] = np.rint(under * (1 - alpha) + colour * alpha).astype(np.uint8)
        return picture

    box = (x / width, y / height, (x + long) / width, (y + tall) / height)
    return Film([marked(p) for p in film.pictures], film.fps, box)


WORDS = tuple(
    "the a we you they when where light house water never before again after morning window people slowly "
    "remember answer somebody river garden quiet over about nothing always train letter".split()
)


def subtitles(film: Film, strength: float, rng: np.random.Generator) -> Film:
    """Burnt-in subtitles, a new line every two to four seconds with short pauses; letters `strength` of the height."""
    height, width = film.pictures[0].shape[:2]
    font = ImageFont.load_default(max(11.0, strength * min(height, width)))
    fill = (255, 255, 255) if rng.random() < 0.7 else (0, 230, 255)
    pictures, until, layer = [], 0.0, None
    bottom, tops = height - max(4, round(0.05 * height)), []
    for number, picture in enumerate(film.pictures):
        at_s = number / film.fps
        if at_s >= until:
            pause = layer is not None and rng.random() < 0.4
            layer = None if pause else _line(width, height, bottom, font, fill, rng)
            until = at_s + (0.5 if pause else rng.uniform(2, 4))
        if layer is not None:
            text, alpha, top = layer
            tops.append(top)
            picture = np.rint(picture * (1 - alpha) + text * alpha).astype(np.uint8)
        pictures.append(picture)
    return Film(pictures, film.fps, (0.0, min(tops) / height, 1.0, bottom / height))


def _line(
    width: int,
    height: int,
    bottom: int,
    font: ImageFont.FreeTypeFont,
    fill: tuple[int, int, int],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, int]:
    """A line of words in the middle of the lower edge: its colours, its opacity, the row where it begins."""
    words: list[str] = []
    for word in rng.permutation(WORDS)[: rng.integers(4, 8)]:
        if font.getlength(" ".join([*words, word])) > 0.9 * width:
            break
        words.append(str(word))
    line = " ".join(words).capitalize()
    canvas = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    outline = max(1, round(font.size / 12))
    x, y = (width - font.getlength(line)) / 2, bottom - 1.3 * font.size
    ImageDraw.Draw(canvas).text((x, y), line, fill=(*fill, 255), font=font, stroke_width=outline, stroke_fill="black")
    drawn = np.asarray(canvas, np.float32)
    return drawn[..., :3], drawn[..., 3:] / 255, int(y)


DEFECTS: dict[str, Defect] = {
    "letterbox": Defect(letterbox, "of the height each", (0.06, 0.13), (0.05, 0.09, 0.12)),
    "pillarbox": Defect(pillarbox, "of the width each", (0.06, 0.2), (0.05, 0.125, 0.25)),
    "blur": Defect(blur, "px of 640", (3.0, 5.0), (2.5, 4.0, 6.0)),
    "frozen": Defect(frozen, "s", (1.0, 2.5), (0.8, 1.5, 3.0)),
    "flicker": Defect(flicker, "of the light", (0.04, 0.08), (0.03, 0.06, 0.12)),
    "doubled frames": Defect(doubled, "pattern", (0, 1, 4), (0, 1, 2, 3, 5)),
    "watermark": Defect(watermark, "opacity", (0.4, 0.8), (0.35, 0.6, 0.9)),
    "subtitles": Defect(subtitles, "of the short side", (0.06, 0.09), (0.05, 0.07, 0.1)),
    "over-exposure": Defect(over_exposed, "of the area", (0.3, 0.5), (0.25, 0.4, 0.6)),
    "under-exposure": Defect(under_exposed, "of the area", (0.4,), (0.25, 0.5)),
    "motion blur": Defect(motion_blur, "px of 640", (12,), (10, 18)),
    "noise": Defect(noise, "grey levels", (10,), (8, 16)),
    "blurred sides": Defect(blurred_sides, "of the width each", (0.25,), (0.18, 0.33)),
    "upscaled": Defect(upscaled, "of the size", (0.45,), (0.5, 0.35)),
    "interlaced": Defect(interlaced, "of the pictures", (0.8,), (0.6, 1.0)),
    "screen recording": Defect(screen, "of the width", (0.5,), (0.4, 0.65)),
}


def planted(film: Film, name: str, strength: float, seed: Sequence[int]) -> Film:
    """The film with the defect `name` in it."""
    return DEFECTS[name].plant(film, strength, np.random.default_rng(list(seed)))


def takes(footage: Path) -> Iterator[Path]:
    """The real takes, in order."""
    yield from sorted(p for p in (footage / "takes").iterdir() if p.suffix in {".mp4", ".mkv", ".avi"})
