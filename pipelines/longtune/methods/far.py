"""FAR: each block is denoised beside a past of which some is clean, and the far past is seen as coarse patches.

Like diffusion forcing, every block of the short window has a level of its own; but some blocks are given clean, marked
by a timestep of their own (-1), and not scored: so the model knows the clean context that it will have when it is
sampled. Frames before the short window are clean, coarse and marked by -2. How long the clip is in all is drawn anew at
each step. (Gu et al. 2025, "Long-Context Autoregressive Video Modeling with Next-Frame Prediction".)

The short window is `causal.window`. Without `long_context` any stream of that window samples the model. With it,
`FarStream` does, which reads the coarse past, too.

Ours: FAR's frames are blocks here, as in AnyFlow-FAR; the length is drawn in whole blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.methods.flow import block_index, draw_levels, tokens_per_frame, velocity_loss
from pipelines.longtune.methods.method import LatentBatch, Loss, Method, Tools, shared
from pipelines.longtune.methods.options import FarOptions
from pipelines.longtune.model.far import STRETCH, FarPast, FarWanTransformer3DModel, attach_far, far_angles
from pipelines.longtune.model.masks import Mask, token_mask
from pipelines.longtune.noise import TIMESTEPS, noised

CLEAN, FAR = -1.0, -2.0  # timesteps that mark a clean frame, and one of the far past; FAR's


class Far(Method):
    """Mean squared error of the velocity on the noisy blocks of the short window."""

    def __init__(self, tools: Tools, options: FarOptions) -> None:
        super().__init__(tools)
        self._options = options
        if options.long_context and not isinstance(tools.generator, FarWanTransformer3DModel):
            attach_far(tools.generator)

    def losses(self, batch: LatentBatch, step: int, rng: torch.Generator) -> dict[str, Loss]:
        options, layout, model = self._options, self.tools.layout, self.tools.generator
        end = self._draw_end(batch, step)
        start = max(0, end - layout.window)
        fine, target = batch.latents[:, :, start:end], batch.target[:, start:end]
        window = LatentBatch(fine, batch.frames[start:end], target, batch.captions, batch.timelines, batch.keys)
        index = block_index(window.frames.cpu(), layout.block)
        levels = draw_levels(window, layout.block, self.tools.shift, rng)
        if options.levels == "logit_normal":
            levels = torch.randn(len(fine), int(index[-1]) + 1, generator=rng).sigmoid()[:, index]
        clean = (torch.rand(len(fine), int(index[-1]) + 1, generator=rng) < options.clean)[:, index].to(fine.device)
        levels = torch.where(clean, 0, levels.to(fine))
        timestep = torch.where(clean, CLEAN, levels * TIMESTEPS)
        noise = torch.randn(fine.shape, generator=rng).to(fine)
        far = batch.latents[:, :, :start] if options.long_context and start else None
        velocity, _ = model(
            noised(fine, noise, levels),
            timestep if far is None else torch.cat([timestep.new_full((len(far), start), FAR), timestep], dim=1),
            self.tools.embed(batch.captions),
            **far_inputs(far, end - start, tokens_per_frame(model, fine), layout, fine.device),
        )
        loss = velocity_loss(velocity, noise - fine, target & ~clean)
        return {"generator": Loss(loss.value, loss.by_sample, {"frames": float(end), "coarse": float(start)})}

    def _draw_end(self, batch: LatentBatch, step: int) -> int:
        """Frames seen in all: whole blocks, from a short window (and the first frame that counts) to all there are."""
        block, frames = self.tools.layout.block, batch.latents.shape[2]
        counting = batch.target.any(dim=0).nonzero()
        first = int(counting[0]) + 1 if len(counting) else 1
        least = -(-max(min(self.tools.layout.window, frames), first) // block)
        chance = float(torch.rand(1, generator=shared(self.tools.seed, step)))
        return min(frames, block * (least + int(chance * (-(-frames // block) - least + 1))))


def far_inputs(
    far: Tensor | None, frames: int, tokens: int, layout: CausalConfig, device: torch.device
) -> dict[str, Any]:
    """Places and mask of a clip of coarse and fine frames, as the model's forward takes them.

    Places count from the clip's first frame, so they never leave the length trained on.
    """
    start = 0 if far is None else far.shape[2]
    places = torch.arange(start + frames, device=device)
    inputs: dict[str, Any] = {"positions": places[start:], "mask": far_mask(start, frames, tokens, layout, device)}
    return inputs if far is None else inputs | {"coarse": far, "coarse_positions": places[:start]}


def far_mask(coarse: int, frames: int, tokens: int, layout: CausalConfig, device: torch.device) -> Mask:
    """Mask of [coarse | fine]: block by block no one sees what comes later, and all see all that came before.

    Args:
        coarse: coarse frames.
        frames: fine frames.
        tokens: of a fine frame; a coarse one has a quarter.
        layout: the block; what the window leaves out is not there at all.
        device: of the mask.
    """
    numbers = torch.arange(coarse + frames, device=device) // layout.block
    table = numbers[:, None] >= numbers[None, :]
    if not coarse:
        return token_mask(table, tokens)
    # In units of a coarse frame's tokens, of which a fine frame has a whole number.
    repeats = torch.tensor([1] * coarse + [STRETCH**2] * frames, device=device)
    units = table.repeat_interleave(repeats, dim=0).repeat_interleave(repeats, dim=1)
    return token_mask(units, tokens // STRETCH**2)


class FarStream:
    """A video that is made block by block beside its short window and its coarse far past.

    Serves where a `CausalStream` does: `stream_blocks` takes either. What each block sees is read once, just as in
    training, and then kept while the block is denoised; time and memory of a block grow until `span` is full.

    Args:
        model: a generator with the coarse embedder.
        text: embeddings of the prompts, shape (batch, text tokens, text channels).
        layout: block and window.
        span: frames in a clip of training: the far past goes no further back.
        rng: the CPU generator that noise is drawn from; part of the state.
        guidance: classifier-free guidance; above 1 all is read for `dropped`, too.
        dropped: embeddings of the empty caption, shape (1, text tokens, text channels); needed if guidance is above 1.
    """

    def __init__(
        self,
        model: Any,
        text: Tensor,
        layout: CausalConfig,
        *,
        span: int,
        rng: torch.Generator | None = None,
        guidance: float = 1.0,
        dropped: Tensor | None = None,
    ) -> None:
        if (guidance > 1) != (dropped is not None):
            raise ValueError("guidance above 1 goes with the empty caption's embeddings, and these with guidance")
        self._model, self._text, self._layout, self._span = model, text, layout, span
        self._guidance, self._dropped = guidance, dropped
        self.rng = torch.Generator() if rng is None else rng
        self.device, self.frame = text.device, 0
        self.kept: Tensor | None = None
        self.cache = FarPast()

    def velocity(self, block: Tensor, level: float) -> Tensor:
        """Velocity of the next block at a noise level; shapes (batch, channels, block, height, width)."""
        held = 0 if self.kept is None else self.kept.shape[2]
        both, text = self._doubled(block)
        timestep = torch.full((len(both), block.shape[2]), level * TIMESTEPS, device=block.device)
        positions = torch.arange(held, held + block.shape[2], device=block.device)
        velocity = self._model(both, timestep, text, positions=positions, past=self.cache)[0]
        if self._dropped is None:
            return velocity
        told, untold = velocity.chunk(2)
        return untold + self._guidance * (told - untold)

    @property
    def text(self) -> Tensor:
        """Embeddings of the prompts in force."""
        return self._text

    @torch.no_grad()
    def commit(self, block: Tensor) -> None:
        """Remember the finished block, and read anew what the next one sees."""
        kept = block.detach() if self.kept is None else torch.cat([self.kept, block.detach()], dim=2)
        self.kept = kept[:, :, -(self._span - self._layout.block) :]
        self.frame += block.shape[2]
        self._read()

    @torch.no_grad()
    def switch(self, text: Tensor) -> None:
        """Change the prompt from the next block on; the past is read anew under it."""
        self._text = text
        self._read()

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers from which `load_state_dict` goes on."""
        state: dict[str, Any] = {"frame": self.frame, "text": self._text, "rng": self.rng.get_state()}
        return state if self.kept is None else state | {"kept": self.kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave, of a stream of the same model, layout and span."""
        self.frame, self._text = int(state["frame"]), state["text"].to(self.device)
        self.rng.set_state(state["rng"])
        self.kept = state["kept"].to(self.device) if "kept" in state else None
        self._read()

    def _doubled(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Latents and text as the model gets them: with guidance once more, under the empty caption."""
        if self._dropped is None:
            return latents, self._text
        return torch.cat([latents, latents]), torch.cat([self._text, self._dropped.expand_as(self._text)])

    @torch.no_grad()
    def _read(self) -> None:
        if self.kept is None:
            self.cache = FarPast()
            return
        kept, text = self._doubled(self.kept)
        # The window holds the next block, too.
        start = max(0, kept.shape[2] - (self._layout.window - self._layout.block))
        far, near = (kept[:, :, :start] if start else None), kept[:, :, start:]
        fine = near.shape[2]
        inputs = far_inputs(far, fine, tokens_per_frame(self._model, near), self._layout, near.device)
        timestep = torch.full((len(near), start + fine), CLEAN, device=near.device)
        timestep[:, :start] = FAR
        _, fresh = self._model(near, timestep, text, **{"past": None, **inputs}, collect=True)
        _, patch_h, patch_w = self._model.config.patch_size
        grid = near.shape[3] // patch_h, near.shape[4] // patch_w
        turn = far_angles(self._model.rope, inputs.get("coarse_positions"), inputs["positions"], *grid)
        self.cache = FarPast(tuple(fresh), turn)
