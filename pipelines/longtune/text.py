"""Captions to embeddings, as Wan expects them: cut or padded to a fixed length, with zeros past each caption's end.

The text encoder is frozen, so an embedding is made once for each caption and kept while it is in use; those that came
with the shards are remembered, and need no encoder.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pipelines.longtune.errors import TuneError
from stages.latents.text import clean_caption, embedded

__all__ = ["TextEmbedder", "clean_caption"]

_KEPT = 256  # captions; one is at most 8 MB with UMT5-XXL


class TextEmbedder:
    """A tokenizer and a frozen UMT5 encoder; both None where every caption comes with its embedding.

    Embeddings are kept on `device`, by default where they are made.
    """

    def __init__(self, tokenizer: Any, encoder: Any, tokens: int, device: torch.device | None = None) -> None:
        self._tokenizer, self._encoder, self._tokens, self._device = tokenizer, encoder, tokens, device
        self._made: OrderedDict[str, Tensor] = OrderedDict()

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Embeddings of shape (len(captions), tokens, channels); rows past a caption's end are exactly zero."""
        return torch.stack([self._one(clean_caption(caption)) for caption in captions])

    def remember(self, embeddings: Mapping[str, Tensor], device: torch.device | None = None) -> None:
        """Keep embeddings made before.

        Args:
            embeddings: caption → its valid rows, shape (tokens, channels), as `Batch.text` has them. Rows beyond this
                embedder's tokens are cut off.
            device: where they are wanted; by default where they are.
        """
        for caption, rows in embeddings.items():
            self._keep(clean_caption(caption), rows.to(device) if device is not None else rows)

    def _one(self, caption: str) -> Tensor:
        if caption not in self._made:
            if self._encoder is None:
                raise TuneError(
                    f"no embedding of the caption {caption[:60]!r} came with the shards; load a text encoder"
                )
            self._keep(caption, embedded(self._tokenizer, self._encoder, caption, self._tokens)[0])
        self._made.move_to_end(caption)
        return self._made[caption]

    def _keep(self, caption: str, rows: Tensor) -> None:
        rows = rows if self._device is None else rows.to(self._device)
        padded = rows.new_zeros(self._tokens, rows.shape[1])
        # Zeroed, not masked: Wan was trained to see the zeros.
        padded[: len(rows)] = rows[: self._tokens]
        self._made[caption] = padded
        self._made.move_to_end(caption)
        if len(self._made) > _KEPT:
            self._made.popitem(last=False)
