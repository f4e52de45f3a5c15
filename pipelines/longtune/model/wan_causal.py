"""The frame-causal generator: diffusers' `WanTransformer3DModel`, its weights and blocks untouched.

Only two things differ from the stock class: self-attention runs through a processor that knows masks and a cache, and
`forward` takes one timestep for each frame. Training calls it with a mask, streaming with a cache.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from diffusers import WanTransformer3DModel
from torch import Tensor, nn

from pipelines.longtune.model.cache import KeyValue, SinkWindowCache
from pipelines.longtune.model.rope import Angles, angles, rotate


@dataclass(frozen=True)
class AttentionContext:
    """What self-attention needs beside its input. It travels in the place of diffusers' `rotary_emb`, which a block
    hands through untouched; so blocks are called as ever, and checkpointing, adapters and sharding keep working."""

    query_angles: Angles
    key_angles: Angles
    mask: Tensor | None
    past: KeyValue | None = None
    fresh: list[KeyValue] | None = None


class CausalAttnProcessor:
    """Self-attention over [cached past | input], with un-rotated keys handed out for the cache."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: AttentionContext | None = None,
    ) -> Tensor:
        """Attend; `hidden_states` is (batch, tokens, channels), the context comes as `rotary_emb`."""
        if rotary_emb is None:
            raise ValueError("CausalAttnProcessor needs an AttentionContext; call CausalWanTransformer3DModel.forward")
        context = rotary_emb
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1))
        key = attn.norm_k(attn.to_k(hidden_states)).unflatten(2, (attn.heads, -1))
        value = attn.to_v(hidden_states).unflatten(2, (attn.heads, -1))
        if context.fresh is not None:
            context.fresh.append((key, value))
        if context.past is not None:
            key = torch.cat([context.past[0], key], dim=1)
            value = torch.cat([context.past[1], value], dim=1)
        query, key = rotate(query, context.query_angles), rotate(key, context.key_angles)
        out = F.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=context.mask
        )
        out = out.transpose(1, 2).flatten(2, 3).type_as(query)
        return attn.to_out[1](attn.to_out[0](out))


class CausalWanTransformer3DModel(WanTransformer3DModel):
    """`WanTransformer3DModel` with a timestep for each frame, and attention by mask or cache.

    Weights and config are those of the stock class: either loads the other's folder.
    """

    # Made by the stock constructor; named here because mypy cannot see into diffusers.
    config: Any
    rope: nn.Module
    patch_embedding: nn.Module
    condition_embedder: nn.Module
    blocks: Any
    norm_out: nn.Module
    proj_out: nn.Module
    scale_shift_table: nn.Parameter
    gradient_checkpointing: bool
    _gradient_checkpointing_func: Any

    @functools.wraps(WanTransformer3DModel.__init__)  # type: ignore[misc] # diffusers reads its config keys here
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.config.patch_size[0] != 1 or self.config.added_kv_proj_dim is not None:
            raise ValueError("a causal generator needs a text-to-video Wan with one latent frame a token")
        for block in self.blocks:
            block.attn1.set_processor(CausalAttnProcessor())

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor,
        text: Tensor,
        *,
        positions: Tensor,
        mask: Tensor | None = None,
        cache: SinkWindowCache | None = None,
        cache_positions: Tensor | None = None,
        collect: bool = False,
    ) -> tuple[Tensor, list[KeyValue]]:
        """Predict the velocity (noise - clean) of every frame.

        Args:
            latents: shape (batch, channels, frames, height, width), normalised.
            timestep: 0 (clean) to 1000 (noise), shape (batch, frames).
            text: text embeddings, shape (batch, text tokens, text channels), zero past each caption's end.
            positions: place in time of each frame, shape (frames,).
            mask: True where a token may look, shape (tokens, cached tokens + tokens); None lets all see all.
            cache: the past to read beside the input.
            cache_positions: place in time of each cached frame, shape (len(cache.frames),).
            collect: also return the input's un-rotated keys, and values, for each layer.

        Returns:
            The velocity, shaped as `latents`, and the collected keys and values (empty unless `collect`).
        """
        batch, _, frames, height, width = latents.shape
        _, patch_h, patch_w = self.config.patch_size
        rows, columns = height // patch_h, width // patch_w
        query_angles = angles(self.rope, positions, rows, columns)
        key_angles = query_angles
        if cache is not None and cache.frames:
            if cache_positions is None:
                raise ValueError("a cache needs cache_positions")
            key_angles = angles(self.rope, torch.cat([cache_positions, positions]), rows, columns)
        fresh: list[KeyValue] = []
        context = AttentionContext(query_angles, key_angles, mask, fresh=fresh if collect else None)

        states = self.patch_embedding(latents).flatten(2).transpose(1, 2).contiguous()
        # Embedded once a frame, then repeated: the same as diffusers' per-token timestep, and cheaper.
        temb, modulation, text, _ = self.condition_embedder(timestep.flatten(), text, timestep_seq_len=frames)
        temb = temb.repeat_interleave(rows * columns, dim=1)
        modulation = modulation.unflatten(2, (6, -1)).repeat_interleave(rows * columns, dim=1)

        for index, block in enumerate(self.blocks):
            past = cache.layers[index] if cache is not None and cache.frames else None
            states = self._run(block, states, text, modulation, replace(context, past=past))

        shift, scale = (self.scale_shift_table.unsqueeze(0) + temb.unsqueeze(2)).chunk(2, dim=2)
        states = (self.norm_out(states.float()) * (1 + scale.squeeze(2)) + shift.squeeze(2)).type_as(states)
        patches = self.proj_out(states).reshape(batch, frames, rows, columns, patch_h, patch_w, -1)
        velocity = patches.permute(0, 6, 1, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)
        return velocity, fresh

    def _run(
        self, block: nn.Module, states: Tensor, text: Tensor, modulation: Tensor, context: AttentionContext
    ) -> Tensor:
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            return self._gradient_checkpointing_func(block, states, text, modulation, context)
        return block(states, text, modulation, context)
