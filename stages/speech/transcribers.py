"""The transcribers by name: which there are, what each of them needs, and one ready to work."""

from __future__ import annotations

from typing import Literal

from stages.speech import checkpoints, ctranslate
from stages.speech.sphinx import Sphinx
from stages.speech.transcription import Transcriber

Name = Literal["pocketsphinx", "faster-whisper", "transformers", "none"]
Compute = Literal["auto", "int8", "int8_float16", "float16", "bfloat16", "float32"]
Device = Literal["auto", "cpu", "cuda"]
FOR_CTRANSLATE2 = ("int8", "int8_float16")
"""Ways of computing that transformers does not know."""
GIVEN = (ctranslate.NAME, checkpoints.NAME)
"""Those to which a model is given."""


def transcriber(
    name: Name, model: str, revision: str, language: str | None, device: Device, compute: Compute, batch: int
) -> Transcriber | None:
    """The one of that name; None: nobody writes.

    Raises:
        WeightsError: it cannot be loaded.
    """
    if name == ctranslate.NAME:
        return ctranslate.FasterWhisper(model, language, device, compute, batch)
    if name == checkpoints.NAME:
        return checkpoints.Transformers(model, revision, language, device, compute, batch)
    return Sphinx() if name == "pocketsphinx" else None


def fault(name: Name, model: str, compute: Compute) -> tuple[str, str] | None:
    """(Parameter, what is wrong with it) where a run could not begin."""
    if name not in GIVEN:
        return ("model", f"is for {' and '.join(GIVEN)}; set the transcriber, too") if model else None
    if not model:
        return "model", f"{name} needs a model: the path of its folder"
    if name == checkpoints.NAME and compute in FOR_CTRANSLATE2:
        return "compute", f"{compute} is for {ctranslate.NAME}; take float32, float16 or bfloat16"
    wrong = ctranslate.missing(model) if name == ctranslate.NAME else checkpoints.missing(model)
    return ("model", wrong) if wrong else None
