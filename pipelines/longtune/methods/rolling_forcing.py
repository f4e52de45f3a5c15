"""Rolling Forcing's window: consecutive blocks at rising noise levels, denoised together, see one another.

A block is finished while the next ones are under way, so it is made with a view of what will follow, and what follows
can still give way to it. (Liu et al. 2025, "Rolling Forcing"; the local time is that of rolling diffusion, Ruhe et al.
2024.) Every forward pass of the sampler moves the whole window one rung down: the first block is finished and put into
the cache, and a new one of pure noise joins at the end.

Ours: the paper distils from a teacher by DMD; here the windows are learnt from real takes by flow matching, in one pass
over [clean | noisy] as in teacher forcing. Windows do not overlap, so each block is learnt once (as in the paper). The
rungs' place is drawn, so that the sampler may go down in any number of steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.errors import UsageError
from pipelines.longtune.methods.flow import block_index, tokens_per_frame, velocity_loss
from pipelines.longtune.methods.method import LatentBatch, Loss, Method, Tools
from pipelines.longtune.methods.options import RollingForcingOptions
from pipelines.longtune.model.masks import token_mask, visible
from pipelines.longtune.model.rope import training_positions
from pipelines.longtune.noise import TIMESTEPS, noised, shifted
from pipelines.longtune.stream import CausalStream


class RollingForcing(Method):
    """Mean squared error of the velocity over the windows' blocks."""

    def __init__(self, tools: Tools, options: RollingForcingOptions) -> None:
        super().__init__(tools)
        self._options = options

    def losses(self, batch: LatentBatch, step: int, rng: torch.Generator) -> dict[str, Loss]:
        layout, model, clean, blocks = self.tools.layout, self.tools.generator, batch.latents, self._options.blocks
        windows = draw_windows(batch.frames, batch.target, layout.block, blocks, rng)
        part = torch.rand(len(clean), 1, generator=rng)
        levels = rung_levels(windows.rung, part, blocks, self.tools.shift).to(clean)
        noise = torch.randn(clean.shape, generator=rng).to(clean)
        table = window_mask(batch.frames.cpu(), windows, layout).to(clean.device)
        # A whole window looks at the sink as its first block does, as when it is sampled.
        looks = torch.cat([batch.frames, windows.start.to(clean.device)])
        velocity, _ = model(
            torch.cat([clean, noised(clean, noise, levels)], dim=2),
            torch.cat([torch.zeros_like(levels), levels * TIMESTEPS], dim=1),
            self.tools.embed(batch.captions),
            positions=training_positions(batch.frames.repeat(2), layout, looks),
            mask=token_mask(table, tokens_per_frame(model, clean)),
        )
        return {"generator": velocity_loss(velocity[:, :, clean.shape[2] :], noise - clean, batch.target)}


@dataclass(frozen=True)
class Windows:
    """How a clip's frames are laid out in rolling windows; each tensor of shape (frames,), on the CPU.

    Attributes:
        number: window of each frame, rising.
        start: number (in its take) of the first frame of each frame's window.
        rung: place of each frame's block in a full window: 0 is the next to be finished, the last is nearly noise.
    """

    number: Tensor
    start: Tensor
    rung: Tensor


def draw_windows(frames: Tensor, target: Tensor, block: int, blocks: int, rng: torch.Generator) -> Windows:
    """Windows side by side, from the first block that counts on.

    The first may be short, holding the highest rungs only, as when a stream starts; so may be the last, which holds the
    lowest only, as when a stream ends. Each block before the first that counts is a window of its own.
    """
    frames = frames.cpu()
    index = block_index(frames, block)
    counting = target.any(dim=0).cpu()
    first = int(index[counting].min()) if bool(counting.any()) else 0
    head = int(torch.randint(1, blocks + 1, (1,), generator=rng))  # blocks of the first window
    place = index - first + (blocks - head)  # as if the first window were full
    rung = torch.where(place < blocks - head, 0, place % blocks)
    number = torch.where(index < first, index, first + place // blocks)
    starts = torch.stack([frames[number == window].min() for window in number])
    return Windows(number, starts, rung)


def rung_levels(rung: Tensor, part: Tensor, blocks: int, shift: float) -> Tensor:
    """Levels of rungs, `part` of a rung above their foot: shifted((rung + part) / blocks); broadcasts."""
    return shifted((rung + part) / blocks, shift)


def window_mask(frames: Tensor, windows: Windows, layout: CausalConfig) -> Tensor:
    """Mask between the frames of [clean | noisy].

    Clean sees clean as a cache is filled. A noisy frame sees its whole window, and of the clean past what the window's
    first block sees: what the cache holds while that block is the next to be finished.
    """
    own = windows.number[:, None] == windows.number[None, :]
    clean = torch.cat([visible(frames, frames, layout, own_block=True), torch.zeros_like(own)], dim=1)
    noisy = torch.cat([visible(windows.start, frames, layout, own_block=False), own], dim=1)
    return torch.cat([clean, noisy])


@torch.no_grad()
def rolling_blocks(
    stream: CausalStream, shape: tuple[int, ...], blocks: int, steps: int, shift: float
) -> Iterator[Tensor]:
    """Clean blocks without end; each pass moves a window of blocks down together. Prompts may be switched in between.

    The window starts as one block of pure noise and grows by one a rung, until its first block is clean.

    Args:
        stream: where to go on from; its `rng` gives the noise.
        shape: of a block, (batch, channels, block, height, width).
        blocks: in a full window, as in training.
        steps: of a block from noise to clean; a multiple of `blocks`, so that each rung takes equally many.
        shift: of the noise levels, as in training.

    Raises:
        UsageError: `blocks` does not divide `steps`.
    """
    if steps % blocks:
        raise UsageError(f"sample.steps: a rolling window of {blocks} blocks takes a multiple of it, not {steps}")
    passes = steps // blocks
    window = torch.empty((*shape[:2], 0, *shape[3:]), device=stream.device)
    while True:
        window = torch.cat([window, torch.randn(shape, generator=stream.rng).to(window)], dim=2)
        held = window.shape[2] // shape[2]
        rung = torch.arange(blocks - held, blocks).repeat_interleave(shape[2])[None]
        for number in range(passes):
            above, below = (
                rung_levels(rung, torch.tensor(1 - done / passes), blocks, shift).to(window)
                for done in (number, number + 1)
            )
            step = (below - above)[:, None, :, None, None]
            window = window + step * stream.velocity(window, above)
        if held == blocks:
            block, window = window[:, :, : shape[2]], window[:, :, shape[2] :]
            stream.commit(block)
            yield block
