"""That a stream is what was trained: masks, cache, positions, causality, batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.methods.far import CLEAN, FAR, FarStream, far_inputs
from pipelines.longtune.model.cache import KeyValue
from pipelines.longtune.model.far import FarWanTransformer3DModel, split_far
from pipelines.longtune.model.masks import token_mask, visible
from pipelines.longtune.model.rope import training_positions
from pipelines.longtune.noise import TIMESTEPS
from pipelines.longtune.proofs.subject import NOISY, ROUNDING, Proof, Subject, apart

# Blocks of 1 to 8; windows of all, some and no past; sinks of none, a part of a block, a block, and two.
OTHERS = [
    CausalConfig(block=block, window=window, sink=sink, positions=positions)
    for block, window, sink in [(1, 4, 2), (2, 5, 1), (3, 12, 3), (3, 6, 6), (3, 3, 0), (8, 12, 2)]
    for positions in ("relative", "absolute")
] + [CausalConfig(block=3, window=-1, sink=0, positions="absolute")]


@torch.no_grad()
def stock(subject: Subject) -> Proof:
    """The forward pass against diffusers' own class, on the same weights (shared, not copied)."""
    model = subject.model
    with torch.device("meta"):
        other = WanTransformer3DModel.from_config(model.config)
    own, _ = split_far(model.state_dict())
    other.load_state_dict(own, assign=True)
    other.rope = model.rope  # its tables are no weights: they are still on the meta device
    video, text = subject.latents(5, batch=2), subject.text(batch=2)
    timestep = torch.linspace(20, 980, 10, device=subject.device).view(2, 5)
    theirs = other.eval()(video, timestep.repeat_interleave(subject.tokens(video), dim=1), text).sample
    ours, _ = model(video, timestep, text, positions=torch.arange(5, device=subject.device))
    detail = "5 frames at 5 timesteps, all seeing all, batch of 2"
    return Proof("forward pass is diffusers' WanTransformer3DModel", apart(ours, theirs), ROUNDING, detail)


def stream_is_training(subject: Subject) -> Proof:
    """Cached stream against one masked pass, in the generator's own layout."""
    detail = _words(subject.layout)
    return Proof("cached stream is one masked pass", _difference(subject, subject.layout), ROUNDING, detail)


def stream_is_training_elsewhere(subject: Subject) -> Proof:
    """The same in other layouts: that an agreement is not of one lucky layout."""
    worst, layout = max(((_difference(subject, other), other) for other in OTHERS), key=lambda pair: pair[0])
    detail = f"{len(OTHERS)} layouts, the worst: {_words(layout)}"
    return Proof("the same in other layouts", worst, ROUNDING, detail)


def wrong_masks_show(subject: Subject) -> Proof:
    """The canary: with a wrong mask the last two must fail, by a wide margin."""
    block, video, text = 3, subject.latents(24), subject.text()
    right = subject.streamed(video, video, 0.0, text, CausalConfig(block=block, window=9, sink=1))
    wrong = [(10, 1), (9, 0), (9, 2), (-1, 0)]
    least = min(
        apart(right, subject.masked(video, text, CausalConfig(block=block, window=window, sink=sink))[0])
        for window, sink in wrong
    )
    detail = f"window and sink (9, 1) taken for {', '.join(map(str, wrong))}; the least"
    return Proof("a wrong mask shows", least, 10 * ROUNDING, detail, holds="at least")


@torch.no_grad()
def no_look_ahead(subject: Subject) -> Proof:
    """A frame is changed: no earlier block may change by a bit, and its own must."""
    layout, frames = subject.layout, subject.enough(subject.layout)
    video, text = subject.latents(frames), subject.text()
    base, leak = subject.masked(video, text, layout)[0], 0.0
    for frame in sorted({0, layout.block, frames // 2, frames - 1}):
        other = video.clone()
        other[:, :, frame] += 1
        before = frame // layout.block * layout.block
        changed = (subject.masked(other, text, layout)[0] - base).abs().amax(dim=(0, 1, 3, 4))
        leak = max([leak, *changed[:before].tolist()])
        if not changed[before : before + layout.block].all():
            return Proof(
                "no block sees a later one", None, 0.0, f"a change of frame {frame} does not show in its block"
            )
    return Proof("no block sees a later one", leak, 0.0, f"4 frames of {frames} changed in turn")


def recache_in_sight(subject: Subject) -> Proof:
    """A prompt switch while no frame has left the sight is as if the new prompt had always been."""
    layout, name = subject.layout, "prompt switch in sight is a fresh start"
    blocks = 3 if layout.window < 0 else (layout.window + layout.sink) // layout.block - 1
    if blocks < 1:
        detail = f"window {layout.window} and sink {layout.sink} hold no whole block beside a new one"
        return Proof(name, None, 0.0, detail, skipped=True)
    video, old, new = subject.latents(blocks * layout.block), subject.text(), subject.text(seed=101)
    stream = subject.filled(video, old, layout)
    stream.switch(new)
    fresh = subject.filled(video, new, layout).cache
    worst = max(float((ours - theirs).abs().max()) for ours, theirs in _pairs(stream.cache.layers, fresh.layers))
    return Proof(name, worst, 0.0, f"the first {blocks * layout.block} frames, keys and values of all layers")


def recache_later(subject: Subject) -> Proof:
    """A later switch is a recomputation of the kept frames, at their places."""
    layout, name = subject.layout, "later prompt switch recomputes the kept frames"
    video, new = subject.latents(subject.enough(layout)), subject.text(seed=101)
    stream = subject.filled(video, subject.text(), layout)
    stream.switch(new)
    held = stream.cache.frames
    if stream.kept is None:
        return Proof(name, None, ROUNDING, "the layout keeps no past", skipped=True)
    _, fresh = subject.masked(stream.kept, new, layout, torch.tensor(held, device=subject.device))
    worst = max(apart(ours, theirs) for ours, theirs in _pairs(stream.cache.layers, fresh))
    return Proof(name, worst, ROUNDING, f"{len(held)} frames kept of {video.shape[2]}, keys and values of all layers")


@torch.no_grad()
def coarse_past(subject: Subject) -> list[Proof]:
    """FAR alone: a stream beside its coarse past against a pass as in training. No other generator has one."""
    model, layout = subject.model, subject.layout
    if not isinstance(model, FarWanTransformer3DModel):
        return []
    clean, noisy = (subject.latents(subject.span, seed=seed, tokens=(2, 4)) for seed in (0, 1))
    text, worst = subject.text(), 0.0
    stream = FarStream(model, text, layout, span=subject.span)
    for block, asked in zip(clean.split(layout.block, dim=2), noisy.split(layout.block, dim=2), strict=True):
        held, start = stream.frame, max(0, stream.frame + layout.block - layout.window)
        timestep = torch.tensor([FAR] * start + [CLEAN] * (held - start) + [NOISY * TIMESTEPS] * layout.block)
        fine = torch.cat([clean[:, :, start:held], asked], dim=2)
        coarse = clean[:, :, :start] if start else None
        inputs = far_inputs(coarse, fine.shape[2], subject.tokens(clean), layout, subject.device)
        forced, _ = model(fine, timestep[None].to(subject.device), text, **inputs)
        worst = max(worst, apart(stream.velocity(asked, NOISY), forced[:, :, -layout.block :]))
        stream.commit(block)
    detail = f"window {layout.window}, {subject.span} frames in all"
    return [Proof("a stream beside its coarse past is a training pass", worst, ROUNDING, detail)]


def batch_is_runs(subject: Subject) -> Proof:
    """Two prompts in a batch against two runs."""
    frames = subject.enough(subject.layout)
    video = subject.latents(frames, batch=2)
    text = torch.cat([subject.text(), subject.text(seed=101)])
    together = subject.streamed(video, video, 0.0, text, subject.layout)
    runs = zip(video.split(1), text.split(1), strict=True)
    alone = [subject.streamed(one, one, 0.0, prompt, subject.layout) for one, prompt in runs]
    return Proof("a batch of two prompts is two runs", apart(together, torch.cat(alone)), ROUNDING, f"{frames} frames")


def multiple_of_128(subject: Subject) -> Proof:
    """Frames of 128 tokens (as of 512 x 512 and its like), where a slice to `[:-0]` would leave nothing."""
    layout = CausalConfig(block=1, window=2, sink=1)
    video, text = subject.latents(4, tokens=(8, 16)), subject.text()
    whole = subject.masked(video, text, layout)[0]
    streamed = subject.streamed(video, video, 0.0, text, layout)
    return Proof("frames of a multiple of 128 tokens", apart(streamed, whole), ROUNDING, "4 frames of 128 tokens")


@torch.no_grad()
def flex_is_dense(subject: Subject) -> Proof:
    """flex_attention's BlockMask against the dense mask of the same rule; forward pass only."""
    layout = CausalConfig(block=3, window=5, sink=1)
    frames = torch.arange(12, device=subject.device)
    table = visible(frames, frames, layout, own_block=True)
    video, text = subject.latents(12), subject.text()
    dense, flex = (
        subject.model(
            video,
            torch.zeros(1, 12, device=subject.device),
            text,
            positions=training_positions(frames, layout),
            mask=token_mask(table, subject.tokens(video), flex=sparse),
        )[0]
        for sparse in (False, True)
    )
    return Proof(
        "flex_attention is dense attention", apart(flex, dense), ROUNDING, f"forward, on {subject.device.type}"
    )


def _difference(subject: Subject, layout: CausalConfig) -> float:
    frames = subject.enough(layout)
    clean, noisy, text = subject.latents(frames), subject.latents(frames, seed=1), subject.text()
    finished = apart(subject.streamed(clean, clean, 0.0, text, layout), subject.masked(clean, text, layout)[0])
    forced = subject.teacher_forced(clean, noisy, text, layout)
    return max(finished, apart(subject.streamed(clean, noisy, NOISY, text, layout), forced))


def _pairs(ours: Sequence[KeyValue], theirs: Sequence[KeyValue]) -> Iterator[tuple[Tensor, Tensor]]:
    for one, other in zip(ours, theirs, strict=True):
        yield from zip(one, other, strict=True)


def _words(layout: CausalConfig) -> str:
    return f"block {layout.block}, window {layout.window}, sink {layout.sink}, {layout.positions} positions"
