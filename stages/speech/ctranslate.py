"""faster-whisper: Whisper (Radford et al., arXiv:2212.04356) in CTranslate2's form, from a folder of yours.

`ct2-transformers-converter --model openai/whisper-small --output_dir FOLDER --copy_files tokenizer.json
preprocessor_config.json` makes such a folder. Its weights are CTranslate2's own binary format, which runs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from curate.models import WeightsError
from stages.speech.sound import RATE, Sound
from stages.speech.transcription import LEAST_LOGPROB, NO_SPEECH, Progress, Span, Told, Word, believable

NAME = "faster-whisper"
FILES = ("model.bin", "config.json", "tokenizer.json")
"""What the folder must hold; without the last, faster-whisper would fetch another's from the network."""
LANGUAGE_WINDOWS = 4
"""Windows of 30 s that are listened to for the language, until one is sure."""
SURE_LANGUAGE = 0.5
"""Probability from which the language is said: faster-whisper's own `language_detection_threshold`."""


class FasterWhisper:
    """Batches of spans through one model.

    Args:
        folder: of the model.
        language: what is spoken, ISO 639-1; None: it is detected, once a source.
        device: `auto`, `cpu` or `cuda`.
        compute: how it computes; `auto` is CTranslate2's choice of what the model was saved in.

    Raises:
        WeightsError: the package or a file is missing, or the model cannot be loaded.
    """

    weak, joins = False, True
    longest_s = 30.0
    """Whisper's window."""

    def __init__(self, folder: str, language: str | None, device: str, compute: str, batch: int) -> None:
        self.name = f"{NAME} {Path(folder).name}"
        self._language, self._batch = language, batch
        self._pipeline = _pipeline(folder, device, compute)

    def __call__(self, sound: Sound, spans: Sequence[Span], progress: Progress) -> Told:
        words: list[list[Word]] = [[] for _ in spans]
        language, sure = self._language, None
        for first in range(0, len(spans), self._batch):
            chosen = spans[first : first + self._batch]
            parts = [sound.part(round(s.start_s * RATE), round(s.end_s * RATE)) for s in chosen]
            edges = np.cumsum([0, *map(len, parts)]) / RATE
            clips = [{"start": a, "end": b} for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]
            segments, told = self._pipeline.transcribe(
                np.concatenate(parts),
                language=language,
                language_detection_segments=LANGUAGE_WINDOWS,
                language_detection_threshold=SURE_LANGUAGE,
                clip_timestamps=clips,
                vad_filter=False,
                word_timestamps=True,
                batch_size=self._batch,
                no_speech_threshold=NO_SPEECH,
                log_prob_threshold=LEAST_LOGPROB,
            )
            # A segment says by its `seek`, hundredths of a second, with which clip it began.
            place = {int(clip["start"] * self._pipeline.model.frames_per_second): n for n, clip in enumerate(clips)}
            for segment in segments:
                if not believable(segment.text, segment.no_speech_prob, segment.avg_logprob):
                    continue
                number = place[segment.seek]
                ahead = chosen[number].start_s - clips[number]["start"]
                for word in segment.words or ():
                    words[first + number].append(
                        Word(word.word, word.start + ahead, word.end + ahead, float(word.probability))
                    )
            if language is None:
                language, sure = told.language, float(told.language_probability)
            progress(chosen[-1].end_s)
        known = language if sure is None or sure >= SURE_LANGUAGE else None
        return Told(words, known, sure)


@lru_cache(maxsize=1)
def _pipeline(folder: str, device: str, compute: str) -> Any:
    """The loaded model, once a process."""
    if wrong := missing(folder):
        raise WeightsError(wrong)
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    kind = "default" if compute == "auto" else compute
    place = str(Path(folder).expanduser())
    try:
        # A worker has one core.
        model = WhisperModel(place, device=device, compute_type=kind, cpu_threads=1, local_files_only=True)
    except Exception as error:  # CTranslate2 raises errors of many kinds
        told = " ".join(str(error).split())[:300]
        raise WeightsError(f"{NAME}: {place} cannot be loaded ({told}); convert the model anew") from error
    return BatchedInferencePipeline(model)


def missing(folder: str) -> str | None:
    """What is not there that a run needs, with the cure."""
    from importlib.util import find_spec

    if find_spec("faster_whisper") is None:
        return f"{NAME}: the package is not installed; run: pip install 'longtake[speech]'"
    place = Path(folder).expanduser()
    if lacking := [file for file in FILES if not (place / file).is_file()]:
        return (
            f"{NAME}: {place} has no {', '.join(lacking)}; make the folder with ct2-transformers-converter "
            "--model MODEL --output_dir FOLDER --copy_files tokenizer.json preprocessor_config.json"
        )
    return None
