"""Whether a caption contradicts what was measured in its span. What was not measured contradicts nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from stages.caption.checks.passage import Passage, letters
from stages.caption.facts import Facts

MOSTLY = 0.8
"""Share of a span in which the camera must be known for the caption to contradict it."""
LIKE = 0.75
"""Likeness (Ratcliff and Obershelp) from which a quote is the line that was read or heard: readers miss letters."""
SECONDS, SECONDS_SHARE = 0.6, 0.1
"""How far a told length may be off: captioners round."""

NUMBERS = {w: n for n, w in enumerate("zero one two three four five six seven eight nine ten eleven twelve".split())}
_COUNT = rf"(\d+|{'|'.join(NUMBERS)})"
_SHOTS = re.compile(
    rf"\b(?:video|part|film|footage|sequence|event|story|clip|it|scene)s?\b[^.;]{{0,40}}?\b"
    rf"(?:with|of|in|has|contains|across|into|over|comprises|includes)\s+{_COUNT}\s+"
    r"(?:different |distinct |separate )?shots\b"
)
_LASTS = re.compile(
    r"\b(?:(?:shot|video|clip|take|footage|part|film|sequence)\s+of\s+(\d+(?:\.\d+)?)\s+seconds?|"
    r"lasts?\s+(?:for\s+)?(?:about\s+|around\s+)?(\d+(?:\.\d+)?)\s+seconds?|"
    r"^(\d+(?:\.\d+)?)\s+seconds\s+of|(\d+(?:\.\d+)?)[\s-]seconds?[\s-](?:long\s+)?(?:shot|video|clip|take|footage))\b"
)
_STILL_CAMERA = re.compile(
    r"\b(?:camera|shot|view|framing)\s+(?:\w+ly\s+)?(?:stands?|remains?|stays?|is|holds?|keeps?)\s+"
    r"(?:completely |perfectly |entirely |mostly )?"
    r"(?:still|static|fixed|stationary|steady and still|motionless|locked)\b|"
    r"\b(?:static|fixed|stationary|locked-off|motionless) (?:camera|shot|tripod)\b"
)
_MOVES_CAMERA = re.compile(
    r"\bcamera\s+(?:then |now |slowly |gently |quickly |smoothly |steadily |gradually |continuously )*"
    r"(?:pans|tilts|zooms|moves|tracks|follows|rolls|pushes in|pulls back|dollies|orbits|glides|travels|shakes|"
    r"moves or zooms)\b|\b(?:panning|tilting|tracking|handheld|dolly|zooming) (?:shot|camera|movement)\b"
)
_DIRECTIONS = {
    "pan left": r"\bpan(?:s|ning)?\b(?: \w+ly)? (?:to the |from right to )?left\b",
    "pan right": r"\bpan(?:s|ning)?\b(?: \w+ly)? (?:to the |from left to )?right\b",
    "tilt up": r"\btilt(?:s|ing)?\b(?: \w+ly)? up(?:wards?)?\b",
    "tilt down": r"\btilt(?:s|ing)?\b(?: \w+ly)? down(?:wards?)?\b",
    "zoom in": r"\bzoom(?:s|ing)?\b(?: \w+ly)? in\b",
    "zoom out": r"\bzoom(?:s|ing)?\b(?: \w+ly)? out\b",
}
DIRECTIONS = {kind: re.compile(pattern) for kind, pattern in _DIRECTIONS.items()}
OPPOSITE = {
    a: b
    for pair in (("pan left", "pan right"), ("tilt up", "tilt down"), ("zoom in", "zoom out"))
    for a, b in (pair, pair[::-1])
}

_BRIGHT = re.compile(
    r"\bbrightly[- ]lit\b|\b(?:picture|scene|image|room|shot|lighting|light) (?:is|stays|remains) (?:very )?bright\b"
    r"(?! (?:red|blue|green))|"
    r"\b(?:bright|sun-drenched|sunlit|sunny|brilliant) "
    r"(?:scene|picture|image|daylight|sunlight|sunshine|lighting|day|shot|room)\b"
)
_DARK = re.compile(
    r"\bdimly[- ]lit\b|\b(?:picture|scene|image|room|shot|lighting|light) (?:is|stays|remains) "
    r"(?:very )?(?:dark|dim)\b|"
    r"\b(?:dark|dim|gloomy|pitch-black) (?:scene|picture|image|lighting|shot|night)\b|\bin (?:near )?darkness\b"
)
_GREY = re.compile(
    r"\bblack[- ]and[- ]white (?:shot|video|film|footage|picture|image|scene|photograph|clip)|\bin black and white\b|"
    r"\bmonochrome (?:shot|video|film|footage|picture|image|scene)\b|\bpicture is [^.;]*black-and-white|"
    r"\bgr[ea]yscale\b"
)
_COLOURS = re.compile(
    r"\b(?:colou?rful|vivid(?:ly)? colou?r(?:s|ed)?|vibrant colou?rs|rich(?:ly)? colou?r(?:s|ed)?|full colou?r)\b"
)
_HEARD = re.compile(
    r"\b(?:can|could) be heard\b|\bis (?:heard|audible)\b|\bmusic (?:plays|is playing)\b|\bsound ?track (?:plays|of)\b|"
    r"\bwe hear\b|\bbackground music\b|\b(?:narrator|voice-?over|voice) (?:says|explains|tells|speaks)\b|\bsays: \"|"
    r"\bthe sound of\b"
)
_NO_TRACK = re.compile(
    r"\bwithout (?:a |any )?(?:sound ?track|sound track|audio track)\b|\bhas no (?:sound|audio)(?: track)?\b"
)
_CALM = re.compile(
    r"\bhardly (?:moves|anything moves)\b|\bnothing (?:moves|happens)\b|"
    r"\bcompletely (?:still|motionless) (?:scene|picture)\b|"
    r"\balmost no (?:movement|motion)\b"
)
_LIVELY = re.compile(
    r"\ba lot of (?:movement|motion)\b|\b(?:fast-paced|frantic|hectic) (?:movement|motion|action|scene)\b|"
    r"\bmuch (?:movement|motion)\b"
)
_READ = re.compile(
    r"\b(?:reads?|reading|text|caption|title|sign|label|banner|poster|logo|words?|letters|written|subtitle|headline|"
    r"screen|displays?|displaying|lettering)\b[^\"]*$"
)
_SPOKEN = re.compile(
    r"\b(?:says?|saying|asks?|asking|shouts?|whispers?|replies|answers?|exclaims?|tells?|explains?|speaks?)\b[^\"]*$"
)


def measured(passage: Passage, facts: Facts, level: str) -> Iterator[str]:
    yield from _counted(passage.lower, facts, level)
    yield from _camera(passage.lower, facts)
    yield from _looks(passage.lower, facts)
    yield from _sound(passage.lower, facts)
    if passage.quotes:
        yield from _quotes(passage, facts)


def _counted(text: str, facts: Facts, level: str) -> Iterator[str]:
    if "second" in text:
        told = [float(next(g for g in match.groups() if g)) for match in _LASTS.finditer(text)]
        if told and abs(told[0] - facts["seconds"]) > SECONDS + SECONDS_SHARE * facts["seconds"]:
            yield f"measured: {told[0]:g} seconds where {facts['seconds']:g} were measured"
    shots = 1 if level in ("clip", "shot") else facts.get("shots")
    if "shots" in text and shots is not None:
        for match in _SHOTS.finditer(text):
            count = NUMBERS.get(match[1], -1) if match[1] in NUMBERS else int(match[1])
            if count != shots:
                yield f"measured: {count} shots where there are {shots}"
                return


def _camera(text: str, facts: Facts) -> Iterator[str]:
    segments = facts.get("camera", [])
    known = sum(s["end_s"] - s["start_s"] for s in segments)
    if known < MOSTLY * facts["seconds"]:
        return
    kinds = {s["kind"] for s in segments}
    moves = _MOVES_CAMERA.search(text) or next((p.search(text) for p in DIRECTIONS.values() if p.search(text)), None)
    stands = _STILL_CAMERA.search(text)
    if kinds == {"static"} and moves and not stands:
        yield f"measured: {moves[0]!r}, but the camera stands still"
    elif "static" not in kinds and stands and not moves:
        yield f"measured: {stands[0]!r}, but the camera: {', '.join(sorted(kinds))}"
    elif kinds & OPPOSITE.keys():
        for kind, pattern in DIRECTIONS.items():
            if OPPOSITE[kind] in kinds and kind not in kinds and pattern.search(text):
                yield f"measured: {kind}, but the camera does {OPPOSITE[kind]}"
                return


def _looks(text: str, facts: Facts) -> Iterator[str]:
    light, change = facts.get("light"), facts.get("light_change")
    if light == "dark" and change is None and (found := _BRIGHT.search(text)) and not _DARK.search(text):
        yield f"measured: {found[0]!r}, but it is dark"
    if light == "bright" and change is None and (found := _DARK.search(text)) and not _BRIGHT.search(text):
        yield f"measured: {found[0]!r}, but it is bright"
    for one, other in (("brightens", "darkens"), ("darkens", "brightens")):
        if change == one and f"it {other} over the shot" in text:
            yield f"measured: {other}, but it {one}"
    colour = facts.get("colour")
    if colour == "black-and-white" and (found := _COLOURS.search(text)):
        yield f"measured: {found[0]!r}, but it is black-and-white"
    if (colour in ("muted", "colourful") or facts.get("hue")) and (found := _GREY.search(text)):
        yield f"measured: {found[0]!r}, but it has colours"
    movement = facts.get("movement")
    pattern = {"much": _CALM, "little": _LIVELY}.get(movement or "")
    if pattern and (found := pattern.search(text)):
        yield f"measured: {found[0]!r}, but there is {movement} movement"


def _sound(text: str, facts: Facts) -> Iterator[str]:
    sound = facts.get("sound")
    if sound is False and (found := _HEARD.search(text)):
        yield f"measured: {found[0]!r}, but there is no sound track"
    if sound is True and (found := _NO_TRACK.search(text)):
        yield f"measured: {found[0]!r}, but there is a sound track"


def _quotes(passage: Passage, facts: Facts) -> Iterator[str]:
    """Quotes that are said to be read or spoken, where lines were read or heard, and are none of them."""
    read = [letters(line["text"]) for line in facts.get("text", [])]
    heard = [letters(line["text"]) for line in facts.get("speech", [])]
    for quote, before in passage.quotes:
        said = letters(quote)
        if len(said) < 3:
            continue
        spoken = bool(_SPOKEN.search(before))
        if spoken and heard and not _among(said, heard):
            yield f"quote: {quote[:40]!r} was not heard"
            return
        if not spoken and read and _READ.search(before) and not _among(said, read + heard):
            yield f"quote: {quote[:40]!r} was not read"
            return


def _among(said: str, lines: Sequence[str]) -> bool:
    joined = "".join(lines)
    if said in joined:
        return True
    return any(
        len(line) >= 0.5 * len(said) and _holds(*sorted((said, line), key=len))
        for line in (*lines, joined if len(joined) < 400 else "")
    )


def _holds(short: str, long: str) -> bool:
    """Whether the long line has the short one, nearly, in a piece of about its length: letters here and there in a long
    line are no quote of it."""
    match = SequenceMatcher(None, short, long, autojunk=False)
    longest = match.find_longest_match()
    start = max(0, longest.b - longest.a)
    match.set_seq2(long[start : start + len(short) + 2])
    return sum(block.size for block in match.get_matching_blocks()) >= LIKE * len(short)
