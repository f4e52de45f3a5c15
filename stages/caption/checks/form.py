"""What is wrong with a caption whatever it is of: empty, looped, cut off, refused, told frame by frame, or in another
language. None needs more than the text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from stages.caption.checks.passage import Passage

LEAST_WORDS = 3
MOST_WORDS = {"clip": 400, "shot": 500, "event": 800, "story": 1500}
"""StoryTeller's descriptions have 200 words a segment of 8 s in the mean; twice as long is a model that runs on."""
REP_4 = 0.35
"""Share of 4-word runs that stood before: StoryTeller's captions have 0.02, those of fixed segments 0.11."""
ENDS = frozenset(".!?…。！？\"”’')]}»")
OPEN_WORDS = frozenset(
    "a an the of and or with to in on at by for from into onto over under as while that which who whose is are was "
    "were his her their its this these then but".split()
)
"""No English sentence ends with one of them (those that may are left out)."""

_REFUSAL = re.compile(
    r"\b(i['’]?m sorry|i am sorry|i apologi[sz]e|as an ai\b|as a (?:large )?language model|"
    r"i(?: am|['’]m)? (?:cannot|can['’]?t|can not|unable to|not able to|won['’]?t|do not have|don['’]?t have|"
    r"don['’]?t see|do not see)|"
    r"(?:no|without any) (?:image|images|video|frames|pictures?) (?:was|were|has been|have been|is|are|being)? ?"
    r"(?:provided|attached|given|available|visible|shared)|"
    r"(?:cannot|can['’]?t|unable to) (?:assist|help|comply|describe|view|process|see|identify|provide|access)|"
    r"please (?:provide|upload|share)|here is (?:a|the) (?:caption|description)|sure[,!] here)"
)
_ABROAD_REFUSAL = re.compile(
    "抱歉|对不起|无法(?:查看|描述|处理)|作为(?:一个)?人工智能|申し訳|lo siento, (?:no|pero)|désolé, je"
)
_FRAMES = re.compile(
    r"\b(?:(?:first|second|third|fourth|fifth|sixth|next|last|final|subsequent|initial|previous|following|each|every|"
    r"opening|earlier|later|these|those|all|several|multiple|consecutive|remaining|provided|given) "
    r"(?:few |two |three |four |\d+ )?(?:video |still )?(?:frames?|images|image shows|screenshots?)\b"
    r"(?! of (?:reference|mind))|"
    r"(?:frame|image|picture|screenshot) (?:#|no\.? |number )?\d+\b|frames? (?:one|two|three|four|five|six)\b|"
    r"(?:series|sequence|set|collection) of (?:video )?(?:frames|images|stills|screenshots)|"
    r"(?:across|between|throughout|through|in) (?:all |all of )?the (?:frames|images)\b|"
    r"the (?:frames|images) (?:show|depict|capture|display|appear|are)|frame[- ]by[- ]frame|from frame to frame)"
)
_CUT = re.compile(
    r"\b(?:(?:video|scene|shot|camera|film|footage|clip|view|perspective|sequence|picture|angle) "
    r"(?:then |now |next |suddenly |abruptly |quickly |briefly )?(?:cuts|switches|jumps|transitions|shifts|changes)"
    r"(?: back| away)? (?:to|into)\b|"
    r"(?:in|to) (?:the|a) (?:next|new|second|third|another|following|subsequent|different) (?:scene|shot|angle)\b|"
    r"(?:another|next|second|third|new|following|final|last) (?:shot|scene) (?:shows|begins|follows|opens|is|starts)|"
    r"(?:cut|cutting|cuts) (?:back )?to (?:black|another|a (?:new|close|wide|different|second)|the next|the next)|"
    r"(?:jump|hard|smash|match|quick) cuts?\b|montage|cutaway|scene change|followed by (?:a|another) shot|"
    r"the scene transitions|before cutting|then cuts\b|series of (?:shots|scenes))"
)
_MARKUP = re.compile(r"^\s*(?:```|\{|\[\s*[{\"]|<\w+[ >]|#+ |\*\*)|</?(?:think|answer|im_start|im_end|s)\b|\|>")
_STOPS = {
    "en": "the and of a is in to with on at his her as while from it are an by for their its then",
    "de": "der die das und ist ein eine einen im auf mit den dem von zu nicht sich auch eines einer",
    "fr": "le la les et est un une des dans sur avec du au qui pour se sont il elle en",
    "es": "el la los las y es un una en con del al que por se su para está mientras",
    "it": "il la lo gli e è un una nel con del della che per si di mentre sono sul",
    "pt": "o a os as e é um uma em com do da no na que por se para está enquanto",
    "nl": "de het een en is in op met van te aan zijn haar niet die dat terwijl naar",
}
STOPS = {language: frozenset(words.split()) for language, words in _STOPS.items()}
_STOP_OF = {
    word: [name for name, stops in STOPS.items() if word in stops] for word in frozenset().union(*STOPS.values())
}
SCRIPTS = {
    "zh": r"[\u4e00-\u9fff]",
    "ja": r"[\u3040-\u30ff\u4e00-\u9fff]",
    "ko": r"[\uac00-\ud7af]",
    "ru": r"[\u0400-\u04ff]",
    "uk": r"[\u0400-\u04ff]",
    "ar": r"[\u0600-\u06ff]",
    "hi": r"[\u0900-\u097f]",
    "th": r"[\u0e00-\u0e7f]",
}
LATIN = r"[A-Za-z\u00c0-\u024f]"


def length(passage: Passage, level: str) -> Iterator[str]:
    count = len(passage.words)
    spaced = passage.text.isascii() or count > LEAST_WORDS or len(passage.text) < 4
    if count < LEAST_WORDS and spaced:
        yield f"length: {count} words"
    if count > MOST_WORDS[level]:
        yield f"length: {count} words for a {level}"
    if _MARKUP.search(passage.text):
        yield "form: markup instead of sentences"


def loops(passage: Passage) -> Iterator[str]:
    """Words said again and again: a run of words thrice in a row, a sentence twice, or a high rep-4."""
    words = passage.words
    runs = list(zip(words, words[1:], words[2:], words[3:], strict=False))
    repeated = len(runs) - len(set(runs))
    if not repeated and len(words) == len(set(words)):
        return
    lag = _in_a_row(words)
    if lag:
        yield f"loop: the same {lag} words again and again" if lag > 1 else "loop: the same word again and again"
        return
    if repeated < 3:
        return
    seen = set()
    for sentence in passage.sentences:
        said = sentence.strip().lower()
        if said in seen and said.count(" ") >= 5:
            yield "loop: a sentence is said twice"
            return
        seen.add(said)
    if len(runs) >= 12 and repeated > REP_4 * len(runs):
        yield f"loop: {repeated / len(runs):.0%} of its 4-word runs stood before"


def _in_a_row(words: list[str]) -> int:
    """How many words stand three times in a row (a single word: four times); 0: none."""
    last: dict[tuple[str, ...], int] = {}
    for n in range(len(words)):
        run = tuple(words[n : n + 2])
        lag = n - last.get(run, n)
        last[run] = n
        thrice = 0 < lag <= 40 and words[n : n + lag] == words[n - lag : n] == words[n - 2 * lag : n - lag]
        if thrice and (lag > 1 or words[n - 3 : n - 2] == [words[n]]):
            return lag
    return 0


PARTICLES = {"in", "out", "on", "off", "up", "down", "over", "through", "by", "about", "around"}
"""What a whole sentence may end with: a camera zooms in, people walk by."""


def truncated(passage: Passage) -> Iterator[str]:
    text = passage.text.rstrip()
    if not text or not passage.words:
        return
    last = passage.words[-1]
    if text[-1] in ",:;-–—(" or text.endswith(("...", "…")):
        yield f"truncated: ends with {text[-1]!r}"
    elif last in (OPEN_WORDS - PARTICLES if text[-1] in ENDS else OPEN_WORDS) and passage.plain.rstrip().rstrip(
        "."
    ).lower().endswith(last):
        yield f"truncated: ends with {last!r}"
    elif text[-1] not in ENDS and len(passage.words) >= 8:
        yield "truncated: its last sentence does not end"
    elif text.count('"') % 2 or text.count("(") > text.count(")"):
        yield "truncated: what is opened is not closed"


def refused(passage: Passage) -> Iterator[str]:
    found = _REFUSAL.search(passage.lower) or _ABROAD_REFUSAL.search(passage.lower)
    if found:
        yield f"refusal: {found[0]!r}"


def by_frames(passage: Passage) -> Iterator[str]:
    if "frame" in passage.lower or "image" in passage.lower or "picture" in passage.lower or "shots" in passage.lower:
        found = _FRAMES.search(passage.lower)
        if found:
            yield f"frames: {found[0]!r}"


def cut_wording(passage: Passage) -> Iterator[str]:
    found = _CUT.search(passage.lower)
    if found:
        yield f"cut: {found[0]!r} in a single take"


def language(passage: Passage, wanted: str) -> Iterator[str]:
    """Held against the script, and for languages in Latin letters against their commonest words."""
    count = sum(map(str.isalpha, passage.plain))
    if count < 12 or (wanted not in STOPS and wanted not in SCRIPTS):
        return
    script = SCRIPTS.get(wanted, LATIN)
    if not (passage.plain.isascii() and wanted in STOPS) and len(re.findall(script, passage.plain)) < 0.7 * count:
        yield f"language: not written as {wanted} is"
        return
    if wanted not in STOPS or len(passage.words) < 8:
        return
    hits = Counter(name for word in passage.words for name in _STOP_OF.get(word, ()))
    best = max(STOPS, key=lambda name: hits[name])
    if hits[best] > 2 * hits[wanted] and hits[best] >= 3:
        yield f"language: {best} rather than {wanted}"
