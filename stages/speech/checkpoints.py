"""Whisper and NVIDIA's Parakeet (CTC and TDT) as transformers has them, from a folder of yours or a repository.

Only classes that transformers itself ships are loaded, out of safetensors alone; no code of a repository runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.models import WeightsError
from curate.models import device as best_device
from stages.speech.sound import RATE, Sound
from stages.speech.transcription import Progress, Span, Told, Word, believable

if TYPE_CHECKING:
    import torch

NAME = "transformers"
KINDS = {
    "whisper": "WhisperForConditionalGeneration",
    "parakeet_ctc": "ParakeetForCTC",
    "parakeet_tdt": "ParakeetForTDT",
}
"""Classes by what a model's config.json says it is."""
WITHOUT_SPACES = ("zh", "ja", "th", "lo", "my", "yue")
"""Languages in whose writing every sign is taken for a word: Whisper's own list."""
SURE_LANGUAGE = 0.5
"""Probability from which the language is said, as for faster-whisper."""
STARTS = ("▁", "Ġ")
"""How a token that begins a word begins, in SentencePiece's and in GPT-2's vocabularies."""


@dataclass(frozen=True)
class _Token:
    number: int
    start_s: float
    end_s: float
    sure: float | None


class Transformers:
    """Batches of spans through one model.

    Args:
        place: a folder, or a repository on Hugging Face.
        revision: of the repository.
        language: what is spoken, ISO 639-1; None: Whisper tells it, once a source. Parakeet takes none.
        dtype: `auto` is float32 on a CPU and bfloat16 on a GPU.

    Raises:
        WeightsError: the model cannot be loaded, or is none of `KINDS`.
    """

    weak, joins = False, True
    longest_s = 30.0
    """Whisper's window; Parakeet could take more, in memory that grows with the square."""

    def __init__(self, place: str, revision: str, language: str | None, device: str, dtype: str, batch: int) -> None:
        self.name = f"{NAME} {Path(place).name}"
        self._language, self._batch = language, batch
        self._model, self._processor, kind = _loaded(place, revision, device, dtype)
        self._whisper = kind == "whisper"

    def __call__(self, sound: Sound, spans: Sequence[Span], progress: Progress) -> Told:
        import torch

        words: list[list[Word]] = []
        language, sure = self._language, None
        for first in range(0, len(spans), self._batch):
            chosen = spans[first : first + self._batch]
            parts = [sound.part(round(s.start_s * RATE), round(s.end_s * RATE)) for s in chosen]
            with torch.inference_mode():
                if self._whisper:
                    found, language, sure = self._whispered(parts, language, sure)
                else:
                    found = self._parakeet(parts)
            for span, tokens in zip(chosen, found, strict=True):
                said = list(self._words(tokens, language))
                believed = said if believable("".join(word.text for word in said)) else []
                words.append([_moved(word, span) for word in believed if word.start_s <= span.end_s - span.start_s])
            progress(chosen[-1].end_s)
        known = language if sure is None or sure >= SURE_LANGUAGE else None
        return Told(words, known, sure)

    def _inputs(self, parts: Sequence[Any], **how: Any) -> dict[str, torch.Tensor]:
        extractor = self._processor.feature_extractor
        made = extractor(list(parts), sampling_rate=RATE, return_tensors="pt", return_attention_mask=True, **how)
        weights = next(self._model.parameters())
        features = made["input_features"].to(weights.device, weights.dtype)
        return {"input_features": features, "attention_mask": made["attention_mask"].to(weights.device)}

    def _whispered(
        self, parts: Sequence[Any], language: str | None, sure: float | None
    ) -> tuple[list[list[_Token]], str | None, float | None]:
        """Tokens of each part; the language, and how sure it is."""
        import torch

        model, config = self._model, self._model.generation_config
        inputs = self._inputs(parts, padding="max_length")
        encoded = model.get_encoder()(inputs["input_features"])
        start = torch.full((len(parts), 1), config.decoder_start_token_id, device=encoded[0].device)
        heard = model(encoder_outputs=encoded, decoder_input_ids=start).logits[:, -1].float().softmax(-1)
        tongues = getattr(config, "lang_to_id", None) if getattr(config, "is_multilingual", False) else None
        if tongues and language is None:
            shares = heard[:, list(tongues.values())].sum(0)
            language = list(tongues)[int(shares.argmax())].strip("<|>")
            sure = float(shares.max() / shares.sum())
        silent = self._processor.tokenizer.convert_tokens_to_ids(["<|nospeech|>", "<|nocaptions|>"])
        unknown = self._processor.tokenizer.unk_token_id
        silence = next((heard[:, n].tolist() for n in silent if n is not None and n != unknown), [None] * len(parts))
        asked = {"language": language, "task": "transcribe"} if tongues else {}
        made = model.generate(**inputs, return_token_timestamps=True, return_dict_in_generate=True, **asked)
        sequences, times = made["sequences"], made["token_timestamps"]
        again = model(encoder_outputs=encoded, decoder_input_ids=sequences[:, :-1]).logits.float().log_softmax(-1)
        logs = again.gather(2, sequences[:, 1:, None])[..., 0]
        texts = self._processor.tokenizer.convert_tokens_to_ids("<|endoftext|>")  # all before it are text
        found = []
        for row, numbers in enumerate(sequences.tolist()):
            places = [n for n in range(1, len(numbers)) if numbers[n] < texts]
            mean = float(logs[row, [n - 1 for n in places]].mean()) if places else 0.0
            end = lambda n, row=row: float(times[row][min(n + 1, times.shape[1] - 1)])  # noqa: E731
            tokens = [_Token(numbers[n], float(times[row][n]), end(n), float(logs[row, n - 1].exp())) for n in places]
            found.append(tokens if believable("", silence[row], mean) else [])
        return found, language, sure

    def _parakeet(self, parts: Sequence[Any]) -> list[list[_Token]]:
        extractor, config = self._processor.feature_extractor, self._model.config
        frame_s = extractor.hop_length / extractor.sampling_rate * config.encoder_config.subsampling_factor
        inputs = self._inputs(parts)
        found = []
        if config.model_type == "parakeet_ctc":
            made = self._model.generate(**inputs, return_dict_in_generate=True)
            chances = made.logits.float().softmax(-1).amax(-1)
            for numbers, sure in zip(made.sequences.tolist(), chances.tolist(), strict=True):
                runs = ((number, list(of)) for number, of in groupby(range(len(numbers)), key=numbers.__getitem__))
                found.append(
                    [
                        _Token(number, of[0] * frame_s, (of[-1] + 1) * frame_s, max(sure[n] for n in of))
                        for number, of in runs
                        if number != config.pad_token_id
                    ]
                )
            return found
        frames = inputs["input_features"].shape[1] // config.encoder_config.subsampling_factor + 1
        made = self._model.generate(
            **inputs,
            return_dict_in_generate=True,
            max_new_tokens=frames * config.max_symbols_per_step,
            # The numbers after the vocabulary's are durations, no tokens.
            suppress_tokens=list(range(config.vocab_size, config.vocab_size + len(config.durations))),
        )
        starts = made.durations.cumsum(-1) - made.durations
        none = {config.blank_token_id, config.pad_token_id}
        for numbers, at, long in zip(made.sequences.tolist(), starts.tolist(), made.durations.tolist(), strict=True):
            found.append(
                [
                    _Token(number, a * frame_s, (a + max(1, n)) * frame_s, None)
                    for number, a, n in zip(numbers, at, long, strict=True)
                    if number not in none
                ]
            )
        return found

    def _words(self, tokens: Sequence[_Token], language: str | None) -> Iterator[Word]:
        """Tokens joined to words, seconds of their span."""
        names = self._processor.tokenizer.convert_ids_to_tokens([token.number for token in tokens])
        group: list[_Token] = []
        for token, name in zip(tokens, names, strict=True):
            begins = name.startswith(STARTS)
            if group and (begins or (language in WITHOUT_SPACES and not self._text(group).endswith("\ufffd"))):
                yield from self._word(group)
                group = []
            group.append(token)
        if group:
            yield from self._word(group)

    def _word(self, group: Sequence[_Token]) -> Iterator[Word]:
        (name,) = self._processor.tokenizer.convert_ids_to_tokens([group[0].number])
        text = self._text(group).replace("\ufffd", "").strip()
        sure = [token.sure for token in group if token.sure is not None]
        if text:
            space = " " if name.startswith(STARTS) else ""
            known = sum(sure) / len(sure) if sure else None
            yield Word(space + text, group[0].start_s, max(token.end_s for token in group), known)

    def _text(self, group: Sequence[_Token]) -> str:
        how = {} if self._whisper else {"group_tokens": False}
        decoded: str = self._processor.tokenizer.decode([t.number for t in group], skip_special_tokens=True, **how)
        return decoded


def _moved(word: Word, span: Span) -> Word:
    start_s = span.start_s + word.start_s
    return Word(word.text, start_s, min(span.end_s, max(start_s, span.start_s + word.end_s)), word.sure)


@lru_cache(maxsize=1)
def _loaded(place: str, revision: str, device: str, dtype: str) -> tuple[Any, Any, str]:
    """(model, processor, kind), loaded once a process."""
    if wrong := missing(place):
        raise WeightsError(wrong)
    import torch
    import transformers

    torch.set_num_threads(1)  # a worker has one core
    where = best_device() if device == "auto" else device
    number = {"cpu": "float32", "cuda": "bfloat16"}[where] if dtype == "auto" else dtype
    folder = Path(place).expanduser()
    at = str(folder) if folder.is_dir() else place
    common: dict[str, Any] = {"trust_remote_code": False, "revision": revision}
    try:
        kind = transformers.AutoConfig.from_pretrained(at, **common).model_type
        _check(place, kind)
        processor = transformers.AutoProcessor.from_pretrained(at, **common)
        model: Any = getattr(transformers, KINDS[kind]).from_pretrained(
            at, dtype=getattr(torch, number), use_safetensors=True, revision=revision
        )
        model.to(torch.device(where))
    except WeightsError:
        raise
    except Exception as error:  # transformers, safetensors and hub clients raise errors of many kinds
        told = " ".join(str(error).split())[:300]
        cure = "give a folder with .safetensors, tokenizer and processor, or a repository"
        raise WeightsError(f"{NAME}: {place} cannot be loaded ({told}); {cure}") from error
    if kind == "whisper" and not getattr(model.generation_config, "alignment_heads", None):
        cure = "take its authors' generation_config.json"
        raise WeightsError(f"{NAME}: {place} names no alignment_heads, by which words get their times; {cure}")
    return model.eval(), processor, kind


def _check(place: str, kind: object) -> None:
    if kind not in KINDS:
        raise WeightsError(f"{NAME}: {place} is a model of type {kind!r}; known are {', '.join(KINDS)}")


def missing(place: str) -> str | None:
    """What is not there that a run needs, with the cure, as far as a folder of yours tells."""
    from importlib.util import find_spec

    if find_spec("transformers") is None:
        return f"{NAME}: the package is not installed; run: pip install 'longtake[speech]'"
    folder = Path(place).expanduser()
    if not folder.is_dir():
        outside = place.startswith((".", "/", "~")) or place.count("/") != 1
        return f"{NAME}: there is no folder {folder}; give one, or a repository as NAME/MODEL" if outside else None
    if not any(folder.glob("*.safetensors")):
        return f"{NAME}: {folder} has no .safetensors file; others are not opened: save the model with save_pretrained"
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        _check(place, kind)
    except (OSError, ValueError, AttributeError):
        return f"{NAME}: {folder} has no config.json that can be read; save the model with save_pretrained"
    except WeightsError as error:
        return str(error)
    return None
