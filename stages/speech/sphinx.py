"""PocketSphinx: it comes with its model and needs no download, but hears every second or third word wrong in films.

Its text is weak, never quoted in captions, and good for its words' times at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from stages.speech.sound import RATE, Sound
from stages.speech.transcription import Progress, Span, Told, Word

NAME = "pocketsphinx"
FRAME_S = 0.01
VARIANT = re.compile(r"\(\d+\)$")
NO_WORD = ("<", "[", "+")
"""How the names of silence and noises begin."""


class Sphinx:
    """English only."""

    name, weak, joins = NAME, True, False
    longest_s = 20.0
    """What is decoded at once: its search takes memory and time that grow with the length."""

    def __call__(self, sound: Sound, spans: Sequence[Span], progress: Progress) -> Told:
        found = []
        for span in spans:
            found.append(list(_decoded(sound, span.start_s, span.end_s)))
            progress(span.end_s)
        return Told(found)


def _decoded(sound: Sound, start_s: float, end_s: float) -> Iterator[Word]:
    samples = np.ascontiguousarray(sound.samples[round(start_s * RATE) : round(end_s * RATE)])
    if len(samples) < RATE // 10:
        return
    decoder = _decoder()
    decoder.start_utt()
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()
    for segment in decoder.seg() or ():
        if segment.word.startswith(NO_WORD):
            continue
        until = min(end_s, start_s + (segment.end_frame + 1) * FRAME_S)
        yield Word(f" {VARIANT.sub('', segment.word)}", start_s + segment.start_frame * FRAME_S, until)


@lru_cache(maxsize=1)
def _decoder() -> Any:
    """The recognizer with the model of its package, loaded once a process."""
    from pocketsphinx import Decoder

    return Decoder(samprate=RATE, loglevel="FATAL")
