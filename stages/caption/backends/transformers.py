"""Captions by a vision-language model in this process: Qwen3-VL, Qwen2.5-VL, SmolVLM2 and others of Transformers.

Pictures are given one by one between the pieces of text, never as a video: processors write times of their own before a
video's frames, worked out from a frame rate that chosen stills do not have. So a single picture is no special case
either. A question's JSON schema is not enforced here; the prompt asks for it.
"""

from __future__ import annotations

import copy
import hashlib
import io
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from curate.models import device as best_device
from stages.caption.backends import wire
from stages.caption.protocol import BackendError, NoReplyError, Picture, Reply, Request

if TYPE_CHECKING:
    import torch

ENDS = 1 << 20
"""Bytes at each end of a file of weights that go into the model's name: all shapes, and some tensors."""
_LOADING, _GENERATING = threading.Lock(), threading.Lock()


class Transformers(BaseModel):
    """How a model in this process is loaded and asked."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    weights: str = Field("", max_length=4000)
    """A folder as `save_pretrained` writes it, with .safetensors files, or a repository on Hugging Face, such as
    `HuggingFaceTB/SmolVLM2-500M-Video-Instruct`. Code that lies in it is never run."""
    revision: str = Field("main", pattern=r"^[\w./-]{1,100}$")
    """Of the repository; name a commit to get the same answers later."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a CUDA device where there is one. A CPU is 10 to 100 times slower."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: bfloat16 on CUDA, as the models are trained; float32 on a CPU, many of which lack bfloat16."""
    batch: int = Field(4, ge=1, le=256)
    """Questions answered together; halved by itself where a GPU's memory does not do."""


class TransformersBackend:
    """A captioner in this process."""

    def __init__(self, settings: Transformers) -> None:
        self._settings = settings

    @property
    def name(self) -> str:
        return _name(self._settings.weights, self._settings.revision)

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[int, Reply | NoReplyError]]:
        """The answer to each request, a batch at a time; a batch is of one length and temperature."""
        groups: dict[tuple[int, float], list[tuple[int, Request]]] = {}
        for number, request in enumerate(requests):
            like = (request.most_tokens, request.temperature)
            group = groups.setdefault(like, [])
            group.append((number, request))
            full = len(group) == self._settings.batch
            if full or sum(map(len, groups.values())) > 2 * self._settings.batch:
                yield from self._answered(groups.pop(max(groups, key=lambda like: len(groups[like]))))
        for group in groups.values():
            yield from self._answered(group)

    def _answered(self, group: Sequence[tuple[int, Request]]) -> Iterator[tuple[int, Reply | NoReplyError]]:
        network = load(self._settings)
        numbers, requests = zip(*group, strict=True)
        with _GENERATING:
            outcomes = network.replies(requests)
        yield from zip(numbers, outcomes, strict=True)


def _name(weights: str, revision: str) -> str:
    """Two folders of one name may hold two models, so a folder's name comes with a digest of what makes it differ."""
    folder = Path(weights).expanduser()
    if not weights or not folder.is_dir():
        return f"transformers:{weights}" + ("" if revision == "main" else f"@{revision}")
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".jinja", ".safetensors"):
            size = path.stat().st_size
            found.update(f"{path.name} {size}\n".encode())
            with open(path, "rb") as file:
                found.update(file.read(ENDS))
                file.seek(max(size - ENDS, 0))
                found.update(file.read(ENDS))
    return f"transformers:{folder.resolve().name}@{found.hexdigest()[:12]}"


class Network:
    """A model with its processor."""

    def __init__(self, name: str, model: Any, processor: Any) -> None:
        self.name, self._model, self._processor = name, model, processor
        tokenizer = processor.tokenizer
        tokenizer.padding_side = "left"  # what is generated continues the right end
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        added = (token.content for token in tokenizer.added_tokens_decoder.values())
        self._control = sorted({t for t in added if t.strip()}, key=len, reverse=True)

    def replies(self, requests: Sequence[Request]) -> list[Reply | NoReplyError]:
        """Answers to requests of one length and temperature, together."""
        import torch

        outcomes: dict[int, Reply | NoReplyError] = {}
        chats = {}
        for number, request in enumerate(requests):
            try:
                chats[number] = self._chat(request)
            except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for a damaged picture
                outcomes[number] = NoReplyError(f"{self.name}: a picture cannot be read: {wire.shown(error)}")
        if chats:
            asked = [requests[number] for number in chats]
            try:
                outcomes |= zip(chats, self._generated(list(chats.values()), asked), strict=True)
            except torch.OutOfMemoryError:
                if len(chats) == 1:
                    found: list[Reply | NoReplyError] = [
                        NoReplyError(
                            f"{self.name}: the question does not fit into the GPU's memory; show fewer pictures"
                        )
                    ]
                else:
                    half = len(asked) // 2
                    found = self.replies(asked[:half]) + self.replies(asked[half:])
                outcomes |= zip(chats, found, strict=True)
        return [outcomes[number] for number in range(len(requests))]

    def _chat(self, request: Request) -> list[dict[str, Any]]:
        from PIL import Image

        content: list[dict[str, Any]] = []
        for part in request.parts:
            if isinstance(part, Picture):
                with Image.open(io.BytesIO(part.jpeg), formats=["JPEG"]) as picture:
                    content.append({"type": "image", "image": picture.convert("RGB")})
            else:
                content.append({"type": "text", "text": self._plain(part)})
        system = [{"role": "system", "content": [{"type": "text", "text": request.system}]}] if request.system else []
        return [*system, {"role": "user", "content": content}]

    def _plain(self, text: str) -> str:
        """Text in which nothing is a control token of this model."""
        text = wire.plain(text)
        for token in self._control:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    def _generated(self, chats: list[Any], requests: Sequence[Request]) -> list[Reply | NoReplyError]:
        import torch
        from transformers import LogitsProcessorList

        pad = {"padding": True}
        inputs = self._processor.apply_chat_template(
            chats,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs=pad,
        ).to(self._model.device, dtype=self._model.dtype)
        config = copy.deepcopy(self._model.generation_config)
        config.update(max_new_tokens=requests[0].most_tokens, max_length=None, **_sampling(requests[0].temperature))
        watch = Probabilities()
        with torch.inference_mode():
            if config.do_sample:
                torch.manual_seed(int(requests[0].digest()[:15], 16))  # asked again, the same question gets the same
            sequences = self._model.generate(
                **inputs, generation_config=config, logits_processor=LogitsProcessorList([watch])
            )
        start = inputs["input_ids"].shape[1]
        sure = watch.log_probabilities(sequences)
        ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        found: list[Reply | NoReplyError] = []
        for row, told in enumerate(sequences[:, start:].tolist()):
            stop = next((n for n, token in enumerate(told) if token in ends), None)
            length = len(told) if stop is None else stop + 1
            text = wire.clean(self._processor.tokenizer.decode(told[:length], skip_special_tokens=True))
            confidence = float(sure[row, :length].mean().exp())
            found.append(
                Reply(
                    text,
                    confidence=min(confidence, 1.0) if confidence == confidence else None,
                    complete=stop is not None,
                    prompt_tokens=int(inputs["attention_mask"][row].sum()),
                    reply_tokens=length,
                )
                if text
                else NoReplyError(f"{self.name}: the answer is empty")
            )
        return found


class Probabilities:
    """A logits processor that changes nothing, and notes how likely each chosen token was.

    It sees a step's scores before the token is chosen and the token a step later, so scores of one step are held, where
    `output_scores` would hold all: 2.5 GB for 8 answers of 512 tokens.
    """

    def __init__(self) -> None:
        self._before: torch.Tensor | None = None
        self._chosen: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """(batch, tokens) so far and (batch, vocabulary) scores of the next."""
        self._note(input_ids)
        self._before = scores.float().log_softmax(-1)
        return scores

    def _note(self, sequences: torch.Tensor) -> None:
        if self._before is not None:
            self._chosen.append(self._before.gather(1, sequences[:, -1:]).squeeze(1))

    def log_probabilities(self, sequences: torch.Tensor) -> torch.Tensor:
        """(batch, new tokens), of the finished sequences."""
        import torch

        self._note(sequences)
        return torch.stack(self._chosen, 1)


def _sampling(temperature: float) -> dict[str, Any]:
    if temperature > 0:
        return {"do_sample": True, "temperature": temperature}
    return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}


def load(settings: Transformers) -> Network:
    """The model, loaded once a process.

    Raises:
        BackendError: a package is missing, or the weights are not there or cannot be read.
    """
    with _LOADING:
        return _loaded(settings.weights, settings.revision, settings.device, settings.dtype)


@lru_cache(maxsize=1)
def _loaded(weights: str, revision: str, device: str, dtype: str) -> Network:
    name = _name(weights, revision)
    if not weights:
        raise BackendError("transformers.weights is not set; give a folder, or a repository on Hugging Face")
    try:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor
    except ImportError as error:
        raise BackendError(f"{name}: {error.name} is not installed; run: pip install 'longtake[captions]'") from None
    torch.set_num_threads(1)  # a worker has one core
    where = best_device() if device == "auto" else device
    kind = {"cpu": "float32", "cuda": "bfloat16"}[where] if dtype == "auto" else dtype
    folder = Path(weights).expanduser()
    place = str(folder) if folder.is_dir() else weights
    common: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    try:
        processor = AutoProcessor.from_pretrained(place, **common)
        model: Any = AutoModelForImageTextToText.from_pretrained(
            place, dtype=getattr(torch, kind), use_safetensors=True, **common
        )
        model.to(torch.device(where))
        return Network(name, model.eval(), processor)
    except Exception as error:  # transformers, safetensors and hub clients raise errors of many kinds
        raise BackendError(
            f"{name}: cannot be loaded: {wire.shown(error)}; give a folder with .safetensors files, or a repository"
        ) from error
