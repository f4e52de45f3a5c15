"""The frame-causal generator: diffusers' `WanTransformer3DModel`, its weights and blocks untouched.

Only two things differ from the stock class: self-attention runs through a processor that knows masks and a cache, and
`forward` takes one timestep for each frame. Training calls it with a mask, streaming with a cache.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from diffusers import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanAttnProcessor
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from pipelines.longtune.model.cache import KeyValue, SinkWindowCache
from pipelines.longtune.model.masks import Mask
from pipelines.longtune.model.rope import Angles, Places, angles, rotate


@dataclass(frozen=True)
class AttentionContext:
    """What self-attention needs beside its input. It travels in the place of diffusers' `rotary_emb`, which a block
    hands through untouched; so blocks are called as ever, and checkpointing, adapters and sharding keep working.

    `far_angles` turn the queries that meet the keys of the sink, which are those of `sink`, (tokens,), where these
    stand at another distance than by their number.
    """

    query_angles: Angles
    key_angles: Angles
    mask: Mask | None
    past: KeyValue | None = None
    fresh: list[KeyValue] | None = None
    far_angles: Angles | None = None
    sink: Tensor | None = None


@dataclass(frozen=True)
class TextContext:
    """A caption's states together with its keys and values in one layer: `kept` to read, or `fresh` to be filled. It
    travels in the place of the states, which a block hands through to cross-attention untouched."""

    states: Tensor
    kept: KeyValue | None
    fresh: list[KeyValue]


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
        scale = query.shape[-1] ** -0.5
        near, key = rotate(query, context.query_angles), rotate(key, context.key_angles)
        if context.far_angles is not None and context.sink is not None:
            # Two rotations of a query in one product: beside each other in the channels, where keys have one or none.
            near = torch.cat([near, rotate(query, context.far_angles)], dim=-1)
            sink = context.sink[None, :, None, None].to(key)
            key = torch.cat([key * (1 - sink), key * sink], dim=-1)
        out = _attend(near.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), context.mask, scale)
        out = out.transpose(1, 2).flatten(2, 3).type_as(query)
        return attn.to_out[1](attn.to_out[0](out))


class TextAttnProcessor(WanAttnProcessor):
    """Cross-attention that can keep a caption's keys and values; given plain states, it is diffusers' own."""

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Any = None, *rest: Any, **options: Any
    ) -> Tensor:
        """Attend to the caption; `encoder_hidden_states` is a tensor or a `TextContext`."""
        if not isinstance(encoder_hidden_states, TextContext):
            return super().__call__(attn, hidden_states, encoder_hidden_states, *rest, **options)
        context = encoder_hidden_states
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1))
        if context.kept is None:
            key = attn.norm_k(attn.to_k(context.states)).unflatten(2, (attn.heads, -1))
            value = attn.to_v(context.states).unflatten(2, (attn.heads, -1))
            context.fresh.append((key, value))
        else:
            key, value = context.kept
        out = _attend(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), None, query.shape[-1] ** -0.5)
        out = out.transpose(1, 2).flatten(2, 3).type_as(query)
        return attn.to_out[1](attn.to_out[0](out))


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Mask | None, scale: float) -> Tensor:
    """Attention of (batch, heads, tokens, channels): flex_attention for a `BlockMask`, SDPA for all else."""
    if not isinstance(mask, BlockMask):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    if query.device.type == "cuda":
        return _compiled_flex()(query, key, value, block_mask=mask, scale=scale)
    if torch.is_grad_enabled() and query.requires_grad:
        raise ValueError("flex_attention has no backward pass on a CPU: train there with a dense mask")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it is slow here: it is only compared with
        return flex_attention(query, key, value, block_mask=mask, scale=scale)


@functools.cache
def _compiled_flex() -> Callable[..., Tensor]:
    return torch.compile(flex_attention)


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
            block.attn2.set_processor(TextAttnProcessor())

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor,
        text: Tensor,
        *,
        positions: Tensor | Places,
        mask: Mask | None = None,
        cache: SinkWindowCache | None = None,
        cache_positions: Tensor | None = None,
        collect: bool = False,
        text_memory: list[KeyValue] | None = None,
    ) -> tuple[Tensor, list[KeyValue]]:
        """Predict the velocity (noise - clean) of every frame.

        Args:
            latents: shape (batch, channels, frames, height, width), normalised.
            timestep: 0 (clean) to 1000 (noise), shape (batch, frames).
            text: text embeddings, shape (batch, text tokens, text channels), zero past each caption's end.
            positions: place in time of each frame, shape (frames,); `Places` (without a cache) where blocks differ in
                how far the sink is: see `rope.training_positions`.
            mask: True where a token may look, shape (tokens, cached tokens + tokens), or a `BlockMask` of that; None
                lets all see all.
            cache: the past to read beside the input; a gradient never enters it.
            cache_positions: place in time of each cached frame, shape (len(cache.frames),).
            collect: also return the input's un-rotated keys, and values, for each layer.
            text_memory: the caption's keys and values by layer: filled if empty, read (in the place of `text`) if not.
                Only without gradients, and only while the weights stay as they are.

        Returns:
            The velocity, shaped as `latents`, and the collected keys and values (empty unless `collect`).

        Raises:
            ValueError: a cache without positions or with `Places`, or a text memory under gradients.
            TuneError: a position is beyond the rotary table.
        """
        batch, _, frames, height, width = latents.shape
        _, patch_h, patch_w = self.config.patch_size
        rows, columns = height // patch_h, width // patch_w
        near = positions.near if isinstance(positions, Places) else positions
        query_angles = angles(self.rope, near, rows, columns)
        key_angles = query_angles
        if cache is not None and cache.frames:
            if cache_positions is None or isinstance(positions, Places):
                raise ValueError("a cache needs cache_positions, and one place for each frame")
            key_angles = angles(self.rope, torch.cat([cache_positions, near]), rows, columns)
        if text_memory is not None and torch.is_grad_enabled():
            raise ValueError("a text memory holds no graph: call under torch.no_grad(), or without it")
        fresh: list[KeyValue] = []
        context = AttentionContext(query_angles, key_angles, mask, fresh=fresh if collect else None)
        if isinstance(positions, Places):
            context = replace(
                context,
                far_angles=angles(self.rope, positions.far, rows, columns),
                sink=positions.sink.repeat_interleave(rows * columns),
            )
        kept = list(text_memory or ())

        states = self.patch_embedding(latents).flatten(2).transpose(1, 2).contiguous()
        # Embedded once a frame, then repeated: the same as diffusers' per-token timestep, and cheaper.
        # With keys and values at hand, the caption itself is not needed: no row of it is embedded.
        text = text[:, :0] if kept else text
        temb, modulation, text, _ = self.condition_embedder(timestep.flatten(), text, timestep_seq_len=frames)
        temb = temb.repeat_interleave(rows * columns, dim=1)
        modulation = modulation.unflatten(2, (6, -1)).repeat_interleave(rows * columns, dim=1)

        for index, block in enumerate(self.blocks):
            past = cache.layers[index] if cache is not None and cache.frames else None
            caption: Tensor | TextContext = text
            if text_memory is not None:
                caption = TextContext(text, kept[index] if kept else None, text_memory)
            states = self._run(block, states, caption, modulation, replace(context, past=past))

        shift, scale = (self.scale_shift_table.unsqueeze(0) + temb.unsqueeze(2)).chunk(2, dim=2)
        states = (self.norm_out(states.float()) * (1 + scale.squeeze(2)) + shift.squeeze(2)).type_as(states)
        patches = self.proj_out(states).reshape(batch, frames, rows, columns, patch_h, patch_w, -1)
        velocity = patches.permute(0, 6, 1, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)
        return velocity, fresh

    def _run(
        self,
        block: nn.Module,
        states: Tensor,
        text: Tensor | TextContext,
        modulation: Tensor,
        context: AttentionContext,
    ) -> Tensor:
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            return self._gradient_checkpointing_func(block, states, text, modulation, context)
        return block(states, text, modulation, context)
