"""Captions to embeddings, as Wan expects them: cut or padded to a fixed length, with zeros past each caption's end.

The text encoder is frozen, so an embedding is made once for each caption and kept while it is in use.
"""

from __future__ import annotations

import html
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_KEPT = 256  # captions; one is at most 8 MB with UMT5-XXL


class TextEmbedder:
    """A tokenizer and a frozen UMT5 encoder."""

    def __init__(self, tokenizer: Any, encoder: Any, tokens: int) -> None:
        self._tokenizer, self._encoder, self._tokens = tokenizer, encoder, tokens
        self._made: OrderedDict[str, Tensor] = OrderedDict()

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Embeddings of shape (len(captions), tokens, channels); rows past a caption's end are exactly zero."""
        return torch.stack([self._one(clean_caption(caption)) for caption in captions])

    @torch.no_grad()
    def _one(self, caption: str) -> Tensor:
        if caption in self._made:
            self._made.move_to_end(caption)
            return self._made[caption]
        batch = self._tokenizer(
            [caption], padding="max_length", max_length=self._tokens, truncation=True, return_tensors="pt"
        ).to(self._encoder.device)
        states = self._encoder(batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state[0]
        # Zeroed, not masked: Wan was trained to see the zeros.
        states = states * batch.attention_mask[0, :, None]
        self._made[caption] = states
        if len(self._made) > _KEPT:
            self._made.popitem(last=False)
        return states


def clean_caption(caption: str) -> str:
    """HTML entities resolved and white space joined, as Wan's own pipeline does."""
    return " ".join(html.unescape(html.unescape(caption)).split())
