"""FAR's long context: the far past as coarse patches, beside a short window of fine ones.

A frame of the far past becomes a quarter of the tokens, by an embedder of its own, so that four times the past fits
into the same attention. (Gu et al. 2025, FAR; on Wan as in AnyFlow-FAR, from whose idea the embedder's start comes: the
fine embedder, stretched.) All other weights are the fine frames' own; FAR from scratch gives the coarse ones their own
projections, too.

The embedder is the only weight that the stock class does not know. It is saved in a file of its own beside the
transformer, which stays loadable by diffusers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipelines.longtune.errors import TuneError
from pipelines.longtune.model.cache import KeyValue
from pipelines.longtune.model.masks import Mask
from pipelines.longtune.model.rope import Angles, angles
from pipelines.longtune.model.wan_causal import AttentionContext, CausalWanTransformer3DModel

STRETCH = 2  # a coarse patch is this many fine ones high, and wide: AnyFlow-FAR's (1, 4, 4) over Wan's (1, 2, 2)
FILE = "far_patch_embedding.safetensors"
_MODULE = "far_patch_embedding"


@dataclass(frozen=True)
class FarPast:
    """Keys (not rotated) and values of a past that was read once, by layer, and the rotation of its keys."""

    layers: tuple[KeyValue, ...] = ()
    angles: Angles | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held by all layers."""
        return sum(tensor.nbytes for layer in self.layers for tensor in layer)


class FarWanTransformer3DModel(CausalWanTransformer3DModel):
    """The causal generator with a coarse embedder; made of one by `attach_far`."""

    far_patch_embedding: nn.Module

    def forward(self, latents: Tensor, timestep: Tensor, text: Tensor, **options: Any) -> tuple[Tensor, list[KeyValue]]:
        """As the causal generator's, or, with `coarse` or `past`, as `read`: one entry, so that sharding sees it."""
        if "coarse" in options or "past" in options:
            return self._read(latents, timestep, text, **options)
        return super().forward(latents, timestep, text, **options)

    def _read(
        self,
        latents: Tensor,
        timestep: Tensor,
        text: Tensor,
        *,
        positions: Tensor,
        coarse: Tensor | None = None,
        coarse_positions: Tensor | None = None,
        past: FarPast | None = None,
        mask: Mask | None = None,
        collect: bool = False,
    ) -> tuple[Tensor, list[KeyValue]]:
        """Velocity of fine frames beside coarse ones.

        Args:
            latents: the fine frames, shape (batch, channels, frames, height, width).
            timestep: of the coarse frames, then of the fine, shape (batch, coarse frames + frames).
            text: embeddings, shape (batch, text tokens, text channels).
            positions: place in time of each fine frame, shape (frames,).
            coarse: the far past, shape (batch, channels, coarse frames, height, width).
            coarse_positions: place in time of each coarse frame.
            past: to read beside the input; a gradient never enters it.
            mask: between tokens, [past | coarse | fine] being the keys; None lets all see all.
            collect: also return the input's un-rotated keys, and values, for each layer.

        Returns:
            The velocity of the fine frames, and the collected keys and values.
        """
        batch, _, frames, height, width = latents.shape
        _, patch_h, patch_w = self.config.patch_size
        rows, columns = height // patch_h, width // patch_w
        far_frames = 0 if coarse is None else coarse.shape[2]
        tokens = torch.tensor([rows * columns // STRETCH**2] * far_frames + [rows * columns] * frames)
        turn = far_angles(self.rope, coarse_positions, positions, rows, columns)
        fresh: list[KeyValue] = []
        keys = turn
        if past is not None and past.angles is not None:
            keys = torch.cat([past.angles[0], turn[0]], dim=1), torch.cat([past.angles[1], turn[1]], dim=1)
        context = AttentionContext(turn, keys, mask, fresh=fresh if collect else None)

        states = self.patch_embedding(latents).flatten(2).transpose(1, 2)
        if coarse is not None:
            states = torch.cat([self.far_patch_embedding(coarse).flatten(2).transpose(1, 2), states], dim=1)
        repeats = tokens.to(latents.device)
        temb, modulation, text, _ = self.condition_embedder(timestep.flatten(), text, timestep_seq_len=len(tokens))
        temb = temb.repeat_interleave(repeats, dim=1)
        modulation = modulation.unflatten(2, (6, -1)).repeat_interleave(repeats, dim=1)
        for index, block in enumerate(self.blocks):
            held = past.layers[index] if past is not None and past.layers else None
            states = self._run(block, states, text, modulation, replace(context, past=held))

        fine = frames * rows * columns
        states, temb = states[:, -fine:], temb[:, -fine:]
        shift, scale = (self.scale_shift_table.unsqueeze(0) + temb.unsqueeze(2)).chunk(2, dim=2)
        states = (self.norm_out(states.float()) * (1 + scale.squeeze(2)) + shift.squeeze(2)).type_as(states)
        patches = self.proj_out(states).reshape(batch, frames, rows, columns, patch_h, patch_w, -1)
        return patches.permute(0, 6, 1, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4), fresh


def attach_far(model: Any, folder: Path | None = None) -> None:
    """Give a causal generator the coarse embedder, in place: stretched from its own, or as saved in `folder`.

    Stretched by trilinear interpolation, as AnyFlow-FAR does; and (ours) divided by the number of fine patches in a
    coarse one, so that a flat picture is embedded alike by both.

    Raises:
        TuneError: the file is missing, or of another model.
    """
    fine = model.patch_embedding
    patch = (fine.kernel_size[0], *(STRETCH * size for size in fine.kernel_size[1:]))
    coarse: Any = nn.Conv3d(fine.in_channels, fine.out_channels, patch, patch).to(fine.weight)
    with torch.no_grad():
        if folder is None:
            coarse.weight.copy_(F.interpolate(fine.weight.float(), patch, mode="trilinear") / STRETCH**2)
            coarse.bias.copy_(fine.bias)
        else:
            _load(coarse, folder / FILE)
    # As fully_shard does: the object stays the same, with its adapters and hooks.
    model.__class__ = FarWanTransformer3DModel
    model.far_patch_embedding = coarse


def split_far(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A state dict without the coarse embedder, and the embedder's own (empty if there is none)."""
    far = {key: value for key, value in weights.items() if key.startswith(f"{_MODULE}.")}
    return {key: value for key, value in weights.items() if key not in far}, far


def save_far(folder: Path, far: Mapping[str, Tensor]) -> None:
    """Write the coarse embedder's weights, as `split_far` gives them, into `folder`."""
    tensors = {key.removeprefix(f"{_MODULE}."): value.detach().cpu().contiguous() for key, value in far.items()}
    save_file(tensors, folder / FILE, {"format": "pt"})


def far_angles(rope: Any, coarse: Tensor | None, fine: Tensor, rows: int, columns: int) -> Angles:
    """Rotations of the tokens [coarse | fine]; a coarse token stands in the middle of the fine ones that it covers.

    Args:
        rope: the model's `WanRotaryPosEmbed`.
        coarse: places in time of the coarse frames, or None.
        fine: places in time of the fine frames.
        rows: fine tokens down a frame.
        columns: fine tokens across a frame.

    Raises:
        TuneError: coarse patches do not tile the frame.
    """
    turn = angles(rope, fine, rows, columns)
    if coarse is None:
        return turn
    if rows % STRETCH or columns % STRETCH:
        raise TuneError(
            f"method far: a frame of {rows} x {columns} tokens cannot be tiled by coarse patches of {STRETCH} x "
            f"{STRETCH}; data.height and data.width must be multiples of 32"
        )
    sizes = [rope.t_dim, rope.h_dim, rope.w_dim]
    # The turn for one step along each axis, read back from the tables: a place need not be a whole number then.
    steps = torch.atan2(rope.freqs_sin[1], rope.freqs_cos[1]).split(sizes)
    middles = [torch.arange(size // STRETCH) * STRETCH + (STRETCH - 1) / 2 for size in (rows, columns)]
    places = [place.to(steps[0]) for place in (coarse, *middles)]
    time, down, across = (place[:, None] * step for place, step in zip(places, steps, strict=True))
    grid = [len(time), len(down), len(across)]
    phase = torch.cat(
        [
            time[:, None, None].expand(*grid, -1),
            down[None, :, None].expand(*grid, -1),
            across[None, None].expand(*grid, -1),
        ],
        dim=-1,
    ).reshape(1, -1, 1, sum(sizes))
    return torch.cat([phase.cos().to(turn[0]), turn[0]], dim=1), torch.cat([phase.sin().to(turn[1]), turn[1]], dim=1)


def _load(coarse: nn.Module, path: Path) -> None:
    try:
        coarse.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise TuneError(f"{path}: the coarse embedder cannot be loaded into this transformer: {reason}") from error
