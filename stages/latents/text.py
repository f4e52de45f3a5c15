"""Captions to embeddings, as Wan expects them."""

from __future__ import annotations

import html
from typing import Any

import torch
from torch import Tensor


def clean_caption(caption: str) -> str:
    """HTML entities resolved and white space joined, as Wan's own pipeline does."""
    return " ".join(html.unescape(html.unescape(caption)).split())


@torch.no_grad()
def embedded(tokenizer: Any, encoder: Any, caption: str, tokens: int) -> tuple[Tensor, bool]:
    """The embedding of one clean caption without padding, shape (its tokens, channels), and whether it was cut.

    Encoded padded to `tokens` rows, as Wan's pipeline does. What follows the caption's end is zero by its rules.
    """
    batch = tokenizer([caption], padding="max_length", max_length=tokens, truncation=True, return_tensors="pt")
    batch = batch.to(encoder.device)
    states = encoder(batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state[0]
    rows = int(batch.attention_mask[0].sum())
    return states[:rows], rows == tokens and len(tokenizer(caption).input_ids) > tokens
